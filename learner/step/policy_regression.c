/* A policy that is fitted to logged actions, weighted by their advantage (advantage-weighted
 * regression):
 *
 *     loss - w f(A) log policy(a | s)
 *
 * Improvements differ in the advantage and in f; w is the importance weight of the state's
 * snippet. */
#include "learner/step/likelihood.h"
#include "learner/step/operators.h"

void policy_regression_forward(struct workspace *work, const struct states *states)
{
    const struct step *step = work->step;
    network_forward(&work->tape, &step->policy.now, states->x, (size_t)step->I, states->S);
    gaussian_forward(work->policy.mean, work->policy.std, &step->policy_head, work->tape.out,
                     work->tape.ld_out, states->S);
}

void policy_regression_follow(struct workspace *work, const struct states *states,
                              regression_weight *f)
{
    const struct step *step = work->step;
    const size_t ld_out = work->tape.ld_out;
    const int S = states->S;
    /* Losses and gradients of each state, by mean and std. */
    for (int s = 0; s < S; s++) {
        const double accepted = f(step->settings, work->advantage[s]);
        const double weight = states->weight[s] * accepted;
        work->sums.policy_loss -= weight * likelihood_fit(&work->gradient, step->settings, states,
                                                          &work->policy, s, weight);
        work->sums.accepted += accepted;
        work->sums.advantage += work->advantage[s];
    }
    /* Back through the head and the network. */
    gaussian_backward(work->dout, ld_out, &step->policy_head, work->gradient.mean,
                      work->gradient.std, work->policy.mean, work->tape.out, ld_out, S);
    network_backward(work->gradients + step->policy.at, NULL, 0, &step->policy.now, &work->tape,
                     work->dout, S);
}
