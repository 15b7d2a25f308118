/* Two passes over a sorted array: the mean first, so that the squares do not cancel.
 *
 * The values are sorted in place and summed in that order, so the results do not depend on the
 * order in which threads finished episodes. The standard deviation is that of the values given
 * (divided by n), not an estimate for a larger population. */
#include "evaluator/statistics.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"

#define RESAMPLES 2000u

/* Not a difference: converted to int, that could become 0 or overflow. */
static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

const char *const statistics_names[STATISTICS_N] = {"mean", "min", "q1",  "median",  "q3",
                                                    "max",  "std", "iqm", "iqm_low", "iqm_high"};

double statistics_get(const struct statistics *of, size_t i)
{
    const double values[STATISTICS_N] = {of->mean, of->min, of->q1,  of->median,  of->q3,
                                         of->max,  of->std, of->iqm, of->iqm_low, of->iqm_high};
    ASSERT(i < STATISTICS_N);
    return values[i];
}

/* The value below which a share of the sorted values(n) is, in proportion between two of them. */
static double quantile(const double *values, size_t n, double share)
{
    const double at = share * (double)(n - 1);
    const size_t below = (size_t)at;
    const size_t above = below + 1 < n ? below + 1 : below;
    return values[below] + (at - (double)below) * (values[above] - values[below]);
}

/* The interquartile mean of a sample of the sorted values(n), which has values[i] counts[i] times, n
 * in all. */
static double trimmed_mean(const double *values, const uint32_t *counts, size_t n)
{
    const size_t first = n / 4, end = n - n / 4; /* ranks that count */
    double sum = 0;
    size_t rank = 0;
    for (size_t i = 0; i < n && rank < end; i++) {
        const size_t from = rank > first ? rank : first;
        rank += counts[i];
        const size_t to = rank < end ? rank : end;
        sum += to > from ? (double)(to - from) * values[i] : 0;
    }
    return sum / (double)(end - first);
}

/* The interquartile mean and its interval. Without memory there is no interval. */
static void find_iqm(struct statistics *made, const double *values, size_t n)
{
    uint32_t *counts = mem_array(n, sizeof *counts);
    double *means = mem_array(RESAMPLES, sizeof *means);
    struct rng rng;
    rng_init(&rng, 1, "statistics", 0);
    if (counts != NULL && means != NULL) {
        for (size_t i = 0; i < n; i++) {
            counts[i] = 1;
        }
        made->iqm = trimmed_mean(values, counts, n);
        for (size_t k = 0; k < RESAMPLES; k++) {
            memset(counts, 0, n * sizeof *counts);
            for (size_t i = 0; i < n; i++) {
                counts[rng_below(&rng, n)]++;
            }
            means[k] = trimmed_mean(values, counts, n);
        }
        qsort(means, RESAMPLES, sizeof *means, compare);
        made->iqm_low = quantile(means, RESAMPLES, 0.025);
        made->iqm_high = quantile(means, RESAMPLES, 0.975);
    }
    mem_free(counts);
    mem_free(means);
}

struct statistics statistics_of(double *values, size_t n)
{
    struct statistics made = {n, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
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
    made.q1 = quantile(values, n, 0.25);
    made.q3 = quantile(values, n, 0.75);
    made.median = n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
    find_iqm(&made, values, n);
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
