/* A policy that follows a critic's slopes through its own samples, a_j = mean + std z_j:
 *
 *     loss  - mean_s 1/n sum_j Q(s, clip(a_j))  +  what restrains it
 *
 * so that d a / d mean = 1 and d a / d std = z. */
#include "learner/step/operators.h"

void policy_draw(struct worker *w)
{
    const struct step *step = w->step;
    const int A = step->settings->A;
    const int n = step_samples(step, NOISE_IMPROVE);
    const size_t ld_raw = 2 * (size_t)A;
    network_infer(w->raw, ld_raw, &step->policy.now, w->x, (size_t)step->I, w->S, w->scratch);
    gaussian_forward(w->own_mean, w->own_std, &step->policy_head, w->raw, ld_raw, w->S);
    worker_noise(w, w->z, NOISE_IMPROVE, w->S);
    for (size_t s = 0; s < (size_t)w->S; s++) {
        const size_t at = s * (size_t)A;
        gaussian_sample(w->samples + at * (size_t)n, w->own_mean + at, w->own_std + at,
                        w->z + at * (size_t)n, n, A);
    }
}

/* dmean, dstd of state s. */
static void gather(struct worker *w, size_t s, const float *slopes, size_t n)
{
    const size_t A = (size_t)w->step->settings->A;
    for (size_t i = 0; i < A; i++) {
        double by_mean = 0.0;
        double by_std = 0.0;
        for (size_t j = s * n * A + i; j < (s + 1) * n * A; j += A) {
            by_mean += (double)slopes[j];
            by_std += (double)slopes[j] * (double)w->z[j];
        }
        w->dmean[s * A + i] = (float)(-by_mean / (double)n);
        w->dstd[s * A + i] = (float)(-by_std / (double)n);
    }
}

void policy_follow(struct worker *w, const float *q, const float *slopes)
{
    const struct step *step = w->step;
    const struct network *net = &step->policy.now;
    const size_t n = (size_t)step_samples(step, NOISE_IMPROVE);
    const size_t ld_out = w->tape.ld_out;
    for (size_t s = 0; s < (size_t)w->S; s++) {
        double sum = 0.0;
        for (size_t j = s * n; j < (s + 1) * n; j++) {
            sum += (double)q[j];
        }
        w->sums.q += sum / (double)n;
        gather(w, s, slopes, n);
    }
    step->algorithm->restraint(w);

    /* The slopes took the tape: forward again. */
    network_forward(&w->tape, net, w->x, (size_t)step->I, w->S);
    gaussian_backward(w->dout, ld_out, &step->policy_head, w->dmean, w->dstd, w->own_mean,
                      w->tape.out, ld_out, w->S);
    network_backward(w->gradients + step->policy.at, NULL, 0, net, &w->tape, w->dout, w->S);
}
