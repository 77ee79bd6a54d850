/* Weights of one or two bytes, eight lanes as pairs of four: AArch64's Advanced SIMD. small_body.h says what each
 * function does. */
#ifndef EI_SMALL_NEON_H
#define EI_SMALL_NEON_H

#include "vec_neon.h"

EI_INLINE vf vf_load_i8(const int8_t *p)
{
    const int16x8_t words = vmovl_s8(vld1_s8(p));
    return (vf){vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), vcvtq_f32_s32(vmovl_high_s16(words))};
}
EI_INLINE vf vf_load_f16(const uint16_t *p)
{
    const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
    return (vf){vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}
EI_INLINE int vf_any_nan(vf v)
{
    return vminvq_u32(vandq_u32(vceqq_f32(v.low, v.low), vceqq_f32(v.high, v.high))) == 0;
}

/* Products of bytes in 16 bits, added up by pairs and pairs of pairs: each lane's four. */
typedef struct vi {
    int32x4_t low, high;
} vi;
typedef int8x16_t vquad;

EI_INLINE vi vi_load(const int32_t *p) { return (vi){vld1q_s32(p), vld1q_s32(p + 4)}; }
EI_INLINE vi vi_zero(void) { return (vi){vdupq_n_s32(0), vdupq_n_s32(0)}; }
EI_INLINE vi vi_add(vi a, vi b) { return (vi){vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)}; }
EI_INLINE vf vi_to_vf(vi a) { return (vf){vcvtq_f32_s32(a.low), vcvtq_f32_s32(a.high)}; }
EI_INLINE vquad vquad_load(const int8_t *p)
{
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}
EI_INLINE int32x4_t ei_four_dots(int32x4_t sum, int8x16_t q, int8x16_t w)
{
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(q), vget_low_s8(w)));
    return vaddq_s32(sum, vpaddq_s32(low, vpaddlq_s16(vmull_high_s8(q, w))));
}
EI_INLINE vi vi_dot(vi sum, vquad q, const int8_t *w)
{
    return (vi){ei_four_dots(sum.low, q, vld1q_s8(w)), ei_four_dots(sum.high, q, vld1q_s8(w + 16))};
}
EI_INLINE void vf_store_i8(int8_t *p, vf v)
{
    const int16x4_t low = vmovn_s32(vcvtnq_s32_f32(v.low)), high = vmovn_s32(vcvtnq_s32_f32(v.high));
    vst1_s8(p, vmovn_s16(vcombine_s16(low, high)));
}

#endif
