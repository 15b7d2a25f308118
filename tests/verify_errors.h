/* Errors of recordings: |ours - recorded| / max(1, |recorded|), the worst of each quantity. */
#ifndef HINDCAST_TESTS_VERIFY_ERRORS_H
#define HINDCAST_TESTS_VERIFY_ERRORS_H

#include <math.h>

/* The worst error of one quantity, and where. */
struct worst {
    double error;
    int step;
};

/* Takes n values into account; NaN counts as an infinite error. */
static inline void compare(struct worst *worst, const double *ours, const double *theirs, int n,
                           int step)
{
    for (int i = 0; i < n; i++) {
        double error = fabs(ours[i] - theirs[i]) / fmax(1.0, fabs(theirs[i]));
        error = isnan(error) ? (double)INFINITY : error;
        if (error > worst->error) {
            worst->error = error;
            worst->step = step;
        }
    }
}

#endif
