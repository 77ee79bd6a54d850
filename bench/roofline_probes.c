/* The probes of one instruction set: compiled once for each, with -DPROBE_GENERIC, -DPROBE_AVX2, -DPROBE_AVX512
 * or -DPROBE_NEON; empty where the target has not got it. */
#include "roofline.h"

#include "isa.h"

#if defined(PROBE_AVX512) && EI_X86

#include <immintrin.h>
#define EI_ISA avx512
#define EI_ISA_NAME "avx512"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx2,fma")
#endif
#include "vec_avx512.h"

#elif defined(PROBE_AVX2) && EI_X86

#include <immintrin.h>
#define EI_ISA avx2
#define EI_ISA_NAME "avx2"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include "vec_avx2.h"

#elif defined(PROBE_NEON) && EI_AARCH64

#define EI_ISA neon
#define EI_ISA_NAME "neon"
#include "vec_neon.h"

#elif defined(PROBE_GENERIC)

#define EI_ISA generic
#define EI_ISA_NAME "generic"
#include "vec_generic.h"

#endif

#ifdef EI_ISA

/* What throughput is measured with. For generic these are the vectors that every 64-bit target has, since a compiler
 * may use them for plain C; its fma is a multiplication and an addition, as in vec_generic.h. */
#ifdef PROBE_GENERIC
typedef float wide __attribute__((vector_size(16), may_alias));
#define WIDE_LANES 4
EI_INLINE wide wide_set1(float x) { return (wide){x, x, x, x}; }
EI_INLINE wide wide_load(const float *p) { return *(const wide *)(const void *)p; }
EI_INLINE wide wide_add(wide a, wide b) { return a + b; }
EI_INLINE wide wide_fma(wide a, wide b, wide c) { return a * b + c; }
EI_INLINE void wide_storeu(float *p, wide v) { __builtin_memcpy(p, &v, sizeof v); }
#else
typedef vf wide;
#define WIDE_LANES EI_LANES
EI_INLINE wide wide_set1(float x) { return vf_set1(x); }
EI_INLINE wide wide_load(const float *p) { return vf_load(p); }
EI_INLINE wide wide_add(wide a, wide b) { return vf_add(a, b); }
EI_INLINE wide wide_fma(wide a, wide b, wide c) { return vf_fma(a, b, c); }
EI_INLINE void wide_storeu(float *p, wide v) { vf_storeu(p, v); }
#endif

EI_INLINE void keep(wide v)
{
    float lanes[WIDE_LANES];
    wide_storeu(lanes, v);
    roofline_sink = lanes[0];
}

/* Twelve: more than latency times throughput of any CPU known to us, and all fit in 16 registers. */
static EI_NOINLINE double fma_rounds(int64_t rounds)
{
    const wide half = wide_set1(0.5f), one = wide_set1(1.0f);
    wide a = wide_set1(0.1f), b = wide_set1(0.2f), c = wide_set1(0.3f), d = wide_set1(0.4f), e = wide_set1(0.5f),
         f = wide_set1(0.6f), g = wide_set1(0.7f), h = wide_set1(0.8f), i = wide_set1(0.9f), j = wide_set1(1.0f),
         k = wide_set1(1.1f), l = wide_set1(1.2f);
    for (int64_t round = 0; round < rounds; round++) {
        a = wide_fma(a, half, one), b = wide_fma(b, half, one), c = wide_fma(c, half, one);
        d = wide_fma(d, half, one), e = wide_fma(e, half, one), f = wide_fma(f, half, one);
        g = wide_fma(g, half, one), h = wide_fma(h, half, one), i = wide_fma(i, half, one);
        j = wide_fma(j, half, one), k = wide_fma(k, half, one), l = wide_fma(l, half, one);
    }
    a = wide_add(wide_add(a, b), wide_add(c, d));
    e = wide_add(wide_add(e, f), wide_add(g, h));
    i = wide_add(wide_add(i, j), wide_add(k, l));
    keep(wide_add(a, wide_add(e, i)));
    return 12.0 * WIDE_LANES * (double)rounds;
}

/* Two halves of ROOFLINE_READ side by side: the fastest order of reading found on AVX-512 and no worse elsewhere. */
static EI_NOINLINE double read_passes(const float *p, int64_t floats, int64_t passes, int64_t piece)
{
    const wide zero = wide_set1(0.0f);
    wide a = zero, b = zero, c = zero, d = zero, e = zero, f = zero, g = zero, h = zero;
    for (int64_t pass = 0; pass < passes; pass++)
        for (int64_t k = 0; k < floats; k += piece) {
            const float *at = p + (piece < floats && pass % 2 ? floats - piece - k : k);
            for (const float *end = at + piece; at < end; at += ROOFLINE_READ)
                for (const float *v = at, *w = at + ROOFLINE_READ / 2; v < at + ROOFLINE_READ / 2;
                     v += 4 * WIDE_LANES, w += 4 * WIDE_LANES) {
                    a = wide_add(a, wide_load(v)), b = wide_add(b, wide_load(v + WIDE_LANES));
                    c = wide_add(c, wide_load(v + 2 * WIDE_LANES)), d = wide_add(d, wide_load(v + 3 * WIDE_LANES));
                    e = wide_add(e, wide_load(w)), f = wide_add(f, wide_load(w + WIDE_LANES));
                    g = wide_add(g, wide_load(w + 2 * WIDE_LANES)), h = wide_add(h, wide_load(w + 3 * WIDE_LANES));
                }
        }
    keep(wide_add(wide_add(wide_add(a, b), wide_add(c, d)), wide_add(wide_add(e, f), wide_add(g, h))));
    return (double)floats * sizeof(float) * (double)passes;
}

/* 2^y + plus, by the shortest way that the accuracy promised in accuracy.h allows: limits, the whole part into the
 * exponent, a polynomial of degree 5. That -log2(e) is folded into the weights is taken for granted. The
 * coefficients are those of Taylor's series: they take the same time as better ones. */
EI_INLINE vf exp2_plus(vf y, float plus)
{
    const vf round = vf_set1(12582912.0f), limited = vf_max(vf_set1(-126.0f), vf_min(vf_set1(126.0f), y));
    const vf rounded = vf_add(limited, round), r = vf_sub(limited, vf_sub(rounded, round));
    const vf scale = vf_pow2(rounded), r2 = vf_mul(r, r);
    const vf high = vf_fma(vf_set1(0.000154f), r, vf_set1(0.001333f));
    const vf mid = vf_fma(vf_set1(0.009618f), r, vf_set1(0.055504f));
    const vf low = vf_fma(vf_set1(0.240227f), r, vf_set1(0.693147f));
    const vf q = vf_fma(vf_fma(high, r2, mid), r2, low);
    return vf_fma(vf_mul(scale, r), q, vf_add(scale, vf_set1(plus)));
}

/* Each of the cells' two activations costs one division, a product of two of them none of its own. */
EI_INLINE vf cell_h(int cell, vf s, vf h, vf *c)
{
    const vf one = vf_set1(1.0f), two = vf_set1(2.0f);
    if (cell == CELL_RNN) {
        const vf above = exp2_plus(s, -1.0f);
        return vf_div(above, vf_add(above, two));
    }
    if (cell == CELL_GRU) {
        const vf z = vf_div(one, exp2_plus(vf_neg(s), 1.0f)), reset = vf_div(one, exp2_plus(s, 1.0f));
        const vf above = exp2_plus(vf_fma(reset, s, one), -1.0f), n = vf_div(above, vf_add(above, two));
        return vf_fma(z, h, vf_mul(vf_sub(one, z), n));
    }
    const vf i = exp2_plus(s, 1.0f), o = exp2_plus(vf_add(s, one), 1.0f), g = exp2_plus(vf_sub(s, one), -1.0f);
    const vf f = vf_div(one, exp2_plus(vf_add(s, two), 1.0f));
    *c = vf_fma(f, *c, vf_div(g, vf_mul(i, vf_add(g, two))));
    const vf above = exp2_plus(vf_mul(*c, two), -1.0f);
    return vf_div(above, vf_mul(o, vf_add(above, two)));
}

EI_INLINE void chain_steps(int cell, int64_t steps)
{
    _Alignas(EI_ALIGN) float memory[EI_LANES];
    const vf weight = vf_set1(0.3f), bias = vf_set1(0.1f), other_segment = vf_set1(0.2f);
    vf h = vf_set1(0.1f), c = vf_set1(0.1f);
    vf_store(memory, h);
    for (int64_t step = 0; step < steps; step++) {
        __asm__ volatile("" ::: "memory"); /* h comes from memory, as the next step's does */
        const vf s = vf_add(vf_fma(vf_set1(memory[0]), weight, bias), other_segment);
        h = cell_h(cell, s, h, &c);
        vf_store(memory, h);
    }
    __asm__ volatile("" ::: "memory");
    roofline_sink = memory[0];
}

static EI_NOINLINE void chain(int cell, int64_t steps)
{
    if (cell == CELL_LSTM)
        chain_steps(CELL_LSTM, steps);
    else if (cell == CELL_GRU)
        chain_steps(CELL_GRU, steps);
    else
        chain_steps(CELL_RNN, steps);
}

const roofline_probes EI_FN(roofline) = {EI_ISA_NAME, fma_rounds, read_passes, chain};

#if defined(__clang__) && EI_X86 && !defined(PROBE_GENERIC)
#pragma clang attribute pop
#endif

#endif
