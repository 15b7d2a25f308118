/* Mean, spread and quantiles of a list of returns. */
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

#endif
