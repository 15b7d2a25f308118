/* The mean size of Q, by which td3+bc divides it.
 *
 * Every group of states must see the same number, and only the end of a step knows the mean over
 * the whole batch. A step therefore uses that of the step before, which is part of the state: it is
 * in checkpoints, and ranks share it. Before the first step it is 0, and that step clones what was
 * logged. Private to learner/step. */
#ifndef HINDCAST_LEARNER_STEP_Q_SCALE_H
#define HINDCAST_LEARNER_STEP_Q_SCALE_H

#include "common/networks/parameters.h"
#include "learner/step/operators.h"

/* The weight of Q in a step: bc_alpha / mean size, or 0 while that is 0. Also 0 where the layout
 * does not have it. */
double q_scale_weight(const struct settings *settings, const struct parameters_layout *layout,
                      const float *params);
/* After a step: the mean size over all its states. Nothing where the layout does not have it. */
void q_scale_note(float *params, const struct parameters_layout *layout, const struct sums *sums);

#endif
