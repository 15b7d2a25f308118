/* What networks over [state | action] make of sampled actions: their outputs, and a critic's
 * gradients by the action. Private to learner/step. */
#ifndef HINDCAST_LEARNER_STEP_CRITIC_EVALUATION_H
#define HINDCAST_LEARNER_STEP_CRITIC_EVALUATION_H

#include "learner/step/operators.h"

/* Sample rows whose clipped actions are ready at a time; a whole number of the kernels' blocks. */
int critic_evaluation_rows(void);

/* part(rows,ld_part) <- the state's share of the network's first layer, for inputs x(rows,I). */
void critic_evaluation_part(struct workspace *work, float *part, const struct network *net,
                            const float *x, int rows);
/* out(rows,n,Q) <- net(s, clip(samples)), for samples(rows,n,A) and the states' `part`. */
void critic_evaluation(struct workspace *work, float *out, const struct network *net,
                       const float *part, const float *samples, int rows, int n);

/* q(S,n) <- net(s, clip(a)) and action_gradients(S,n,A) <- its gradient by a, for a =
 * samples(S,n,A). clip passes the gradient on [-1, 1], ends included, and 0 outside. Uses the
 * workspace's tape. */
void critic_evaluation_gradients(struct workspace *work, float *q, float *action_gradients,
                                 const struct network *net, const struct states *states,
                                 const float *samples, int n);

#endif
