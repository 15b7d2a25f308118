/* A cheap family of environments for tests. It has two rewards, a termination, a limit on how many
 * may be open, a start flag and failures on demand; the control suite has none of these.
 *
 *     toy:walk      20 steps, two tasks, one action; an action above 0.9 terminates the episode
 *     toy:single    the same, but only one may be open at a time: a second open fails with LIMIT
 *     toy:unrewarded  the same without rewards
 *
 * The observation has 3 values: a number drawn at the start, the step, the sum of the actions. */
#ifndef HINDCAST_TESTS_LIB_TOY_ENVIRONMENT_H
#define HINDCAST_TESTS_LIB_TOY_ENVIRONMENT_H

#include "common/environments/environment.h"

#define TOY_STEPS 20u

/* Registers the family on the first call. Every call clears the counters and planned failures. */
void toy_environment_install(void);

/* Since toy_environment_install: environments opened, open now, the most open at once, resets. */
struct toy_counts {
    uint32_t opened, open, most_open, resets;
};
struct toy_counts toy_environment_counts(void);

/* From now on, step number `step` (1, 2, ..) of an episode fails with `failure`, for the first
 * `times` times that it is reached. */
void toy_environment_fail(uint32_t step, status failure, uint32_t times);

#endif
