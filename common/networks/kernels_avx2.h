/* The v_ operations for 256-bit registers: 12 of the 16 hold a block of 6 rows by 16 outputs, two a
 * panel's weights, one a row's input. Files that include kernels_vector.h include this first.
 *
 * There are no instructions for bf16 here: its products are made in float from the halves of a
 * lane, for the same roundings as elsewhere and not for speed. */
#ifndef HINDCAST_NETWORKS_KERNELS_AVX2_H
#define HINDCAST_NETWORKS_KERNELS_AVX2_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define LANES 8
#define ROWS  6

typedef __m256 vec;
typedef __m256i ivec;
typedef __m256i lanes;

#define v_load(p)                _mm256_loadu_ps(p)
#define v_store(p, v)            _mm256_storeu_ps(p, v)
#define v_load_part(mask, p)     _mm256_maskload_ps(p, mask)
#define v_store_part(mask, p, v) _mm256_maskstore_ps(p, mask, v)
#define v_set(s)                 _mm256_set1_ps(s)
#define v_add(a, b)              _mm256_add_ps(a, b)
#define v_sub(a, b)              _mm256_sub_ps(a, b)
#define v_mul(a, b)              _mm256_mul_ps(a, b)
#define v_div(a, b)              _mm256_div_ps(a, b)
#define v_quotient(a, b)         _mm256_div_ps(a, b)
#define v_fma(a, b, c)           _mm256_fmadd_ps(a, b, c)
#define v_sqrt(a)                _mm256_sqrt_ps(a)
#define v_max(a, b)              _mm256_max_ps(a, b)
#define v_min(a, b)              _mm256_min_ps(a, b)
#define v_round(a)               _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define v_abs(a)                 _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define v_above_0(a, x, y)       _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ))

/* The mask of the first n lanes; n may be negative or beyond LANES. */
static inline lanes v_lanes(int n)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), index);
}

/* The sum of all lanes, by halves: the order is fixed, so the bits are. */
static inline float v_sum(vec a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/* 2^n for whole n in -126 .. 127. */
static inline vec v_power_of_2(vec n)
{
    const ivec exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}

/* No cheaper ones here: bf16 is emulated, for its rounding and not for speed. */
#define v_rough_elu(x)  elu_v(x)
#define v_rough_tanh(x) tanh_v(x)

/* ---- bf16 ---- */

#define KERNELS_BF16_NATIVE 0

/* Adds half of the last place kept, less where that bit is even; a NaN becomes the quiet one. */
static inline __m128i v_bf16(vec v)
{
    const ivec bits = _mm256_castps_si256(v);
    const ivec odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const ivec sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const ivec nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const ivec rounded =
        _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), _mm256_set1_epi32(0x7fc0), nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

/* The first n (at most LANES) of v, rounded, to p(n). */
static inline void v_store_bf16(uint16_t *p, vec v, int n)
{
    const __m128i halves = v_bf16(v);
    memcpy(p, &halves, n >= LANES ? sizeof halves : (size_t)n * sizeof *p);
}

/* Eight bf16 as floats. */
static inline vec v_expanded(__m128i halves)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
#define v_load_bf16(p) v_expanded(_mm_loadu_si128((const __m128i *)(const void *)(p)))
/* The bf16 of v, as floats. */
#define v_rounded(v) v_expanded(v_bf16(v))

/* p(2 LANES) <- bf16 of both, lane by lane next to each other. */
static inline void v_store_pairs(uint16_t *p, vec first, vec second)
{
    const ivec low = _mm256_cvtepu16_epi32(v_bf16(first));
    const ivec high = _mm256_slli_epi32(_mm256_cvtepu16_epi32(v_bf16(second)), 16);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_or_si256(low, high));
}

/* Transposes 16 rows of 16 pairs in place. */
static inline void v_transpose_pairs(uint16_t *tile)
{
    uint32_t pairs[16][16], transposed[16][16];
    memcpy(pairs, tile, sizeof pairs);
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 16; j++) {
            transposed[j][i] = pairs[i][j];
        }
    }
    memcpy(tile, transposed, sizeof transposed);
}

#endif
