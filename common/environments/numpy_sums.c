/* Two orders of summation: ddot's, one product after the other, and that of numpy's reductions,
 * eight partial sums that are then added in pairs.
 *
 * Compiled without contraction, so that a multiplication and an addition are fused where fma() says
 * so and nowhere else. Pure functions. */
#include "common/environments/numpy_sums.h"

#include <math.h>
#include <stdbool.h>

#include "common/base/status.h"

#define DOT_MAX  32  /* from here on ddot uses its vector kernel */
#define MEAN_MAX 128 /* from here on numpy splits the array in halves */

/* Does OpenBLAS choose kernels that were compiled with fused multiplication and addition? It does
 * where it finds AVX-512: its other kernels for x86-64 are compiled without. */
static bool products_are_fused(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
}

double numpy_dot(const double *a, const double *b, int n)
{
    ASSERT(n < DOT_MAX);
    double sum = 0.0;
    bool fused = products_are_fused();
    for (int i = 0; i < n; i++) {
        sum = fused ? fma(a[i], b[i], sum) : sum + a[i] * b[i];
    }
    return sum;
}

double numpy_norm(const double *v, int n)
{
    return sqrt(numpy_dot(v, v, n));
}

double numpy_mean(const double *values, int n)
{
    ASSERT(n >= 1 && n <= MEAN_MAX);
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
