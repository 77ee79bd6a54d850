/* Weights of one or two bytes without intrinsics, in the lanes of vec_generic.h. small_body.h says what each function
 * does. */
#ifndef EI_SMALL_GENERIC_H
#define EI_SMALL_GENERIC_H

#include "vec_generic.h"

/* float16 → float32, exact: shift the fraction into place and let a multiplication mend the exponent, which also
 * makes normal floats of subnormal halves. Halves with all exponent bits set are infinities and NaN. */
EI_INLINE float ei_half(uint16_t half)
{
    const uint32_t shifted = (half & 0x7fffu) << 13;
    float magnitude;
    memcpy(&magnitude, &shifted, sizeof magnitude);
    magnitude *= 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    if (shifted >= 0x0f800000u)
        bits = shifted | 0x7f800000u;
    bits |= (half & 0x8000u) << 16;
    memcpy(&magnitude, &bits, sizeof magnitude);
    return magnitude;
}

typedef const int8_t *vquad;

EI_INLINE vquad vquad_load(const int8_t *p) { return p; }
EI_INLINE int32_t ei_dot_of_four(vquad q, const int8_t *w)
{
    return q[0] * w[0] + q[1] * w[1] + q[2] * w[2] + q[3] * w[3];
}

/* Added to a float, it rounds to the nearest and leaves the integer in the lowest bits. */
#define EI_ROUND_TO_BITS 12582912.0f /* 1.5 * 2^23 */

#if EI_LANES == 4

typedef int32_t vi __attribute__((vector_size(16), may_alias));

EI_INLINE vf vf_load_i8(const int8_t *p) { return (vf){p[0], p[1], p[2], p[3]}; }
EI_INLINE vf vf_load_f16(const uint16_t *p)
{
    return (vf){ei_half(p[0]), ei_half(p[1]), ei_half(p[2]), ei_half(p[3])};
}
EI_INLINE int vf_any_nan(vf v) { return v[0] != v[0] || v[1] != v[1] || v[2] != v[2] || v[3] != v[3]; }

EI_INLINE vi vi_load(const int32_t *p) { return *(const vi *)(const void *)p; }
EI_INLINE vi vi_zero(void) { return (vi){0, 0, 0, 0}; }
EI_INLINE vf vi_to_vf(vi a) { return (vf){(float)a[0], (float)a[1], (float)a[2], (float)a[3]}; }
EI_INLINE vi vi_dot(vi sum, vquad q, const int8_t *w)
{
    return sum +
           (vi){ei_dot_of_four(q, w), ei_dot_of_four(q, w + 4), ei_dot_of_four(q, w + 8), ei_dot_of_four(q, w + 12)};
}
EI_INLINE void vf_store_i8(int8_t *p, vf v)
{
    const ei_bits bits = (ei_bits)(v + EI_ROUND_TO_BITS);
    for (int lane = 0; lane < 4; lane++)
        p[lane] = (int8_t)(uint8_t)bits[lane];
}

#else

typedef int32_t vi;

EI_INLINE vf vf_load_i8(const int8_t *p) { return (float)*p; }
EI_INLINE vf vf_load_f16(const uint16_t *p) { return ei_half(*p); }
EI_INLINE int vf_any_nan(vf v) { return v != v; }

EI_INLINE vi vi_load(const int32_t *p) { return *p; }
EI_INLINE vi vi_zero(void) { return 0; }
EI_INLINE vf vi_to_vf(vi a) { return (float)a; }
EI_INLINE vi vi_dot(vi sum, vquad q, const int8_t *w) { return sum + ei_dot_of_four(q, w); }
EI_INLINE void vf_store_i8(int8_t *p, vf v)
{
    const float rounded = v + EI_ROUND_TO_BITS;
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    *p = (int8_t)(uint8_t)bits;
}

#endif

EI_INLINE vi vi_add(vi a, vi b) { return a + b; }

#endif
