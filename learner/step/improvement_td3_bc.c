/* TD3+BC's improvement (Fujimoto & Gu 2021): the policy's mean follows the first critic, and the
 * regularizer keeps it near what was logged:
 *
 *     loss w (- lambda Q1(s, mean) + 1/A |mean - a|^2),   lambda = alpha / mean_s |Q1(s, mean)|
 *
 * w is the importance weight of the state's snippet, since the second term is fitted to logged
 * actions and lambda is what it weighs against the first.
 * The mean size of Q is that of the step before (q_scale.c). The policy's std is not learned. */
#include <math.h>

#include "learner/step/critic_evaluation.h"
#include "learner/step/operators.h"

void improvement_td3_bc(struct workspace *work, const struct states *states, struct value *value,
                        const struct gaussians *prior)
{
    const struct step *step = work->step;
    const size_t A = (size_t)step->settings->A;
    /* The means, which take the place of samples, and the action gradients of Q1 there. */
    policy_gradient_sample(work, states, value->samples);
    critic_evaluation_gradients(work, value->q, work->action_gradients, &step->critic.now, states,
                                value->samples, 1);
    for (int s = 0; s < states->S; s++) {
        const float weight = (float)(step->q_weight * states->weight[s]);
        work->sums.q_size += fabs((double)value->q[s]);
        work->sums.policy_loss -= states->weight[s] * (double)value->q[s];
        for (size_t i = (size_t)s * A; i < (size_t)(s + 1) * A; i++) {
            work->action_gradients[i] *= weight;
        }
    }
    policy_gradient_follow(work, states, value->q, work->action_gradients, prior);
}
