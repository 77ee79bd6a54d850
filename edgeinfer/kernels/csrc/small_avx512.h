/* Weights of one or two bytes, sixteen lanes: AVX-512F, with EI_VNNI also AVX-512 VNNI. small_body.h says what each
 * function does. */
#ifndef EI_SMALL_AVX512_H
#define EI_SMALL_AVX512_H

#include "vec_avx512.h"

EI_INLINE vf vf_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
EI_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
EI_INLINE int vf_any_nan(vf v) { return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q); }

typedef __m512i vi;

EI_INLINE vi vi_load(const int32_t *p) { return _mm512_load_si512(p); }
EI_INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
EI_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
EI_INLINE vf vi_to_vf(vi a) { return _mm512_cvtepi32_ps(a); }

#ifdef EI_VNNI

/* vpdpbusd takes one factor without sign: q + 128, whose surplus the weights' corrections take off again. It adds up
 * in 32 bits without saturation. */
typedef __m512i vquad;

EI_INLINE vquad vquad_load(const int8_t *p)
{
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    return _mm512_set1_epi32(quad);
}
EI_INLINE vi vi_dot(vi sum, vquad q, const int8_t *w) { return _mm512_dpbusd_epi32(sum, q, _mm512_load_si512(w)); }
EI_INLINE void vf_store_i8(int8_t *p, vf v)
{
    const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
    _mm_storeu_si128((__m128i *)(void *)p, _mm_xor_si128(bytes, _mm_set1_epi8(-128)));
}

#else

/* In halves, as small_avx2.h does it: products of bytes are not in AVX-512F. */
typedef struct vquad {
    __m256i q, magnitude;
} vquad;

EI_INLINE vquad vquad_load(const int8_t *p)
{
    int32_t quad;
    memcpy(&quad, p, sizeof quad);
    const __m256i q = _mm256_set1_epi32(quad);
    return (vquad){q, _mm256_abs_epi8(q)};
}
EI_INLINE __m256i ei_half_dot(vquad q, const int8_t *w)
{
    const __m256i signed_w = _mm256_sign_epi8(_mm256_load_si256((const __m256i *)(const void *)w), q.q);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(q.magnitude, signed_w), _mm256_set1_epi16(1));
}
EI_INLINE vi vi_dot(vi sum, vquad q, const int8_t *w)
{
    const __m512i low = _mm512_castsi256_si512(ei_half_dot(q, w));
    return _mm512_add_epi32(sum, _mm512_inserti64x4(low, ei_half_dot(q, w + 32), 1));
}
EI_INLINE void vf_store_i8(int8_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}

#endif

#endif
