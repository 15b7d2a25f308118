/* The most that a core can multiply and add, measured in a few milliseconds: what the choice of
 * kernels and bench_learner compare with. */
#ifndef HINDCAST_NETWORKS_KERNELS_PEAK_H
#define HINDCAST_NETWORKS_KERNELS_PEAK_H

/* Units that multiply. */
enum kernels_unit {
    KERNELS_UNIT_FLOAT, /* fused multiply-adds of floats, the widest registers */
    KERNELS_UNIT_PAIRS, /* pairs of bf16 in 512-bit registers, added into floats (AVX512-BF16) */
    KERNELS_UNIT_TILES  /* tiles of bf16, added into floats (AMX) */
};

/* GFLOP/s of one core that does nothing but multiply-adds in registers: the best of `tries`, each
 * about 0.2 ms, since other work can only make a try slower. 0 where the processor has no such
 * instruction, or Linux does not grant it. Calling thread only; not between kernels_thread_begin
 * and kernels_thread_end. */
double kernels_peak(enum kernels_unit unit, int tries);

#endif
