/* A policy at many states at once: what one thread needs for it. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_ACTING_H
#define HINDCAST_OFFLINE_EVALUATOR_ACTING_H

#include <stdbool.h>

#include "common/networks/policy.h"

struct acting {
    const struct policy *policy;
    size_t rows; /* at most so many states at once */
    float *inputs, *z, *scratch;
};

/* Where the states are, and what the noise of their actions is a function of. */
struct acting_states {
    const float *observations; /* physical; one state every `stride` floats */
    size_t stride, n;
    size_t task;
    uint64_t seed, step, element; /* `element`: of the first state's noise */
};

/* `policy` is borrowed. NO_MEMORY. */
status acting_init(struct acting *acting, const struct policy *policy, size_t rows) MUST_CHECK;
void acting_fini(struct acting *acting);

/* actions(n,A) <- canonical and clipped; or, `by_samples`, the means of the distribution, with
 * std(n,A). A policy that acts by the best of some candidates has a std of 0. One thread, between
 * kernels_thread_begin and .._end. */
void acting_take(struct acting *acting, float *actions, float *std, bool by_samples,
                 const struct acting_states *states);

#endif
