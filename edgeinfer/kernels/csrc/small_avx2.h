/* Weights of one or two bytes, eight lanes: AVX2 and F16C. small_body.h says what each function does. */
#ifndef EI_SMALL_AVX2_H
#define EI_SMALL_AVX2_H

#include "vec_avx2.h"

EI_INLINE vf vf_load_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
EI_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
EI_INLINE int vf_any_nan(vf v) { return _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)); }

/* Four products of bytes to a lane: |q| times w with q's sign. A pair is at most 2 * 127 * 127, so that the 16 bits
 * of maddubs never saturate. */
typedef __m256i vi;
typedef struct vquad {
    __m256i q, magnitude;
} vquad;

EI_INLINE vi vi_load(const int32_t *p) { return _mm256_load_si256((const __m256i *)(const void *)p); }
EI_INLINE vi vi_zero(void) { return _mm256_setzero_si256(); }
EI_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
EI_INLINE vf vi_to_vf(vi a) { return _mm256_cvtepi32_ps(a); }
EI_INLINE vquad vquad_load(const int8_t *p)
{
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    const __m256i q = _mm256_set1_epi32(quad);
    return (vquad){q, _mm256_abs_epi8(q)};
}
EI_INLINE vi vi_dot(vi sum, vquad q, const int8_t *w)
{
    const __m256i signed_w = _mm256_sign_epi8(_mm256_load_si256((const __m256i *)(const void *)w), q.q);
    const __m256i pairs = _mm256_maddubs_epi16(q.magnitude, signed_w);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
EI_INLINE void vf_store_i8(int8_t *p, vf v)
{
    const __m256i whole = _mm256_cvtps_epi32(v);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(words, words));
}

#endif
