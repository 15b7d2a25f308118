/* Bootstrap intervals: see estimates.h. */
#include "offline_evaluator/estimates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts x(n) and takes the quantiles around its middle. */
static void interval(struct estimate *estimate, double *x, size_t n, double level)
{
    qsort(x, n, sizeof *x, compare);
    const double outside = (1 - level) / 2 * (double)(n - 1);
    estimate->low = x[(size_t)floor(outside)];
    estimate->high = x[n - 1 - (size_t)floor(outside)];
}

/* means(resamples,policies) <- the mean value of each policy in each resample. */
static void resample(double *means, const double *values, const struct estimates_settings *set,
                     uint32_t *starts, uint32_t *critics)
{
    struct rng rng;
    rng_init(&rng, set->seed, "bootstrap", 0);
    memset(means, 0, set->resamples * set->n_policies * sizeof *means);
    for (size_t r = 0; r < set->resamples; r++) {
        for (size_t i = 0; i < set->n_starts; i++) {
            starts[i] = (uint32_t)rng_below(&rng, set->n_starts);
        }
        for (size_t e = 0; e < set->n_critics; e++) {
            critics[e] = (uint32_t)rng_below(&rng, set->n_critics);
        }
        for (size_t p = 0; p < set->n_policies; p++) {
            double sum = 0;
            for (size_t e = 0; e < set->n_critics; e++) {
                const double *from = values + (critics[e] * set->n_policies + p) * set->n_starts;
                for (size_t i = 0; i < set->n_starts; i++) {
                    sum += from[starts[i]];
                }
            }
            means[r * set->n_policies + p] = sum / (double)(set->n_starts * set->n_critics);
        }
    }
}

/* From the resampled means to intervals, of values and of differences. */
static void conclude(struct estimates *estimates, const double *means, double *column,
                     const struct estimates_settings *set)
{
    const size_t P = set->n_policies;
    for (size_t p = 0; p < P; p++) {
        for (size_t q = 0; q < P; q++) {
            struct estimate *difference = &estimates->differences[p * P + q];
            for (size_t r = 0; r < set->resamples; r++) {
                column[r] = means[r * P + p] - means[r * P + q];
            }
            difference->mean = estimates->values[p].mean - estimates->values[q].mean;
            interval(difference, column, set->resamples, set->level);
        }
        for (size_t r = 0; r < set->resamples; r++) {
            column[r] = means[r * P + p];
        }
        interval(&estimates->values[p], column, set->resamples, set->level);
    }
    for (size_t r = 0; r < set->resamples; r++) {
        size_t best = 0;
        for (size_t p = 1; p < P; p++) {
            best = means[r * P + p] > means[r * P + best] ? p : best;
        }
        estimates->best[best] += 1.0 / (double)set->resamples;
    }
}

status estimates_make(struct estimates *out, const double *values,
                      const struct estimates_settings *set, struct err *err)
{
    ASSERT(set->n_critics >= 1 && set->n_policies >= 1 && set->n_starts >= 1);
    ASSERT(set->resamples >= 1);
    const size_t P = set->n_policies;
    struct estimates made = {.n = P,
                             .values = mem_array(P, sizeof *made.values),
                             .differences = mem_array(P * P, sizeof *made.differences),
                             .best = mem_array(P, sizeof *made.best)};
    double *means = mem_array(set->resamples * P, sizeof *means);
    double *column = mem_array(set->resamples, sizeof *column);
    uint32_t *starts = mem_array(set->n_starts, sizeof *starts);
    uint32_t *critics = mem_array(set->n_critics, sizeof *critics);
    status s = STATUS_OK;
    if (made.values == NULL || made.differences == NULL || made.best == NULL || means == NULL ||
        column == NULL || starts == NULL || critics == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "intervals of %zu policies", P);
        estimates_fini(&made);
    } else {
        for (size_t p = 0; p < P; p++) {
            double sum = 0;
            for (size_t e = 0; e < set->n_critics; e++) {
                const double *from = values + (e * P + p) * set->n_starts;
                for (size_t i = 0; i < set->n_starts; i++) {
                    sum += from[i];
                }
            }
            made.values[p].mean = sum / (double)(set->n_starts * set->n_critics);
        }
        resample(means, values, set, starts, critics);
        conclude(&made, means, column, set);
        *out = made;
    }
    mem_free(means);
    mem_free(column);
    mem_free(starts);
    mem_free(critics);
    return s;
}

void estimates_fini(struct estimates *estimates)
{
    mem_free(estimates->values);
    mem_free(estimates->differences);
    mem_free(estimates->best);
    *estimates = (struct estimates){0};
}

status estimate_mean(struct estimate *estimate, const double *x, size_t n, size_t resamples,
                     double level, uint64_t seed, struct err *err)
{
    const struct estimates_settings settings = {.n_critics = 1,
                                                .n_policies = 1,
                                                .n_starts = n,
                                                .resamples = resamples,
                                                .level = level,
                                                .seed = seed};
    struct estimates estimates;
    const status s = estimates_make(&estimates, x, &settings, err);
    if (s == STATUS_OK) {
        *estimate = estimates.values[0];
        estimates_fini(&estimates);
    }
    return s;
}
