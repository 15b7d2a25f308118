/* Normalization of observations: each dimension to mean 0 and standard deviation 1, within +-10.
 *
 *     y_i = clip((x_i - mean_i) scale_i, -10, 10)        scale_i = 1 / std_i, or 0
 *
 * A dimension whose std is not above 1e-6 of its size (|mean| + std) is constant as far as floats
 * can tell: its scale is 0, and so is y. Ours; docs/maths.md, "Normalization".
 *
 * Mean and scale are floats, and the same two numbers are used by the learner, by whoever acts with
 * the policy, and in exported models. So all of them compute the same y. */
#ifndef HINDCAST_NETWORKS_NORMALIZER_H
#define HINDCAST_NETWORKS_NORMALIZER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define NORMALIZER_LIMIT 10.0f

/* Arrays are borrowed. */
struct normalizer {
    const float *mean, *scale; /* (O) */
    size_t O;
};

/* y(O) <- x(O). They may be the same array. */
void normalizer_apply(const struct normalizer *normalizer, float *y, const float *x);

/* ---- Measuring ---- */

/* Sums over rows in double, by Welford's update: no cancellation where the mean is large. */
struct normalizer_sums {
    size_t O;
    uint64_t n;        /* rows so far */
    double *mean, *m2; /* (O): mean, and sum of squared differences from it */
};

status normalizer_sums_init(struct normalizer_sums *sums, size_t O) MUST_CHECK;
void normalizer_sums_fini(struct normalizer_sums *sums);
void normalizer_sums_add(struct normalizer_sums *sums, const float *x);
/* mean(O), scale(O) of the rows so far; with no rows 0 and 1. */
void normalizer_sums_finish(const struct normalizer_sums *sums, float *mean, float *scale);

#endif
