/* int8 fast for the avx512 core on a CPU with AVX-512 VNNI: the same bits, in a quarter of the instructions. */
#include "isa.h"

#if EI_X86

#include <math.h>
#include <string.h>

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vnni,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vnni,avx2,fma")
#endif

/* Nothing but the sums is wanted here. */
#pragma GCC diagnostic ignored "-Wunused-function"

#define EI_VNNI
#include "small_avx512.h"

#define EI_ISA avx512vnni
#include "operand.h"
#include "small.h"
#include "activations_body.h"
#include "sums_body.h"
#include "recurrent_body.h"
#include "lstm_body.h"
#include "small_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
