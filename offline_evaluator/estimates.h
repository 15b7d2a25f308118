/* From values at start states to means with intervals. Pure.
 *
 * An interval covers what was chance. Which starts were seen: they are drawn again with replacement.
 * Which episodes the critics were fitted on: each critic has a resample of its own (resample.h), so
 * that what they differ by is the error of one fit (Hao et al., "Bootstrapping Fitted Q-Evaluation
 * for Off-Policy Inference", ICML 2021). They are few, so that error is drawn from Student's t (ours):
 * with two critics intervals are very wide, with one they have the starts alone. All policies see
 * the same draws.
 *
 * An error that all fits share shows in none of this. Where it is known for one policy, the behaviour
 * (`error`), the others are taken to be as wrong, in either direction and independently (ours): in each
 * resample every value moves by a standard normal times the mean error at the starts that are drawn. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_ESTIMATES_H
#define HINDCAST_OFFLINE_EVALUATOR_ESTIMATES_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

struct estimate {
    double mean, low, high;
};

struct estimates_settings {
    size_t n_critics, n_policies, n_starts;
    size_t resamples;
    double level;        /* of the intervals */
    const double *error; /* (starts) said of the behaviour less what it got; NULL: not known */
    uint64_t seed;
};

struct estimates {
    size_t n;
    struct estimate *values;      /* (n) */
    struct estimate *differences; /* (n,n): of row's value less column's */
    double *best; /* (n): in which share of the resamples it has the largest value */
};

/* From values(critics, policies, starts). NO_MEMORY. Free with estimates_fini. */
status estimates_make(struct estimates *estimates, const double *values,
                      const struct estimates_settings *settings, struct err *err) MUST_CHECK;
void estimates_fini(struct estimates *estimates);

/* The same for one quantity alone: x(n), resampled with replacement. */
status estimate_mean(struct estimate *estimate, const double *x, size_t n, size_t resamples,
                     double level, uint64_t seed, struct err *err) MUST_CHECK;

#endif
