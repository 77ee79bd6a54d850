/* Eight lanes as pairs of four: AArch64. With four gates in two segments that makes sixteen sums under way, which
 * cores with four FMA pipes need, in half of the 32 registers; and one broadcast serves twice as many FMAs as with
 * four lanes. */
#ifndef EI_VEC_NEON_H
#define EI_VEC_NEON_H

#include <arm_neon.h>

#include "compiler.h"

#define EI_LANES 8
#define EI_TILE_ROWS 2
#define EI_BESIDE_FLOATS INT64_MAX

typedef struct vf {
    float32x4_t low, high;
} vf;

EI_INLINE vf vf_set1(float x) { return (vf){vdupq_n_f32(x), vdupq_n_f32(x)}; }
EI_INLINE vf vf_load(const float *p) { return (vf){vld1q_f32(p), vld1q_f32(p + 4)}; }
EI_INLINE void vf_store(float *p, vf v)
{
    vst1q_f32(p, v.low);
    vst1q_f32(p + 4, v.high);
}
EI_INLINE vf vf_loadu(const ei_f32 *p) { return vf_load((const float *)p); }
EI_INLINE void vf_storeu(ei_f32 *p, vf v) { vf_store((float *)p, v); }

EI_INLINE float32x4_t ei_quarter_load(const float *p, int64_t n, float32x4_t fill)
{
    if (n & 2) {
        fill = vcombine_f32(vld1_f32(p), vget_high_f32(fill));
        return n & 1 ? vld1q_lane_f32(p + 2, fill, 2) : fill;
    }
    return n & 1 ? vld1q_lane_f32(p, fill, 0) : fill;
}

EI_INLINE vf vf_load_part(const ei_f32 *p, int64_t n, vf fill)
{
    const float *at = (const float *)p;
    if (n & 4)
        return (vf){vld1q_f32(at), ei_quarter_load(at + 4, n, fill.high)};
    return (vf){ei_quarter_load(at, n, fill.low), fill.high};
}

EI_INLINE void vf_store_part(ei_f32 *p, vf v, int64_t n)
{
    float *at = (float *)p;
    float32x4_t rest = v.low;
    if (n & 4) {
        vst1q_f32(at, rest);
        rest = v.high;
        at += 4;
    }
    float32x2_t pair = vget_low_f32(rest);
    if (n & 2) {
        vst1_f32(at, pair);
        pair = vget_high_f32(rest);
        at += 2;
    }
    if (n & 1)
        vst1_lane_f32(at, pair, 0);
}

#define EI_PAIR(name, function) \
    EI_INLINE vf name(vf a, vf b) { return (vf){function(a.low, b.low), function(a.high, b.high)}; }
EI_PAIR(vf_add, vaddq_f32)
EI_PAIR(vf_sub, vsubq_f32)
EI_PAIR(vf_mul, vmulq_f32)
EI_PAIR(vf_div, vdivq_f32)
EI_PAIR(vf_min, vminq_f32)
EI_PAIR(vf_max, vmaxq_f32)
#undef EI_PAIR

EI_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return (vf){vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
}
EI_INLINE vf vf_sqrt(vf a) { return (vf){vsqrtq_f32(a.low), vsqrtq_f32(a.high)}; }
EI_INLINE vf vf_abs(vf a) { return (vf){vabsq_f32(a.low), vabsq_f32(a.high)}; }
EI_INLINE vf vf_neg(vf a) { return (vf){vnegq_f32(a.low), vnegq_f32(a.high)}; }
EI_INLINE float vf_sum(vf a)
{
    const float32x4_t half = vaddq_f32(a.low, a.high);
    const float32x2_t quarter = vadd_f32(vget_low_f32(half), vget_high_f32(half));
    return vget_lane_f32(quarter, 0) + vget_lane_f32(quarter, 1);
}
EI_INLINE vf vf_select_lt(vf a, vf b, vf yes, vf no)
{
    return (vf){vbslq_f32(vcltq_f32(a.low, b.low), yes.low, no.low),
                vbslq_f32(vcltq_f32(a.high, b.high), yes.high, no.high)};
}

EI_INLINE float32x4_t ei_quarter_pow2(float32x4_t rounded)
{
    const int32x4_t exponent = vshlq_n_s32(vreinterpretq_s32_f32(rounded), 23);
    return vreinterpretq_f32_s32(vaddq_s32(exponent, vdupq_n_s32(0x3f800000)));
}
EI_INLINE vf vf_pow2(vf rounded) { return (vf){ei_quarter_pow2(rounded.low), ei_quarter_pow2(rounded.high)}; }

#endif
