/* Quantiles, by sorting. The result is one of the values, the one at position q (n - 1) rounded
 * down; nothing is interpolated. The array of the caller is left sorted. */
#include "bench/quantile.h"

#include <stdlib.h>

/* For qsort(): ascending, without the overflow of a difference. */
static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double quantile(double *values, size_t n, double q)
{
    qsort(values, n, sizeof *values, by_value);
    return values[(size_t)(q * (double)(n - 1))];
}
