/* Loops of multiply-adds in registers alone: nothing is loaded or stored, so that no kernel on this
 * core can be faster than they are. See kernels_peak.h. */
#include "common/networks/kernels_peak.h"

#include <immintrin.h>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/networks/kernels_table.h"

#define LOOPS 20000
/* Independent sums: more than two units of four cycles each can have on the way. */
#define SUMS 12
/* A tile instruction takes the unit 16 cycles. */
#define TILE_LOOPS 2500

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

/* Each returns the floating-point operations that it made. */
__attribute__((target("avx2,fma"))) static double avx2_loop(void)
{
    const __m256 x = _mm256_set1_ps(0.5f);
    __m256 sums[SUMS] = {0};
    LOOP(sums, _mm256_fmadd_ps(sums[i], x, x));
    return 2.0 * 8 * LOOPS * SUMS;
}

__attribute__((target("avx512f"))) static double avx512_loop(void)
{
    const __m512 x = _mm512_set1_ps(0.5f);
    __m512 sums[SUMS] = {0};
    LOOP(sums, _mm512_fmadd_ps(sums[i], x, x));
    return 2.0 * 16 * LOOPS * SUMS;
}

/* A bf16 instruction makes two products for each of the 16 sums. */
__attribute__((target("avx512f,avx512bf16"))) static double pairs_loop(void)
{
    const __m512bh x = (__m512bh)_mm512_set1_epi16(0); /* zeros: the sums stay what they are */
    __m512 sums[SUMS] = {0};
    LOOP(sums, _mm512_dpbf16_ps(sums[i], x, x));
    return 2.0 * 32 * LOOPS * SUMS;
}

/* Four tiles of sums, as in a block of the kernels; tiles are 0 after they are configured. */
__attribute__((target("amx-tile,amx-bf16"))) static double tiles_loop(void)
{
    kernels_amx.thread_begin();
    for (int loop = 0; loop < TILE_LOOPS; loop++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    kernels_amx.thread_end();
    return 4.0 * 2 * 16 * 16 * 32 * TILE_LOOPS;
}

/* The loop of a unit; NULL where the processor does not have it. */
static double (*loop_of(enum kernels_unit unit))(void)
{
    switch (unit) {
    case KERNELS_UNIT_TILES:
        return kernels_have_tiles() ? tiles_loop : NULL;
    case KERNELS_UNIT_PAIRS:
        return __builtin_cpu_supports("avx512bf16") ? pairs_loop : NULL;
    case KERNELS_UNIT_FLOAT:
        break;
    }
    return __builtin_cpu_supports("avx512f")                                 ? avx512_loop
           : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? avx2_loop
                                                                             : NULL;
}

double kernels_peak(enum kernels_unit unit, int tries)
{
    ASSERT(tries >= 1);
    double (*loop)(void) = loop_of(unit);
    double best = 0.0;
    for (int i = 0; loop != NULL && i < tries; i++) {
        const uint64_t begin_ns = clock_now_ns();
        const double flop = loop();
        const double gflops = flop / (double)(clock_now_ns() - begin_ns);
        best = gflops > best ? gflops : best;
    }
    return best;
}
