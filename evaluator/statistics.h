/* What fifty returns come to. */
#ifndef HINDCAST_EVALUATOR_STATISTICS_H
#define HINDCAST_EVALUATOR_STATISTICS_H

#include <stddef.h>

struct statistics {
    size_t n;
    double mean, min, median, max;
    double std; /* of these n values themselves: divided by n, as numpy's std */
};

/* Of values(n); with n = 0 everything is NaN. `values` is sorted in place. The median of an even
 * number is the mean of the two in the middle. */
struct statistics statistics_of(double *values, size_t n);

#endif
