/* The value estimate, Eq. 1, at every row 0..n:
 *
 *     V(s) = 1/M sum_j Q'(s, clip(mean' + std' z_j))
 *
 * with mean', std' of policy' or, in the prior-only variants, of the prior. */
#include "learner/step/actions.h"
#include "learner/step/critic_evaluation.h"
#include "learner/step/operators.h"

void value_estimate(struct workspace *work, const struct states *states, struct value *value)
{
    ASSERT(states->S >= 1 && states->R <= work->R_max);
    const struct step *step = work->step;
    const bool from_prior = step->algorithm->value_from_prior;
    /* The target copy of the policy, or the prior, which has none. */
    const struct network *actor = from_prior ? &step->prior.now : &step->policy.target;
    const struct gaussian_head *head = from_prior ? &step->prior_head : &step->policy_head;
    const struct network *critic = &step->critic.target;
    const size_t I = (size_t)step->I;
    const size_t M = (size_t)step->settings->M;
    const size_t ld_raw = 2 * (size_t)step->settings->A;
    const int R = states->R;

    /* M actions at each row, and what critic' makes of them. */
    network_infer(work->raw, ld_raw, actor, states->x, I, R, work->scratch);
    gaussian_forward(value->actor.mean, value->actor.std, head, work->raw, ld_raw, R);
    critic_evaluation_part(work, value->part, critic, states->x, R);
    actions_sample(value->samples, step, states, NOISE_VALUE, &value->actor, R);
    critic_evaluation(work, value->q, critic, value->part, value->samples, R, step->settings->M);
    work->sums.values += R;

    /* V of a row is the mean over its samples. */
    for (int row = 0; row < R; row++) {
        double sum = 0.0;
        for (size_t j = 0; j < M; j++) {
            sum += (double)value->q[(size_t)row * M + j];
        }
        value->v[row] = (float)(sum / (double)M);
        work->sums.value += sum / (double)M;
    }
}
