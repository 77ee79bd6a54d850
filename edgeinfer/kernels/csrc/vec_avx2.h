/* Eight lanes: AVX2 and FMA. */
#ifndef EI_VEC_AVX2_H
#define EI_VEC_AVX2_H

#include <immintrin.h>

#include "compiler.h"

#define EI_LANES 8
#define EI_TILE_ROWS 2 /* with four vectors of weights, all that 16 registers hold */
#define EI_BESIDE_FLOATS INT64_MAX

typedef __m256 vf;

EI_INLINE vf vf_set1(float x) { return _mm256_set1_ps(x); }
EI_INLINE vf vf_load(const float *p) { return _mm256_load_ps(p); }
EI_INLINE void vf_store(float *p, vf v) { _mm256_store_ps(p, v); }
EI_INLINE vf vf_loadu(const ei_f32 *p) { return _mm256_loadu_ps((const float *)p); }
EI_INLINE void vf_storeu(ei_f32 *p, vf v) { _mm256_storeu_ps((float *)p, v); }

EI_INLINE vf vf_load_part(const ei_f32 *p, int64_t n, vf fill)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
    return _mm256_blendv_ps(fill, _mm256_maskload_ps((const float *)p, mask), _mm256_castsi256_ps(mask));
}

/* In halves: a masked store is slow on AMD and is not forwarded to the loads of the next step. */
EI_INLINE void vf_store_part(ei_f32 *p, vf v, int64_t n)
{
    __m128 half = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps((float *)p, half);
        half = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)p, half);
        half = _mm_movehl_ps(half, half);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss((float *)p, half);
}

EI_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
EI_INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
EI_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
EI_INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
EI_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
EI_INLINE vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
EI_INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
EI_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
EI_INLINE vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
EI_INLINE vf vf_neg(vf a) { return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a); }
EI_INLINE float vf_sum(vf a)
{
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}
EI_INLINE vf vf_select_lt(vf a, vf b, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

EI_INLINE vf vf_pow2(vf rounded)
{
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(rounded), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3f800000)));
}

#endif
