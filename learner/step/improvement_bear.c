/* Policy improvement of BEAR, with the KL to the prior where Kumar et al. (2019) have MMD (the
 * paper's choice): maximises min(Q1, Q2)(s, clip(a)), of the online critics, over one
 * reparameterised sample a state.
 *
 * The lower of two critics is the more careful estimate where they disagree. Both need a full pass
 * through the tape, one after the other. */
#include <string.h>

#include "learner/step/critic_evaluation.h"
#include "learner/step/operators.h"

void improvement_bear(struct workspace *work, const struct states *states, struct value *value,
                      const struct gaussians *prior)
{
    const struct step *step = work->step;
    const size_t A = (size_t)step->settings->A;
    float *q = value->q;
    /* A sample of the policy at each state, and the action gradients of both critics there. */
    policy_gradient_sample(work, states, value->samples);
    critic_evaluation_gradients(work, q, work->action_gradients, &step->critic.now, states,
                                value->samples, 1);
    critic_evaluation_gradients(work, work->q2, work->action_gradients2, &step->critic2.now, states,
                                value->samples, 1);

    /* The lower critic's value, and its gradients. */
    for (size_t s = 0; s < (size_t)states->S; s++) {
        if (work->q2[s] < q[s]) {
            q[s] = work->q2[s];
            memcpy(work->action_gradients + s * A, work->action_gradients2 + s * A,
                   A * sizeof *work->action_gradients);
        }
    }
    policy_gradient_follow(work, states, q, work->action_gradients, prior);
}
