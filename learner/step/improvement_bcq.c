/* BCQ's improvement (after Fujimoto et al. 2019): the perturbation network xi moves a clipped
 * sample of the prior uphill:
 *
 *     loss - mean_s Q1(s, clip(a + xi(s, a))),   xi = scale tanh(net(s, a)) */
#include "common/networks/kernels.h"
#include "learner/step/actions.h"
#include "learner/step/critic_evaluation.h"
#include "learner/step/operators.h"

void improvement_bcq(struct workspace *work, const struct states *states, struct value *value,
                     const struct gaussians *prior)
{
    ASSERT(work->step->perturb.now.shape != NULL);
    const struct step *step = work->step;
    const struct network *net = &step->perturb.now;
    const size_t A = (size_t)step->settings->A;
    const size_t n = (size_t)states->S * A;
    const size_t ld_in = (size_t)step->I + A;
    const size_t ld_out = work->tape.ld_out;
    const float scale = (float)step->settings->perturb_scale;
    float *samples = value->samples;

    /* One sample a state, and where xi moves it. */
    actions_sample(samples, step, states, NOISE_IMPROVE, prior, states->S);
    gaussian_clip(samples, samples, n);
    actions_join(work->xp, step, states, samples, 0, states->S, 1);
    network_infer(work->moves, A, net, work->xp, ld_in, states->S, work->scratch);
    kernels_tanh(work->moves, work->moves, n);
    for (size_t i = 0; i < n; i++) {
        samples[i] += scale * work->moves[i];
    }
    /* d Q1 / d a at the moved action: what the perturbation network follows. */
    critic_evaluation_gradients(work, value->q, work->action_gradients, &step->critic.now, states,
                                samples, 1);

    /* The critic's action gradients have overwritten the tape: forward again, then back through
     * tanh. */
    network_forward(&work->tape, net, work->xp, ld_in, states->S);
    for (size_t s = 0; s < (size_t)states->S; s++) {
        work->sums.q += (double)value->q[s];
        for (size_t i = 0; i < A; i++) {
            const float move = work->moves[s * A + i];
            work->dout[s * ld_out + i] =
                -work->action_gradients[s * A + i] * scale * (1.0f - move) * (1.0f + move);
        }
    }
    network_backward(work->gradients + step->perturb.at, NULL, 0, net, &work->tape, work->dout,
                     states->S);
}
