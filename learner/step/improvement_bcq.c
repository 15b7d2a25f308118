/* BCQ's improvement (after Fujimoto et al. 2019): the perturbation network xi moves a clipped
 * sample of the prior uphill:
 *
 *     loss  - mean_s Q1(s, clip(a + xi(s, a))),   xi = scale tanh(net(s, a)) */
#include "common/networks/kernels.h"
#include "learner/step/operators.h"

void improvement_bcq(struct worker *w)
{
    const struct step *step = w->step;
    const struct network *net = &step->perturb.now;
    const size_t A = (size_t)step->settings->A;
    const size_t n = (size_t)w->S * A;
    const size_t ld_in = (size_t)step->I + A;
    const size_t ld_out = w->tape.ld_out;
    const float scale = (float)step->settings->perturb_scale;

    /* One sample a state, and where xi moves it. */
    worker_sample(w, NOISE_IMPROVE, w->prior_mean, w->prior_std, w->S);
    gaussian_clip(w->samples, w->samples, n);
    worker_join(w, w->xp, w->samples, 0, w->S, 1);
    network_infer(w->moves, A, net, w->xp, ld_in, w->S, w->scratch);
    kernels_tanh(w->moves, w->moves, n);
    for (size_t i = 0; i < n; i++) {
        w->samples[i] += scale * w->moves[i];
    }
    worker_slopes(w, w->q, w->slopes, &step->critic.now, 1);

    /* The slopes took the tape: forward again. */
    network_forward(&w->tape, net, w->xp, ld_in, w->S);
    for (size_t s = 0; s < (size_t)w->S; s++) {
        w->sums.q += (double)w->q[s];
        for (size_t i = 0; i < A; i++) {
            const float move = w->moves[s * A + i];
            w->dout[s * ld_out + i] = -w->slopes[s * A + i] * scale * (1.0f - move) * (1.0f + move);
        }
    }
    network_backward(w->gradients + step->perturb.at, NULL, 0, net, &w->tape, w->dout, w->S);
}
