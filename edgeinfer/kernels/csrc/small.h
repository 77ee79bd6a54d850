/* What the cells and the sums of small weights say to each other; no vector types, since the sums of one core may
 * come from the file of another instruction set. */
#ifndef EI_SMALL_H
#define EI_SMALL_H

#include "compiler.h"
#include "core.h"

/* One step's values. h is used by float16 and int8, q by int8 fast; apart by ei_small_sums, c and what follows it by
 * lstm_blocks. */
typedef struct ei_small_call {
    int64_t inputs, hidden, apart;
    const ei_f32 *x, *h;
    int8_t *q;
    const ei_f32 *c;
    ei_f32 *c_next, *h_next, *h_copy;
} ei_small_call;

/* One arithmetic: the sums of a group of one to four vectors, and h in 8 bits (NULL where it stays as it is). */
typedef struct ei_small_kernels {
    void (*sums[4])(const ei_small_call *call, const char *group, float *out);
    int (*round_h)(const ei_f32 *h, int64_t n, int8_t *q);
    /* The whole blocks of an LSTM with the usual activations, h rounded first; returns whether it holds a NaN, and
     * has then done nothing else. NULL where they go through sums. */
    int (*lstm_blocks)(const ei_small_call *call, const char *weights, int64_t block, int64_t blocks, int backward);
} ei_small_kernels;

extern const ei_small_kernels ei_small_fast_generic;
#if EI_X86
extern const ei_small_kernels ei_small_fast_avx2;
extern const ei_small_kernels ei_small_fast_avx512;
extern const ei_small_kernels ei_small_fast_avx512vnni;
#endif
#if EI_AARCH64
extern const ei_small_kernels ei_small_fast_neon;
#endif

#endif
