/* The most that a core can multiply and add. See fma_peak.h. */
#include "bench/fma_peak.h"

#include <immintrin.h>

#include "common/base/clock.h"

#define TRIES 6
#define LOOPS 200000
/* Independent sums: more than two units of four cycles each can have on the way. */
#define SUMS 12

/* Multiply-adds into `sums`, which stay in registers; the empty asm keeps them from being optimised
 * away. */
#define LOOP(sums, fma)                                                                            \
    for (int loop = 0; loop < LOOPS; loop++) {                                                     \
        _Pragma("GCC unroll 12") for (int i = 0; i < SUMS; i++)                                    \
        {                                                                                          \
            (sums)[i] = (fma);                                                                     \
            __asm__ volatile("" : "+v"((sums)[i]));                                                \
        }                                                                                          \
    }

/* Each returns the floating-point operations of a single vector's multiply-add. */
__attribute__((target("avx2,fma"))) static int avx2_loop(void)
{
    const __m256 x = _mm256_set1_ps(0.5f);
    __m256 sums[SUMS] = {0};
    LOOP(sums, _mm256_fmadd_ps(sums[i], x, x));
    return 2 * 8;
}

__attribute__((target("avx512f"))) static int avx512_loop(void)
{
    const __m512 x = _mm512_set1_ps(0.5f);
    __m512 sums[SUMS] = {0};
    LOOP(sums, _mm512_fmadd_ps(sums[i], x, x));
    return 2 * 16;
}

__attribute__((target("avx512f,avx512bf16"))) static int bf16_loop(void)
{
    const __m512bh x = (__m512bh)_mm512_set1_epi16(0); /* zeros: the sums stay what they are */
    __m512 sums[SUMS] = {0};
    LOOP(sums, _mm512_dpbf16_ps(sums[i], x, x));
    return 2 * 32;
}

static int (*loop_of(bool bf16))(void)
{
    if (bf16) {
        return __builtin_cpu_supports("avx512bf16") ? bf16_loop : NULL;
    }
    return __builtin_cpu_supports("avx512f")                                 ? avx512_loop
           : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2_loop
                                                                             : NULL;
}

double fma_peak(bool bf16)
{
    int (*loop)(void) = loop_of(bf16);
    double best = 0;
    for (int i = 0; loop != NULL && i < TRIES; i++) {
        const uint64_t begin = clock_now_ns();
        const int flops = loop();
        const double gflops = (double)LOOPS * SUMS * flops / (double)(clock_now_ns() - begin);
        best = gflops > best ? gflops : best;
    }
    return best;
}
