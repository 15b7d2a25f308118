/* The vector kernels for 512-bit registers: 24 of the 32 hold a block of 12 rows by 32 outputs. */
#include <immintrin.h>

#define KERNELS_TABLE kernels_avx512
#define KERNELS_NAME  "avx512"

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
#define v_round(a)               _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define v_sum(a)                 _mm512_reduce_add_ps(a)
#define v_above_0(a, x, y)                                                                         \
    _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ), y, x)
#define v_abs(a) _mm512_abs_ps(a)

static inline lanes v_lanes(int n)
{
    return (lanes)(n >= LANES ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1u);
}

/* 2^n for whole n in -126 .. 127. */
static inline vec v_power_of_2(vec n)
{
    const ivec exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}

#include "common/networks/kernels_vector.h"
