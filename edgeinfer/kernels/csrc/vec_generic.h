/* Four lanes without intrinsics: what gcc and clang make of their vector types on any target, SSE2 on every x86-64,
 * scalars where a CPU has nothing wider. Other compilers get one lane of plain C. Either way a*b + c is a
 * multiplication and an addition: fmaf() without hardware behind it is a slow library call. */
#ifndef EI_VEC_GENERIC_H
#define EI_VEC_GENERIC_H

#include <math.h>
#include <string.h>

#include "compiler.h"

#define EI_TILE_ROWS 2
#define EI_BESIDE_FLOATS INT64_MAX

#if (defined(__GNUC__) || defined(__clang__)) && !defined(EI_ONE_LANE)

#define EI_LANES 4

typedef float vf __attribute__((vector_size(16), may_alias));
typedef uint32_t ei_bits __attribute__((vector_size(16), may_alias));

EI_INLINE vf vf_set1(float x) { return (vf){x, x, x, x}; }
EI_INLINE vf vf_load(const float *p) { return *(const vf *)(const void *)p; }
EI_INLINE void vf_store(float *p, vf v) { *(vf *)(void *)p = v; }
EI_INLINE vf vf_loadu(const ei_f32 *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
EI_INLINE void vf_storeu(ei_f32 *p, vf v) { memcpy(p, &v, sizeof v); }

EI_INLINE vf vf_load_part(const ei_f32 *p, int64_t n, vf fill)
{
    if (n > 0)
        fill[0] = p[0];
    if (n > 1)
        fill[1] = p[1];
    if (n > 2)
        fill[2] = p[2];
    return fill;
}

EI_INLINE void vf_store_part(ei_f32 *p, vf v, int64_t n)
{
    if (n > 0)
        p[0] = v[0];
    if (n > 1)
        p[1] = v[1];
    if (n > 2)
        p[2] = v[2];
}

EI_INLINE vf vf_select_lt(vf a, vf b, vf yes, vf no)
{
    const ei_bits mask = (ei_bits)(a < b);
    return (vf)(((ei_bits)yes & mask) | ((ei_bits)no & ~mask));
}
EI_INLINE vf vf_min(vf a, vf b) { return vf_select_lt(a, b, a, b); }
EI_INLINE vf vf_max(vf a, vf b) { return vf_select_lt(b, a, a, b); }
EI_INLINE vf vf_sqrt(vf a) { return (vf){sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3])}; }
EI_INLINE vf vf_abs(vf a) { return (vf)((ei_bits)a & 0x7fffffffu); }
EI_INLINE vf vf_neg(vf a) { return -a; }
EI_INLINE vf vf_pow2(vf rounded) { return (vf)(((ei_bits)rounded << 23) + 0x3f800000u); }
EI_INLINE float vf_sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }

#else

#define EI_LANES 1

typedef float vf;

EI_INLINE vf vf_set1(float x) { return x; }
EI_INLINE vf vf_load(const float *p) { return *p; }
EI_INLINE void vf_store(float *p, vf v) { *p = v; }
EI_INLINE vf vf_loadu(const ei_f32 *p) { return *p; }
EI_INLINE void vf_storeu(ei_f32 *p, vf v) { *p = v; }

EI_INLINE vf vf_load_part(const ei_f32 *p, int64_t n, vf fill) { return n > 0 ? *p : fill; }
EI_INLINE void vf_store_part(ei_f32 *p, vf v, int64_t n)
{
    if (n > 0)
        *p = v;
}

EI_INLINE vf vf_select_lt(vf a, vf b, vf yes, vf no) { return a < b ? yes : no; }
EI_INLINE vf vf_min(vf a, vf b) { return a < b ? a : b; }
EI_INLINE vf vf_max(vf a, vf b) { return a > b ? a : b; }
EI_INLINE vf vf_sqrt(vf a) { return sqrtf(a); }
EI_INLINE vf vf_abs(vf a) { return fabsf(a); }
EI_INLINE vf vf_neg(vf a) { return -a; }
EI_INLINE float vf_sum(vf a) { return a; }

EI_INLINE vf vf_pow2(vf rounded)
{
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    memcpy(&rounded, &bits, sizeof bits);
    return rounded;
}

#endif

EI_INLINE vf vf_add(vf a, vf b) { return a + b; }
EI_INLINE vf vf_sub(vf a, vf b) { return a - b; }
EI_INLINE vf vf_mul(vf a, vf b) { return a * b; }
EI_INLINE vf vf_div(vf a, vf b) { return a / b; }
EI_INLINE vf vf_fma(vf a, vf b, vf c)
{
    const vf product = a * b;
    return product + c;
}

#endif
