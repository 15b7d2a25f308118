/* CRR's improvement (Wang et al. 2020): the policy is fitted to logged actions, weighted by their
 * advantage over the policy's own samples, by the online critic:
 *
 *     loss - f(A) log policy(a | s),   A = Q(s, a) - 1/M sum_j Q(s, clip(a_j)),   a_j ~ policy(s)
 *
 * f is the step function or the capped exponential. No gradient goes through A. */
#include "learner/step/actions.h"
#include "learner/step/critic_evaluation.h"
#include "learner/step/likelihood.h"
#include "learner/step/operators.h"

void improvement_crr(struct workspace *work, const struct states *states, struct value *value,
                     const struct gaussians *prior)
{
    (void)prior;
    const struct step *step = work->step;
    const struct network *critic = &step->critic.now;
    const size_t M = (size_t)step->settings->M;
    const size_t ld_in = (size_t)(step->I + step->settings->A);
    const int S = states->S;
    /* The policy, M samples of it at each state, and what the critic makes of these and of what was
     * logged. None of it needs the tape, which stays the policy's. */
    policy_regression_forward(work, states);
    actions_sample(value->samples, step, states, NOISE_IMPROVE, &work->policy, S);
    critic_evaluation_part(work, value->part, critic, states->x, S);
    critic_evaluation(work, value->q, critic, value->part, value->samples, S, step->settings->M);
    network_infer(work->q_logged, 1, critic, states->xa, ld_in, S, work->scratch);

    /* Each logged action against the mean over the samples. */
    for (size_t s = 0; s < (size_t)S; s++) {
        double sum = 0.0;
        for (size_t j = s * M; j < (s + 1) * M; j++) {
            sum += (double)value->q[j];
        }
        work->sums.q += sum / (double)M;
        work->advantage[s] = (double)work->q_logged[s] - sum / (double)M;
    }
    policy_regression_follow(work, states, likelihood_weight);
}
