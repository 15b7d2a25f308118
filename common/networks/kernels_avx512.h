/* The v_ operations for 512-bit registers: 24 of the 32 hold a block of 12 rows by 32 outputs.
 * Files that include kernels_vector.h include this first. With __AVX512BF16__ products of bf16
 * are one instruction. */
#ifndef HINDCAST_NETWORKS_KERNELS_AVX512_H
#define HINDCAST_NETWORKS_KERNELS_AVX512_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define LANES 16
#define ROWS  12

typedef __m512 vec;
typedef __m512i ivec;
typedef __mmask16 lanes;

#define v_load(p)                _mm512_loadu_ps(p)
#define v_store(p, v)            _mm512_storeu_ps(p, v)
#define v_load_part(mask, p)     _mm512_maskz_loadu_ps(mask, p)
#define v_store_part(mask, p, v) _mm512_mask_storeu_ps(p, mask, v)
#define v_set(s)                 _mm512_set1_ps(s)
#define v_add(a, b)              _mm512_add_ps(a, b)
#define v_sub(a, b)              _mm512_sub_ps(a, b)
#define v_mul(a, b)              _mm512_mul_ps(a, b)
#define v_div(a, b)              _mm512_div_ps(a, b)
#define v_fma(a, b, c)           _mm512_fmadd_ps(a, b, c)
#define v_sqrt(a)                _mm512_sqrt_ps(a)
#define v_max(a, b)              _mm512_max_ps(a, b)
#define v_min(a, b)              _mm512_min_ps(a, b)
#define v_sum(a)                 _mm512_reduce_add_ps(a)
#define v_above_0(a, x, y)                                                                         \
    _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ), y, x)
#define v_abs(a) _mm512_abs_ps(a)

/* The mask of the first n lanes; n may be negative or beyond LANES. */
static inline lanes v_lanes(int n)
{
    return (lanes)(n >= LANES ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u);
}

/* A function and not a macro, because at -O0 gcc's intrinsic is a macro whose mask draws a
 * warning in the file that uses it. */
static inline vec v_round(vec a)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#pragma GCC diagnostic pop
}

/* 2^n for whole n in -126 .. 127. */
static inline vec v_power_of_2(vec n)
{
    const ivec exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}

/* a / b to 2 units in the last place, for b where 1/b is a normal number: Newton's step from 14
 * bits. A third of a division's time. */
static inline vec v_quotient(vec a, vec b)
{
    const vec r = _mm512_rcp14_ps(b);
    return v_mul(a, v_mul(r, _mm512_fnmadd_ps(b, r, v_set(2.0f))));
}

/* 2^x to 3.4e-6, for any x: p(x - floor(x)) 2^floor(x). */
static inline vec v_rough_power_of_2(vec x)
{
    const vec f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    vec p = v_set(0.0135557472f);
    p = v_fma(p, f, v_set(0.0520323691f));
    p = v_fma(p, f, v_set(0.241379763f));
    p = v_fma(p, f, v_set(0.693032121f));
    p = v_fma(p, f, v_set(1.0f));
    return _mm512_scalef_ps(p, x);
}

/* elu to 3.4e-6 and tanh to 7e-5, absolute: what bf16 cannot tell from the exact ones. */
static inline vec v_rough_elu(vec x)
{
    const vec e = v_sub(v_rough_power_of_2(v_mul(x, v_set(1.44269504f))), v_set(1.0f));
    return v_above_0(x, x, e);
}

static inline vec v_rough_tanh(vec x)
{
    const vec d = v_add(v_rough_power_of_2(v_mul(x, v_set(2.88539008f))), v_set(1.0f));
    return _mm512_fnmadd_ps(v_set(2.0f), _mm512_rcp14_ps(d), v_set(1.0f));
}

/* ---- bf16 ---- */

#ifdef __AVX512BF16__

#define KERNELS_BF16_NATIVE 1
#define v_pairs_load(p)     _mm512_loadu_si512(p)
#define v_pairs_set(s)      _mm512_set1_epi32(s)

/* c + the products of the two bf16 in each lane. */
static inline vec v_pairs_fma(ivec a, ivec b, vec c)
{
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}

static inline __m256i v_bf16(vec v)
{
    return (__m256i)_mm512_cvtneps_pbh(v);
}

#else

#define KERNELS_BF16_NATIVE 0

/* Adds half of the last place kept, less where that bit is even; a NaN becomes the quiet one. */
static inline __m256i v_bf16(vec v)
{
    const ivec bits = _mm512_castps_si512(v);
    const ivec odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const ivec sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const ivec rounded =
        _mm512_mask_mov_epi32(_mm512_srli_epi32(sum, 16), nan, _mm512_set1_epi32(0x7fc0));
    return _mm512_cvtepi32_epi16(rounded);
}

#endif

/* The first n (at most LANES) of v, rounded, to p(n). */
static inline void v_store_bf16(uint16_t *p, vec v, int n)
{
    if (n >= LANES) {
        _mm256_storeu_si256((__m256i *)(void *)p, v_bf16(v));
    } else {
        _mm256_mask_storeu_epi16(p, v_lanes(n), v_bf16(v));
    }
}

/* Sixteen bf16 as floats. */
static inline vec v_expanded(__m256i halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
#define v_load_bf16(p) v_expanded(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
/* The bf16 of v, as floats. */
#define v_rounded(v) v_expanded(v_bf16(v))

/* p(2 LANES) <- bf16 of both, lane by lane next to each other. */
static inline void v_store_pairs(uint16_t *p, vec first, vec second)
{
    const ivec low = _mm512_cvtepu16_epi32(v_bf16(first));
    const ivec high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(v_bf16(second)), 16);
    _mm512_storeu_si512(p, _mm512_or_si512(low, high));
}

/* Transposes 16 rows of 16 pairs in place. First within each quarter of the registers, 4 x 4 pairs
 * at a time, then the quarters. */
static inline void v_transpose_pairs(uint16_t *tile)
{
    ivec r[16], t[16];
    for (int i = 0; i < 16; i++) {
        r[i] = _mm512_loadu_si512(tile + 32 * i);
    }
    for (int i = 0; i < 16; i += 4) {
        const ivec low01 = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        const ivec high01 = _mm512_unpackhi_epi32(r[i], r[i + 1]);
        const ivec low23 = _mm512_unpacklo_epi32(r[i + 2], r[i + 3]);
        const ivec high23 = _mm512_unpackhi_epi32(r[i + 2], r[i + 3]);
        t[i] = _mm512_unpacklo_epi64(low01, low23);
        t[i + 1] = _mm512_unpackhi_epi64(low01, low23);
        t[i + 2] = _mm512_unpacklo_epi64(high01, high23);
        t[i + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    /* t[4 a + b] holds, in quarter q, column 4 q + b of rows 4 a .. 4 a + 3. */
    for (int b = 0; b < 4; b++) {
        const ivec even01 = _mm512_shuffle_i32x4(t[b], t[4 + b], 0x88);
        const ivec odd01 = _mm512_shuffle_i32x4(t[b], t[4 + b], 0xdd);
        const ivec even23 = _mm512_shuffle_i32x4(t[8 + b], t[12 + b], 0x88);
        const ivec odd23 = _mm512_shuffle_i32x4(t[8 + b], t[12 + b], 0xdd);
        _mm512_storeu_si512(tile + 32 * b, _mm512_shuffle_i32x4(even01, even23, 0x88));
        _mm512_storeu_si512(tile + 32 * (8 + b), _mm512_shuffle_i32x4(even01, even23, 0xdd));
        _mm512_storeu_si512(tile + 32 * (4 + b), _mm512_shuffle_i32x4(odd01, odd23, 0x88));
        _mm512_storeu_si512(tile + 32 * (12 + b), _mm512_shuffle_i32x4(odd01, odd23, 0xdd));
    }
}

#endif
