/* What OpenBLAS's sgemm reaches on this machine: the yardstick of bench_learner. Only benchmarks
 * use OpenBLAS; the learner has its own kernels. */
#ifndef HINDCAST_BENCH_SGEMM_H
#define HINDCAST_BENCH_SGEMM_H

/* To be called first. OPENBLAS_CORETYPE is read when the library is loaded, and one that is wrong
 * for the processor halves sgemm: says so and starts the program again without it (does not
 * return). Says so as well when OpenBLAS by itself took kernels that are too narrow. */
void sgemm_check_core(char **argv);

/* The kernels that OpenBLAS took: "Cooperlake". */
const char *sgemm_core(void);

/* GFLOP/s of y(M,N) = x(M,K) W(N,K)^T on `threads` threads, the best of the shapes that a learner's
 * hidden layers have, over about `seconds`. Takes its matrices once and keeps them. */
double sgemm_measure(int threads, double seconds);

#endif
