/* The most that a core of this processor can multiply and add: the limit of bench_learner's
 * figures. */
#ifndef HINDCAST_BENCH_FMA_PEAK_H
#define HINDCAST_BENCH_FMA_PEAK_H

#include <stdbool.h>

/* GFLOP/s of one core that does nothing but multiply-adds in registers, the best of a few short
 * tries (30 ms in all): of floats, or with `bf16` of pairs of bf16 added into floats. 0 where the
 * processor has no such instruction (AVX2 with FMA at least; AVX512-BF16). */
double fma_peak(bool bf16);

#endif
