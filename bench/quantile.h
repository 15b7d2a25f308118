/* Order statistics of measurements. */
#ifndef HINDCAST_BENCH_QUANTILE_H
#define HINDCAST_BENCH_QUANTILE_H

#include <stddef.h>

/* The value below which the share q of them lies, 0 <= q <= 1. Sorts them. n >= 1. */
double quantile(double *values, size_t n, double q);

#endif
