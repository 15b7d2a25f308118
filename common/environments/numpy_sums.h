/* Sums of a few doubles, number for number as numpy computes them.
 *
 * The control suite's start states and rewards go through numpy's norm, dot and mean, and a last bit
 * of a start state is an other episode some hundred steps later. numpy.dot is OpenBLAS's ddot: it
 * adds products one by one, and on a processor with AVX-512 its kernels fuse each multiplication with
 * the addition. So these functions may differ in the last bit from machine to machine, as dm_control
 * does; on one machine both agree. Compiled without contraction, so that a multiplication and an
 * addition are fused where fma() says so and nowhere else. Inline, as most lengths are constants and
 * small models step in a microsecond. Pure functions. Sources: numpy.linalg.norm, numpy.ndarray.mean
 * (pairwise summation), OpenBLAS kernel/x86_64/ddot.c. */
#ifndef HINDCAST_ENVIRONMENTS_NUMPY_SUMS_H
#define HINDCAST_ENVIRONMENTS_NUMPY_SUMS_H

#include <math.h>
#include <stdbool.h>

#include "common/base/status.h"

#define NUMPY_DOT_MAX  32  /* from here on ddot uses its vector kernel */
#define NUMPY_MEAN_MAX 128 /* from here on numpy splits the array in halves */

/* Does OpenBLAS choose kernels that were compiled with fused multiplication and addition? It does
 * where it finds AVX-512: its other kernels for x86-64 are compiled without. */
static inline bool numpy_products_are_fused(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}

/* a(n) . b(n), for n < 32: longer vectors are summed in other orders. */
static inline double numpy_dot(const double *a, const double *b, int n)
{
    ASSERT(n < NUMPY_DOT_MAX);
    double sum = 0.0;
    if (numpy_products_are_fused()) {
        for (int i = 0; i < n; i++) {
            sum = fma(a[i], b[i], sum);
        }
        return sum;
    }
    for (int i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* sqrt(v . v), n < 32. */
static inline double numpy_norm(const double *v, int n)
{
    return sqrt(numpy_dot(v, v, n));
}

/* values(n).mean(), 1 <= n <= 128: eight partial sums, which are then added in pairs. */
static inline double numpy_mean(const double *values, int n)
{
    ASSERT(n >= 1 && n <= NUMPY_MEAN_MAX);
    double sum = 0.0;
    int i = 0;
    if (n >= 8) {
        double part[8];
        for (; i < 8; i++) {
            part[i] = values[i];
        }
        for (; i < n - n % 8; i++) {
            part[i % 8] += values[i];
        }
        sum = ((part[0] + part[1]) + (part[2] + part[3])) +
              ((part[4] + part[5]) + (part[6] + part[7]));
    }
    /* The rest, or all of a short array. */
    for (; i < n; i++) {
        sum += values[i];
    }
    return sum / n;
}

#endif
