/* Environments whose physics can be made to go bad: "spoiled:NAME" is NAME, until a planned step at
 * which a number of the simulation's state is replaced. */
#ifndef HINDCAST_TESTS_LIB_SPOILED_ENVIRONMENT_H
#define HINDCAST_TESTS_LIB_SPOILED_ENVIRONMENT_H

#include "common/environments/environment.h"

/* Registers the family on the first call. Every call clears what was planned. */
void spoiled_environment_install(void);

/* From now on, before step number `step` (1, 2, ..) of an episode the last velocity of the simulation
 * becomes `value`, for the first `times` times that it is reached. */
void spoiled_environment_plan(uint32_t step, double value, uint32_t times);

#endif
