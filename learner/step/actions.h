/* Sampled actions at the rows of a group, and the noise that they are made of. Private to
 * learner/step. */
#ifndef HINDCAST_LEARNER_STEP_ACTIONS_H
#define HINDCAST_LEARNER_STEP_ACTIONS_H

#include "learner/step/operators.h"

/* Actions per row under this kind of noise: M, C, or 1. */
int actions_per_row(const struct step *step, enum noise_kind kind);

/* z(rows,n,A) <- the noise of this kind for the group's first `rows` rows. */
void actions_noise(float *z, const struct step *step, const struct states *states,
                   enum noise_kind kind, int rows);

/* samples(rows,n,A) <- mean + std z, with z of this kind, for the group's first `rows` rows. */
void actions_sample(float *samples, const struct step *step, const struct states *states,
                    enum noise_kind kind, const struct gaussians *at, int rows);

/* xa(rows,I+A) <- [x | clip(action)] for actions first .. first + rows - 1 of actions(S,n,A). */
void actions_join(float *xa, const struct step *step, const struct states *states,
                  const float *actions, size_t first, int rows, int n);

#endif
