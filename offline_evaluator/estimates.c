/* Bootstrap intervals: see estimates.h. */
#include "offline_evaluator/estimates.h"

#include <math.h>
#include <stdlib.h>

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

/* Values as they are resampled. */
struct centre {
    double *at_starts; /* (P,starts) mean over critics */
    double *deviation; /* (critics,P) of a critic's mean over starts from that of all critics */
};

static void centre_fini(struct centre *centre)
{
    mem_free(centre->at_starts);
    mem_free(centre->deviation);
}

static status centre_init(struct centre *centre, const double *values,
                          const struct estimates_settings *set)
{
    const size_t P = set->n_policies, E = set->n_critics, N = set->n_starts;
    *centre = (struct centre){.at_starts = mem_array(P * N, sizeof(double)),
                              .deviation = mem_array(E * P, sizeof(double))};
    if (centre->at_starts == NULL || centre->deviation == NULL) {
        centre_fini(centre);
        return STATUS_NO_MEMORY;
    }
    for (size_t p = 0; p < P; p++) {
        double mean = 0;
        for (size_t e = 0; e < E; e++) {
            double sum = 0;
            for (size_t i = 0; i < N; i++) {
                const double value = values[(e * P + p) * N + i];
                centre->at_starts[p * N + i] += value / (double)E;
                sum += value;
            }
            centre->deviation[e * P + p] = sum / (double)N;
            mean += sum / (double)(N * E);
        }
        for (size_t e = 0; e < E; e++) {
            centre->deviation[e * P + p] -= mean;
        }
    }
    return STATUS_OK;
}

/* mean(P) <- at the starts that are drawn. */
static void draw_starts(double *mean, const struct centre *centre,
                        const struct estimates_settings *set, struct rng *rng, uint32_t *starts)
{
    for (size_t i = 0; i < set->n_starts; i++) {
        starts[i] = (uint32_t)rng_below(rng, set->n_starts);
    }
    for (size_t p = 0; p < set->n_policies; p++) {
        const double *from = centre->at_starts + p * set->n_starts;
        double sum = 0;
        for (size_t i = 0; i < set->n_starts; i++) {
            sum += from[starts[i]];
        }
        mean[p] = sum / (double)set->n_starts;
    }
}

/* mean(P) += what a fit may be wrong by: normal, with the covariance that the critics have, over
 * the root of a chi^2 of critics - 1 degrees of freedom and their number. */
static void draw_fit(double *mean, const struct centre *centre,
                     const struct estimates_settings *set, struct rng *rng)
{
    double chi2 = 0;
    for (size_t e = 1; e < set->n_critics; e++) {
        const double z = rng_normal(rng);
        chi2 += z * z;
    }
    /* The covariance's 1 / (critics - 1) and that of chi^2 cancel. */
    const double scale = chi2 > 0 ? 1 / sqrt(chi2) : 0;
    for (size_t e = 0; e < set->n_critics; e++) {
        const double z = scale * rng_normal(rng);
        for (size_t p = 0; p < set->n_policies; p++) {
            mean[p] += z * centre->deviation[e * set->n_policies + p];
        }
    }
}

/* mean(P) += what all fits may be wrong by: as much as of the behaviour at these starts. */
static void draw_shared(double *mean, const struct estimates_settings *set, struct rng *rng,
                        const uint32_t *starts)
{
    double error = 0;
    for (size_t i = 0; i < set->n_starts; i++) {
        error += set->error[starts[i]] / (double)set->n_starts;
    }
    for (size_t p = 0; p < set->n_policies; p++) {
        mean[p] += error * rng_normal(rng);
    }
}

/* means(resamples,P) <- the mean value of each policy in each resample. */
static void resample(double *means, const struct centre *centre,
                     const struct estimates_settings *set, uint32_t *starts)
{
    struct rng rng;
    rng_init(&rng, set->seed, "bootstrap", 0);
    for (size_t r = 0; r < set->resamples; r++) {
        double *mean = means + r * set->n_policies;
        draw_starts(mean, centre, set, &rng, starts);
        draw_fit(mean, centre, set, &rng);
        if (set->error != NULL) {
            draw_shared(mean, set, &rng, starts);
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
    struct centre centre = {0};
    double *means = mem_array(set->resamples * P, sizeof *means);
    double *column = mem_array(set->resamples, sizeof *column);
    uint32_t *starts = mem_array(set->n_starts, sizeof *starts);
    status s = STATUS_OK;
    if (made.values == NULL || made.differences == NULL || made.best == NULL || means == NULL ||
        column == NULL || starts == NULL || centre_init(&centre, values, set) != STATUS_OK) {
        s = err_set(err, STATUS_NO_MEMORY, "intervals of %zu policies", P);
        estimates_fini(&made);
    } else {
        for (size_t p = 0; p < P; p++) {
            for (size_t i = 0; i < set->n_starts; i++) {
                made.values[p].mean += centre.at_starts[p * set->n_starts + i];
            }
            made.values[p].mean /= (double)set->n_starts;
        }
        resample(means, &centre, set, starts);
        conclude(&made, means, column, set);
        *out = made;
    }
    centre_fini(&centre);
    mem_free(means);
    mem_free(column);
    mem_free(starts);
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
