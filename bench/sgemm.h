/* What OpenBLAS's sgemm reaches on this machine: the yardstick of bench_learner. Only benchmarks
 * use OpenBLAS; the learner has its own kernels. */
#ifndef HINDCAST_BENCH_SGEMM_H
#define HINDCAST_BENCH_SGEMM_H

/* Makes sure that OpenBLAS runs kernels that fit this processor; call it first. Where it does not,
 * prints a warning and starts the program again (does not return): without OPENBLAS_CORETYPE where
 * the user set it, else with OPENBLAS_CORETYPE=SkylakeX for AVX-512 or Haswell for AVX2, since
 * detection failed. Continues with a warning where that does not help either. */
void sgemm_check_core(char **argv);

/* The kernels that OpenBLAS runs: "Cooperlake". */
const char *sgemm_core(void);

/* GFLOP/s of y(M,N) = x(M,K) W(N,K)^T on `threads` threads, the best of the shapes that a learner's
 * hidden layers have, over about `seconds`. Takes its matrices once and keeps them. */
double sgemm_measure(int threads, double seconds);

#endif
