/* Policy improvement by SVG, Eq. 6: maximises Q'(s, clip(a)) over M reparameterised samples of the
 * policy. */
#include "learner/step/critic_evaluation.h"
#include "learner/step/operators.h"

void improvement_svg(struct workspace *work, const struct states *states, struct value *value,
                     const struct gaussians *prior)
{
    const struct step *step = work->step;
    /* Samples of the policy, Q' and its gradients at them, and the policy's gradients along these.
     * Q' is the target copy of the critic. */
    policy_gradient_sample(work, states, value->samples);
    critic_evaluation_gradients(work, value->q, work->action_gradients, &step->critic.target,
                                states, value->samples, step->settings->M);
    policy_gradient_follow(work, states, value->q, work->action_gradients, prior);
}
