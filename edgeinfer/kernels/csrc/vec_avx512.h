/* Sixteen lanes: AVX-512F. */
#ifndef EI_VEC_AVX512_H
#define EI_VEC_AVX512_H

#include <immintrin.h>

#include "compiler.h"

#define EI_LANES 16
#define EI_TILE_ROWS 4
#define EI_BESIDE_FLOATS (48 << 8) /* 48 KiB, Zen 5's L1: GRU 8,64 with 55 KiB of weights takes 10 % longer by twos */

typedef __m512 vf;

EI_INLINE vf vf_set1(float x) { return _mm512_set1_ps(x); }
EI_INLINE vf vf_load(const float *p) { return _mm512_load_ps(p); }
EI_INLINE void vf_store(float *p, vf v) { _mm512_store_ps(p, v); }
EI_INLINE vf vf_loadu(const ei_f32 *p) { return _mm512_loadu_ps(p); }
EI_INLINE void vf_storeu(ei_f32 *p, vf v) { _mm512_storeu_ps(p, v); }

EI_INLINE vf vf_load_part(const ei_f32 *p, int64_t n, vf fill)
{
    return _mm512_mask_loadu_ps(fill, (__mmask16)((1u << n) - 1u), p);
}

/* In halves: a masked store is not forwarded to the loads of the next step. */
EI_INLINE void vf_store_part(ei_f32 *p, vf v, int64_t n)
{
    __m256 half = _mm512_castps512_ps256(v);
    if (n & 8) {
        _mm256_storeu_ps((float *)p, half);
        half = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
        p += 8;
    }
    __m128 quarter = _mm256_castps256_ps128(half);
    if (n & 4) {
        _mm_storeu_ps((float *)p, quarter);
        quarter = _mm256_extractf128_ps(half, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)p, quarter);
        quarter = _mm_movehl_ps(quarter, quarter);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss((float *)p, quarter);
}

EI_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
EI_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
EI_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
EI_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
EI_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
EI_INLINE vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
EI_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
EI_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
EI_INLINE vf vf_abs(vf a) { return _mm512_abs_ps(a); }
EI_INLINE vf vf_neg(vf a)
{
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN)));
}
EI_INLINE float vf_sum(vf a)
{
    const __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), upper);
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}
EI_INLINE vf vf_select_lt(vf a, vf b, vf yes, vf no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

EI_INLINE vf vf_pow2(vf rounded)
{
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(rounded), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3f800000)));
}

#endif
