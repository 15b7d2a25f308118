/* A policy that follows a critic's action gradients through its own samples, a_j = mean + std z_j:
 *
 *     loss - mean_s 1/n sum_j Q(s, clip(a_j))  +  the regularizer's
 *
 * so that d a / d mean = 1 and d a / d std = z. An algorithm that draws no noise here follows its
 * mean, z = 0, and its std has no gradient. */
#include <string.h>

#include "learner/step/actions.h"
#include "learner/step/operators.h"

void policy_gradient_sample(struct workspace *work, const struct states *states, float *samples)
{
    ASSERT(work->z != NULL);
    const struct step *step = work->step;
    const struct gaussians *policy = &work->policy;
    const int A = step->settings->A;
    const int n = actions_per_row(step, NOISE_IMPROVE);
    const size_t ld_raw = 2 * (size_t)A;
    const int S = states->S;
    /* The policy at the states, without a tape: the critic will need that first. */
    network_infer(work->raw, ld_raw, &step->policy.now, states->x, (size_t)step->I, S,
                  work->scratch);
    gaussian_forward(policy->mean, policy->std, &step->policy_head, work->raw, ld_raw, S);

    /* The noise is kept: it is the gradient by std. */
    if ((step->algorithm->draws >> NOISE_IMPROVE & 1u) != 0) {
        actions_noise(work->z, step, states, NOISE_IMPROVE, S);
    } else {
        memset(work->z, 0, (size_t)S * (size_t)n * (size_t)A * sizeof *work->z);
    }
    for (size_t s = 0; s < (size_t)S; s++) {
        const size_t at = s * (size_t)A;
        gaussian_sample(samples + at * (size_t)n, policy->mean + at, policy->std + at,
                        work->z + at * (size_t)n, n, A);
    }
}

/* The gradients by mean and std of state s, from those by its n samples. */
static void gather(struct workspace *work, size_t s, const float *action_gradients, size_t n)
{
    const size_t A = (size_t)work->step->settings->A;
    for (size_t i = 0; i < A; i++) {
        double by_mean = 0.0;
        double by_std = 0.0;
        /* Signs turn, because the critic's value is maximized and losses are minimized. */
        for (size_t j = s * n * A + i; j < (s + 1) * n * A; j += A) {
            by_mean += (double)action_gradients[j];
            by_std += (double)action_gradients[j] * (double)work->z[j];
        }
        work->gradient.mean[s * A + i] = (float)(-by_mean / (double)n);
        work->gradient.std[s * A + i] = (float)(-by_std / (double)n);
    }
}

void policy_gradient_follow(struct workspace *work, const struct states *states, const float *q,
                            const float *action_gradients, const struct gaussians *prior)
{
    ASSERT(work->step->algorithm->regularizer != NULL);
    const struct step *step = work->step;
    const struct network *net = &step->policy.now;
    const size_t n = (size_t)actions_per_row(step, NOISE_IMPROVE);
    const size_t ld_out = work->tape.ld_out;
    const int S = states->S;
    /* The loss and its gradients by mean and std, which the regularizer then adds to. */
    for (size_t s = 0; s < (size_t)S; s++) {
        double sum = 0.0;
        for (size_t j = s * n; j < (s + 1) * n; j++) {
            sum += (double)q[j];
        }
        work->sums.q += sum / (double)n;
        gather(work, s, action_gradients, n);
    }
    step->algorithm->regularizer(step, &work->sums, states, &work->policy, prior, &work->gradient);

    /* The critic's action gradients have overwritten the tape: the policy goes forward again. */
    network_forward(&work->tape, net, states->x, (size_t)step->I, S);
    gaussian_backward(work->dout, ld_out, &step->policy_head, work->gradient.mean,
                      work->gradient.std, work->policy.mean, work->tape.out, ld_out, S);
    network_backward(work->gradients + step->policy.at, NULL, 0, net, &work->tape, work->dout, S);
}
