/* One lane of plain C. a*b + c is a multiplication and an addition: fmaf() without hardware behind it is a slow
 * library call. */
#ifndef EI_VEC_GENERIC_H
#define EI_VEC_GENERIC_H

#include <math.h>
#include <string.h>

#include "compiler.h"

#define EI_LANES 1
#define EI_TILE_ROWS 2

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

EI_INLINE vf vf_add(vf a, vf b) { return a + b; }
EI_INLINE vf vf_sub(vf a, vf b) { return a - b; }
EI_INLINE vf vf_mul(vf a, vf b) { return a * b; }
EI_INLINE vf vf_div(vf a, vf b) { return a / b; }
EI_INLINE vf vf_fma(vf a, vf b, vf c)
{
    const float product = a * b;
    return product + c;
}
EI_INLINE vf vf_sqrt(vf a) { return sqrtf(a); }
EI_INLINE vf vf_min(vf a, vf b) { return a < b ? a : b; }
EI_INLINE vf vf_max(vf a, vf b) { return a > b ? a : b; }
EI_INLINE float vf_sum(vf a) { return a; }
EI_INLINE vf vf_abs(vf a) { return fabsf(a); }
EI_INLINE vf vf_neg(vf a) { return -a; }
EI_INLINE vf vf_select_lt(vf a, vf b, vf yes, vf no) { return a < b ? yes : no; }

EI_INLINE vf vf_pow2(vf rounded)
{
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits << 23) + 0x3f800000u;
    memcpy(&rounded, &bits, sizeof bits);
    return rounded;
}

#endif
