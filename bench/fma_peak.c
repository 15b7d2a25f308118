/* The most that a core can multiply and add. The loops work on registers alone: nothing is loaded
 * or stored, so that no kernel on this core can be faster than they are. See fma_peak.h. */
#include "bench/fma_peak.h"

#include <immintrin.h>

#include "common/base/clock.h"

/* The best of several tries counts, since an interrupt spoils one. */
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

/* A bf16 instruction makes two products for each of the 16 sums. */
__attribute__((target("avx512f,avx512bf16"))) static int bf16_loop(void)
{
    const __m512bh x = (__m512bh)_mm512_set1_epi16(0); /* zeros: the sums stay what they are */
    __m512 sums[SUMS] = {0};
    LOOP(sums, _mm512_dpbf16_ps(sums[i], x, x));
    return 2 * 32;
}

/* The widest loop that this processor has; NULL where it has none. */
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
    /* The first try also brings the core to its speed; the best one counts. */
    for (int i = 0; loop != NULL && i < TRIES; i++) {
        const uint64_t begin = clock_now_ns();
        const int flops = loop();
        const double gflops = (double)LOOPS * SUMS * flops / (double)(clock_now_ns() - begin);
        best = gflops > best ? gflops : best;
    }
    return best;
}
