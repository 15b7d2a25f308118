/* Mean, spread, quantiles and interquartile mean of a list of returns; an interval for a rate. */
#ifndef HINDCAST_EVALUATOR_STATISTICS_H
#define HINDCAST_EVALUATOR_STATISTICS_H

#include <stddef.h>

struct statistics {
    size_t n;
    double mean, min, q1, median, q3, max;
    double std; /* of the n values as a population: divided by n, as numpy's std */
    /* The mean of what is left without the lowest and the highest quarter, floor(n / 4) values
     * each, and its 95% interval. Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the
     * Edge of the Statistical Precipice". */
    double iqm, iqm_low, iqm_high;
};

/* The statistics by the names that reports, curves and metrics have for them. */
#define STATISTICS_N 10
extern const char *const statistics_names[STATISTICS_N];
double statistics_get(const struct statistics *of, size_t i);

/* Of values(n); with n = 0 everything is NaN. `values` is sorted in place. Quartiles are between two
 * values in proportion, as numpy's. The interval is that of a percentile bootstrap with 2000
 * resamples (ours), whose random numbers have a fixed seed: the same values give the same interval. */
struct statistics statistics_of(double *values, size_t n);

/* Wilson's 95% interval of a rate of which k of n trials were seen, n >= 1. Source: Wilson 1927. */
struct rate_interval {
    double low, high;
};
struct rate_interval rate_interval_of(double k, double n);

#endif
