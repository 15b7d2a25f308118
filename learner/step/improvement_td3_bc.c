/* TD3+BC's improvement (Fujimoto & Gu 2021): the policy's mean follows the first critic, and the
 * regularizer keeps it near what was logged:
 *
 *     loss - lambda Q1(s, mean) + 1/A |mean - a|^2,   lambda = alpha / mean_s |Q1(s, mean)|
 *
 * The mean size of Q is that of the step before (q_scale.c). The policy's std is not learned. */
#include <math.h>

#include "learner/step/critic_evaluation.h"
#include "learner/step/operators.h"

void improvement_td3_bc(struct workspace *work, const struct states *states, struct value *value,
                        const struct gaussians *prior)
{
    const struct step *step = work->step;
    const float weight = (float)step->q_weight;
    const size_t n = (size_t)states->S * (size_t)step->settings->A;
    /* The means, which take the place of samples, and the action gradients of Q1 there. */
    policy_gradient_sample(work, states, value->samples);
    critic_evaluation_gradients(work, value->q, work->action_gradients, &step->critic.now, states,
                                value->samples, 1);
    for (int s = 0; s < states->S; s++) {
        work->sums.q_size += fabs((double)value->q[s]);
    }
    for (size_t i = 0; i < n; i++) {
        work->action_gradients[i] *= weight;
    }
    policy_gradient_follow(work, states, value->q, work->action_gradients, prior);
}
