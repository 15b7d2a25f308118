/* Two passes over a sorted array: the mean first, so that the squares do not cancel.
 *
 * The values are sorted in place and summed in that order, so the results do not depend on the
 * order in which threads finished episodes. The standard deviation is that of the values given
 * (divided by n), not an estimate for a larger population. */
#include "evaluator/statistics.h"

#include <math.h>
#include <stdlib.h>

/* Not a difference: converted to int, that could become 0 or overflow. */
static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct statistics statistics_of(double *values, size_t n)
{
    struct statistics made = {n, NAN, NAN, NAN, NAN, NAN};
    /* NaN rather than 0: a reader must not take it for a return. */
    if (n == 0) {
        return made;
    }
    qsort(values, n, sizeof *values, compare);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
    }
    made.mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) {
        squares += (values[i] - made.mean) * (values[i] - made.mean);
    }
    made.std = sqrt(squares / (double)n);
    /* The values are sorted by now. */
    made.min = values[0];
    made.max = values[n - 1];
    made.median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    return made;
}

struct rate_interval rate_interval_of(double k, double n)
{
    const double z = 1.959963984540054; /* the normal distribution's quantile at 0.975 */
    double rate = k / n, weight = 1.0 + z * z / n;
    double middle = (rate + z * z / (2.0 * n)) / weight;
    double half = z / weight * sqrt(rate * (1.0 - rate) / n + z * z / (4.0 * n * n));
    return (struct rate_interval){fmax(0.0, middle - half), fmin(1.0, middle + half)};
}
