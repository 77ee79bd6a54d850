/* All of one core. The file that includes it has included a small_*.h, and with it a vec_*.h, opened the instruction set's region and defined
 * EI_ISA and EI_ISA_NAME.
 *
 * A vec_*.h gives EI_LANES and the type vf; memory: vf_set1, vf_load and vf_store (aligned), vf_loadu and vf_storeu,
 * vf_load_part (the first n < EI_LANES values, `fill` in the other lanes; reads nothing past n) and vf_store_part;
 * arithmetic: vf_add, vf_sub, vf_mul, vf_div, vf_fma (a*b + c), vf_sqrt, vf_min, vf_max (NaN where the second
 * argument is NaN; either argument where the first is), vf_abs, vf_neg, vf_select_lt (a < b ? yes : no), vf_pow2 (2^n
 * as a float, n the integer in the lowest bits of its argument, -126 <= n <= 127), and vf_sum (of all lanes, the upper
 * half added to the lower one until one is left); EI_TILE_ROWS, how many rows of four sums the registers hold; and
 * EI_BESIDE_FLOATS, up to how many floats of weights the blocks of a GRU are walked two at a time. */

#include <math.h>
#include <string.h>

#include "operand.h"
#include "small.h"
#include "activations_body.h"
#include "sums_body.h"
#include "recurrent_body.h"
#include "lstm_body.h"
#include "gru_body.h"
#include "rnn_body.h"
#include "x_sums_body.h"
#include "dense_body.h"
#include "gather_body.h"
#include "elementwise_body.h"
#include "logic_body.h"
#include "softmax_body.h"
#include "copy_body.h"
#include "small_body.h"
#include "small_cells_body.h"
#include "masked_body.h"
#include "run_body.h"
