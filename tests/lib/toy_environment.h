/* A family of environments for tests: cheap, with two rewards a step, a termination, a limit on how
 * many may be open, a start flag, and failures on demand. The control suite has none of these.
 *
 *     toy:walk          20 steps, two tasks, one action; an action above 0.9 terminates
 *     toy:single        the same; only one may be open at a time: a second open fails with LIMIT
 *
 * Observation (3): a number drawn from the start, the step, the sum of the actions. */
#ifndef HINDCAST_TESTS_LIB_TOY_ENVIRONMENT_H
#define HINDCAST_TESTS_LIB_TOY_ENVIRONMENT_H

#include "common/environments/environment.h"

#define TOY_STEPS 20u

/* Adds the family, and forgets counts and failures. May be called again. */
void toy_environment_install(void);

/* Environments opened since then; open now; resets; the most open at once. */
struct toy_counts {
    uint32_t opened, open, most_open, resets;
};
struct toy_counts toy_environment_counts(void);

/* From now on each episode fails at this step (1, 2, ..) with `failure`, until it has failed `times`
 * times. */
void toy_environment_fail(uint32_t step, status failure, uint32_t times);

#endif
