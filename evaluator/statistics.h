/* Mean, spread and quantiles of a list of returns; an interval for a rate. */
#ifndef HINDCAST_EVALUATOR_STATISTICS_H
#define HINDCAST_EVALUATOR_STATISTICS_H

#include <stddef.h>

struct statistics {
    size_t n;
    double mean, min, median, max;
    double std; /* of the n values as a population: divided by n, as numpy's std */
};

/* Of values(n); with n = 0 everything is NaN. `values` is sorted in place. The median of an even
 * number of values is the mean of the middle two. */
struct statistics statistics_of(double *values, size_t n);

/* Wilson's 95% interval of a rate of which k of n trials were seen, n >= 1. Source: Wilson 1927. */
struct rate_interval {
    double low, high;
};
struct rate_interval rate_interval_of(double k, double n);

#endif
