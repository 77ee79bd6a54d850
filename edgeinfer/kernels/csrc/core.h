/* The C core: a program is a flat list of instructions over memory that the caller owns.
 *
 * Nothing here allocates, locks, raises, or knows Python or ONNX. Every operand is a byte offset from one of a few
 * base addresses given with the call, so one immutable program serves any number of streams at once.
 */
#ifndef EI_CORE_H
#define EI_CORE_H

#include <stddef.h>
#include <stdint.h>

#include "canary.h"

#define EI_MAX_RANK 8
#define EI_WHERE_RANK 6
#define EI_ALIGN 64 /* constants, arena slots and state banks start on this boundary */

typedef enum ei_status {
    EI_OK = 0,
    EI_INDEX_OUT_OF_RANGE = 1, /* a Gather index, or a token, outside [-rows, rows) */
    EI_BAD_PROGRAM = 2,        /* an op or activation that this core does not know */
    EI_LENGTH_OUT_OF_RANGE = 3 /* a length of sequence_lens outside [0, T] */
} ei_status;

typedef enum ei_op {
    EI_OP_LSTM = 1,
    EI_OP_GRU = 2,
    EI_OP_RNN = 3,
    EI_OP_DENSE = 4,
    EI_OP_GATHER = 5,
    EI_OP_UNARY = 6,
    EI_OP_BINARY = 7,
    EI_OP_SOFTMAX = 8,
    EI_OP_COPY = 9,
    EI_OP_CAST = 10,
    EI_OP_X_SUMS = 11,
    EI_OP_MASKED = 12,
    EI_OP_COMPARE = 13,
    EI_OP_WHERE = 14,
    EI_OP_REDUCE = 15,
    EI_OP_LSTM_SMALL = 32,
    EI_OP_GRU_SMALL = 33,
    EI_OP_RNN_SMALL = 34,
    EI_OP_DENSE_SMALL = 35,
    EI_OP_GATHER_SMALL = 36
} ei_op;

/* The activations that ONNX names for recurrent nodes first, then the other elementwise functions. */
typedef enum ei_act {
    EI_ACT_LINEAR = 0,
    EI_ACT_SIGMOID = 1,
    EI_ACT_TANH = 2,
    EI_ACT_RELU = 3,
    EI_ACT_AFFINE = 4,           /* alpha*x + beta */
    EI_ACT_LEAKY_RELU = 5,       /* x < 0 ? alpha*x : x */
    EI_ACT_THRESHOLDED_RELU = 6, /* x > alpha ? x : 0 */
    EI_ACT_SCALED_TANH = 7,      /* alpha*tanh(beta*x) */
    EI_ACT_HARD_SIGMOID = 8,     /* max(0, min(1, alpha*x + beta)) */
    EI_ACT_ELU = 9,              /* x < 0 ? alpha*(exp(x) - 1) : x */
    EI_ACT_SOFTSIGN = 10,        /* x / (1 + |x|) */
    EI_ACT_SOFTPLUS = 11,        /* log(1 + exp(x)), right for large |x| */
    EI_ACT_EXP = 32,
    EI_ACT_LOG = 33,
    EI_ACT_NEG = 34,
    EI_ACT_ABS = 35,
    EI_ACT_SQRT = 36,
    EI_ACT_RECIPROCAL = 37,
    EI_ACT_CLIP = 38,            /* max(alpha, min(beta, x)), NaN through */
    EI_ACT_ERF = 39
} ei_act;

typedef enum ei_binary {
    EI_ADD = 0,
    EI_SUB = 1,
    EI_MUL = 2,
    EI_DIV = 3,
    EI_MIN = 4,
    EI_MAX = 5
} ei_binary;

typedef enum ei_comparison {
    EI_EQUAL = 0,
    EI_LESS = 1,
    EI_LESS_OR_EQUAL = 2,
    EI_GREATER = 3,
    EI_GREATER_OR_EQUAL = 4,
    EI_AND = 5,
    EI_OR = 6
} ei_comparison;

/* How small weights are stored, and what is computed from them (small_body.h). */
typedef enum ei_weights { EI_WEIGHTS_F16 = 1, EI_WEIGHTS_I8 = 2, EI_WEIGHTS_I8_FAST = 3 } ei_weights;

typedef enum ei_dtype { EI_F32 = 0, EI_I32 = 1, EI_I64 = 2, EI_BOOL = 3 } ei_dtype; /* EI_BOOL: bytes, not 0 for true */

/* What tells the steps of an EI_OP_MASKED that count. */
typedef enum ei_steps { EI_STEPS_BY_LENGTH = 0, EI_STEPS_BY_MASK = 1 } ei_steps;

#define EI_NO_BASE (-1)

/* One instruction. What dim, act, in and out mean stands with each op below. Absent operands have base EI_NO_BASE.
 *
 * LSTM, GRU, RNN: one direction of one node.
 *   dim: T, B, F (input size), H (hidden size), D (num_directions), d (which direction, 0 or 1), reverse (0 or 1),
 *        linear_before_reset (GRU);
 *        from 10 on, where in[5] is given: rows of that table, dtype of the tokens, how far it is from a token to
 *        that of the next time, and to that of the next batch row
 *   act[i], alpha[i], beta[i]: LSTM f, g, h; GRU f, g; RNN f, in the ONNX sense
 *   in:  0 x [T, B, F]   1 packed weights of this direction   2 initial_h [D, B, H] or absent (zero)
 *        3 initial_c [D, B, H] or absent (LSTM)
 *        4 scratch: EI_SCRATCH_ROWS rows of floats, with T * B > 1 another 4 * EI_STEPS_AHEAD, each as long as the
 *          next multiple of lanes from H on
 *        5 gate rows or absent: for every token what X_SUMS gives; x then is tokens, int32 or int64
 *   out: 0 Y [T, D, B, H] or absent   1 Y_h [D, B, H] or absent   2 Y_c [D, B, H] or absent (LSTM)
 *   With T = 0 the final states equal the initial ones.
 *   Packed weights, in one or two sections. In a section the gates' columns are grouped by blocks of `units` units;
 *   a group is its bias, F rows of W and H rows of R, and a row is every unit's value of the first gate, then of the
 *   second, and so on. The rows of the sum's two segments (sums_body.h) take turns: of W 0, F - F/2, 1, F - F/2 + 1 and
 *   so on, likewise of R. The H % units units left over form a last group, whose rows are filled with zeros up to a
 *   multiple of lanes: L units of G gates are G * L values there. Where H < units, so that it is the only group, each
 *   gate's L values are so filled.
 *     LSTM:                  units = lanes, gates i, o, f, c, bias Wb + Rb
 *     GRU, linear_before_reset: units = lanes, gates z, r, h, bias z, r: Wb + Rb, h: Wb, and like a fourth gate's
 *                            Rb of h. The last group has three bias rows: z, r, h; Rb of h at h's place, else 0; 1 at
 *                            h's place, else 0
 *     GRU, reset first:      units = 2*lanes, gates z, r, bias Wb + Rb; then units = 4*lanes, gate h, bias Wb + Rb
 *     RNN:                   units = 4*lanes, one gate, bias Wb + Rb
 *
 * MASKED: as the recurrent op in dim[14], but only some steps of each batch row count. Those that do give the bits that
 *   they give in a sequence of them alone; the others leave the state as it is.
 *   dim[15]: ei_steps
 *   EI_STEPS_BY_LENGTH: in[6] is int32 [B], in [0, T]: so many steps of the row, from the first, or to it where
 *     reversed. Y is 0 behind them; where they are none, so are the final states, as ONNX Runtime has it.
 *   EI_STEPS_BY_MASK: in[6] is a mask of bytes, not 0 where the step counts; dim[16], dim[17]: bytes to its next time,
 *     and to its next batch row. Where it is 0, Y has the row of the step before in the order of walking, before the
 *     first one that counts initial_h (dim[19]: 0 there); dim[18]: always 0. Where no step counts, the final states
 *     are the initial ones.
 *
 * DENSE: out[r, n] = act(bias[n] + sum over k of x[r, k] * W[k, n]), in the order of sums_body.h
 *   dim: rows, K, N.   in: 0 x [rows, K]   1 packed   out: 0 [rows, N]
 *   Packed: like an RNN's section, units = 4*lanes, without R; the rows of a group of one or two vectors, which has
 *   four segments, stand one after the other. Where 4*N <= lanes: the bias filled with zeros to lanes, then each
 *   column's K values filled with zeros to a multiple of lanes.
 * X_SUMS: what a cell sums of the bias and x, for rows of x, as it sums it: rows of gates, grouped like the weights
 *   dim: op of the cell, rows, F, H, linear_before_reset.   in: 0 x [rows, F]   1 packed weights
 *   out: 0 [rows, ...]: every group's row of gates one after the other
 * LSTM_SMALL, GRU_SMALL, RNN_SMALL: as LSTM, GRU, RNN, but for the weights' groups, which small_body.h describes;
 *   without gate rows; always EI_SCRATCH_ROWS + 1 rows of scratch.
 *   dim[8]: ei_weights   dim[9]: 1 to use VNNI where ei_core_has_vnni; the corrections are then made for it
 * DENSE_SMALL: as DENSE, in groups of 4*lanes columns without R, however few.   dim[3]: EI_WEIGHTS_F16 or _I8
 * GATHER_SMALL: out[i, :] = table[index[i], :] in float32.
 *   dim: count, rows, width, index dtype, EI_WEIGHTS_F16 or _I8
 *   in: 0 table, EI_ALIGN bytes of anything behind it   1 indices   2 a float32 scale for each row, of int8   out: 0
 * GATHER: out[i, :] = table[index[i], :], a negative index counts from the end
 *   dim: count, rows, row_bytes, index dtype.   in: 0 table   1 indices   out: 0
 * UNARY: dim: count.   act[0], alpha[0], beta[0].   in: 0   out: 0   (float32; in place allowed)
 * BINARY: dim: operation, dtype, rank, then rank output sizes, then rank strides of a, then rank strides of b
 *   (strides in elements, 0 where broadcast).   in: 0 a   1 b   out: 0 contiguous.
 *   act[0] is applied to the result (float32 only, else LINEAR). MIN and MAX let NaN through. Integers wrap on
 *   overflow; divided by zero they give 0.
 * COMPARE: as BINARY, with an ei_comparison, and booleans as the result
 * WHERE: out = in[0] != 0 ? in[1] : in[2].   dim: item size (1, 4 or 8) of in[1] and in[2], rank (at most
 *   EI_WHERE_RANK), then rank output sizes, then rank strides of each input.   out: 0 contiguous
 * REDUCE: over the middle axis.   dim: EI_ADD, EI_MUL, EI_MIN or EI_MAX; dtype; rows; N, at least 1; inner; 1 to divide
 *   a sum of floats by N.   in: 0 [rows, N, inner]   out: 0 [rows, inner]. NaN goes through; integers wrap.
 * SOFTMAX: over the last axis, the maximum subtracted first.   dim: rows, N, log (0 softmax, 1 log softmax).
 *   in: 0   out: 0 (in place allowed)
 * COPY: dim: item size (1, 2, 4 or 8), rank, then rank sizes, then rank source strides, then rank destination
 *   strides (in items; negative allowed for the source).   in: 0   out: 0
 * CAST: dim: count, from dtype, to dtype.   in: 0   out: 0.   Float to integer truncates; out of range or NaN
 *   gives the minimum of the type; to a boolean, what is not 0 gives true.
 */
#define EI_DIMS 28
#define EI_ACTS 3
#define EI_INS 7
#define EI_OUTS 3
#define EI_SCRATCH_ROWS 5
#define EI_STEPS_AHEAD 32 /* of a sequence, the steps whose x is summed together */

typedef struct ei_instr {
    int32_t op;
    int32_t act[EI_ACTS];
    float alpha[EI_ACTS];
    float beta[EI_ACTS];
    int32_t in_base[EI_INS];
    int32_t out_base[EI_OUTS];
    int32_t reserved;
    int64_t in[EI_INS];
    int64_t out[EI_OUTS];
    int64_t dim[EI_DIMS];
} ei_instr;

/* Without operands and sizes: what a program written in C begins each of its instructions with. */
static inline ei_instr ei_bare_instr(int32_t op)
{
    ei_instr instr = {.op = op};
    for (int k = 0; k < EI_INS; k++)
        instr.in_base[k] = EI_NO_BASE;
    for (int k = 0; k < EI_OUTS; k++)
        instr.out_base[k] = EI_NO_BASE;
    return instr;
}

#define EI_POOL_ROWS 32 /* streams that a pool steps at once */

/* What one instruction set offers. */
typedef struct ei_core {
    const char *name; /* "generic", "avx2", "avx512", "neon" */
    int32_t lanes;    /* floats per vector, and units per block of packed weights */
    /* Runs code[0..count). On failure returns the status and sets *failed to the instruction's index. */
    ei_status (*run)(const ei_instr *code, size_t count, char *const *bases, size_t *failed);
    /* The same for n <= EI_POOL_ROWS rows, each with bases of its own that differ in all but weights and constants.
     * Bit for bit what run gives for each row. On failure *failed_row is the row. */
    ei_status (*run_rows)(const ei_instr *code, size_t count, char *const *const *rows, size_t n, size_t *failed,
                          size_t *failed_row);
    /* 1 where all values are finite, else 0. Any alignment. */
    int (*all_finite)(const float *x, size_t count);
} ei_core;

/* The names of the cores compiled in, fastest first, NULL after the last. */
const char *const *ei_core_names(void);
/* The core of that name, or NULL where it is not compiled in or this CPU or operating system cannot run it.
 * NULL as the name gives the fastest that can run. */
const ei_core *ei_core_find(const char *name);

/* Whether this core and CPU have AVX-512 VNNI. */
int ei_core_has_vnni(const ei_core *core);

/* Which bases a stepping program uses. */
typedef struct ei_step {
    int32_t state_in, state_out; /* swapped after every step that succeeded */
    int32_t x, y;                /* advanced by the strides below */
    int64_t x_stride, y_stride;  /* bytes */
} ei_step;

/* Runs the program once and, where it succeeded, lets the two banks of state change places. Inline: of a small step's
 * time one call more is a hundredth. */
static inline ei_status ei_run_step(const ei_core *core, const ei_instr *code, size_t count, char **bases,
                                    const ei_step *layout, size_t *failed)
{
    const ei_status status = core->run(code, count, bases, failed);
    if (status != EI_OK)
        return status;
    if (EI_CANARY("race")) {
        static volatile int64_t taken;
        taken++;
    }
    if (layout->state_in != EI_NO_BASE && layout->state_out != EI_NO_BASE) {
        char *const live = bases[layout->state_out];
        bases[layout->state_out] = bases[layout->state_in];
        bases[layout->state_in] = live;
    }
    return EI_OK;
}

/* Runs the program `steps` times, carrying state. `bases` is changed as it goes: after k steps that succeeded the
 * live state is at bases[state_in]. On failure *failed_step is the step that failed. */
ei_status ei_run_steps(const ei_core *core, const ei_instr *code, size_t count, char **bases, const ei_step *layout,
                       size_t steps, size_t *failed_step, size_t *failed);

/* Many streams of one stepping program. Bases: weights, constants, arena, state before, state after, x, y. */
#define EI_POOL_BASES 7
typedef struct ei_pool {
    char *weights, *constants;
    char *arenas; /* EI_POOL_ROWS of them */
    int64_t arena_stride;
    char *states; /* for each slot two banks, one after the other */
    int64_t bank;
    uint8_t *live; /* for each slot which of its banks is live: 0 or 1 */
    int64_t x_stride, y_stride;
} ei_pool;

/* One step of slots[0..n), which are different ones, with a row of x and y each. All or nothing: on failure, at
 * *failed_row of them, every live state is as it was. */
ei_status ei_run_pool(const ei_core *core, const ei_instr *code, size_t count, const ei_pool *pool,
                      const int64_t *slots, size_t n, char *x, char *y, size_t *failed_row, size_t *failed);

#endif
