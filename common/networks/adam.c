/* Adam: this file computes a step's constants, the loop over elements is in the kernels.
 *
 * Corrections and complements are computed in double and rounded once: 1 - 0.999f would be off by
 * 5e-5 of itself. */
#include "common/networks/adam.h"

#include <math.h>

#include "common/networks/kernels.h"

void adam_step(float *p, float *m, float *v, const float *g, size_t n, const struct adam *adam,
               uint64_t step, float scale)
{
    /* At step 0 both corrections would divide by zero. */
    ASSERT(step >= 1);
    const double t = (double)step;
    /* Everything that the elements share, computed once for all of them. */
    const struct kernels_adam with = {
        .scale = scale,
        .beta1 = (float)adam->beta1,
        .rest1 = (float)(1.0 - adam->beta1),
        .beta2 = (float)adam->beta2,
        .rest2 = (float)(1.0 - adam->beta2),
        .rate = (float)adam->rate,
        .correct1 = (float)(1.0 / (1.0 - pow(adam->beta1, t))),
        .correct2 = (float)(1.0 / (1.0 - pow(adam->beta2, t))),
        .eps = (float)adam->eps,
    };
    kernels_adam_step(p, m, v, g, n, &with);
}
