/* Policy improvement by MPO, Eq. 2 and 5.
 *
 * E-step:  w_j = softmax_j(Q'(s, a_j) / eta) over M samples of the prior (without one: of policy');
 *          dual loss  eta eps + eta mean_s( logsumexp_j(Q' / eta) - log M ), eta that of the
 * state's task (ours). M-step:  - mean_s sum_j w_j [ log N(a_j; mean, std') + log N(a_j; mean',
 * std) ]  +  sum_i alpha_m,i KLm_i + alpha_s,i KLs_i, the decoupled, per-dimension trust region:
 *          KLm_i = mean_s (mean_i - mean'_i)^2 / (2 std'_i^2),  KLs_i = mean_s KL( N(mean'_i,
 * std'_i) || N(mean'_i, std_i) ).
 *
 * The weights are held fixed in the M-step, so their first two moments about the samples' mean are
 * all it needs. */
#include <math.h>
#include <string.h>

#include "common/networks/kernels.h"
#include "learner/step/operators.h"

/* weights(M) of state s; its share of the dual loss. */
static void e_step(struct worker *w, int s)
{
    const struct step *step = w->step;
    const int M = step->settings->M;
    const double eta = step->eta[w->task[s]];
    const float *q = w->q + (size_t)s * (size_t)M;
    float *weights = w->weights;

    float max = q[0];
    double sum_q = 0.0;
    for (int j = 0; j < M; j++) {
        max = q[j] > max ? q[j] : max;
        sum_q += (double)q[j];
    }
    const float inverse_eta = (float)(1.0 / eta);
    for (int j = 0; j < M; j++) {
        weights[j] = (q[j] - max) * inverse_eta;
    }
    kernels_exp(weights, weights, (size_t)M);
    double sum = 0.0;
    for (int j = 0; j < M; j++) {
        sum += (double)weights[j];
    }

    /* log 1/M sum_j exp(q_j / eta), and the KL of the weights to the samples' own: sum_j w_j log(M
     * w_j). */
    const double log_mean_above = log(sum / M);
    double kl = 0.0;
    for (int j = 0; j < M; j++) {
        weights[j] = (float)((double)weights[j] / sum);
        kl += (double)weights[j] * (((double)q[j] - (double)max) / eta - log_mean_above);
    }
    w->sums.q += sum_q / M;
    w->sums.kl_improved += kl;
    w->sums.dual_loss += eta * (step->settings->eps + log_mean_above) + (double)max;
    /* d/d eta of eta (eps + logmean) is eps + logmean - sum_j w_j q_j / eta = eps - KL. */
    w->sums.eta_gradient[w->task[s]] += step->settings->eps - kl;
}

/* Weighted mean of the samples' dimension i, and their weighted variance about it. */
static void moments(const struct worker *w, int s, int i, double *mean, double *variance)
{
    const int M = w->step->settings->M;
    const int A = w->step->settings->A;
    const float *a = w->samples + (size_t)s * (size_t)M * (size_t)A + i;
    double sum = 0.0;
    double sum_weights = 0.0;
    for (int j = 0; j < M; j++) {
        sum += (double)w->weights[j] * (double)a[j * A];
        sum_weights += (double)w->weights[j];
    }
    *mean = sum / sum_weights;
    double squares = 0.0;
    for (int j = 0; j < M; j++) {
        const double c = (double)a[j * A] - *mean;
        squares += (double)w->weights[j] * c * c;
    }
    *variance = squares / sum_weights;
}

/* Loss, penalties and gradients of one state's dimension i. */
static void m_step(struct worker *w, int s, int i)
{
    const struct step *step = w->step;
    const size_t at = (size_t)s * (size_t)step->settings->A + (size_t)i;
    const double mean = (double)w->own_mean[at];
    const double std = (double)w->own_std[at];
    const double mean_t = (double)w->mean[at];
    const double std_t = (double)w->std[at];
    double centre;
    double variance;
    moments(w, s, i, &centre, &variance);

    /* sum_j w_j log N(a_j; m, s) = log N(centre; m, s) - variance / (2 s^2). */
    const double var = std * std;
    const double var_t = std_t * std_t;
    const double spread = variance + (centre - mean_t) * (centre - mean_t);
    w->sums.policy_loss -= gaussian_log_density(centre, mean, std_t) - 0.5 * variance / var_t +
                           gaussian_log_density(centre, mean_t, std) - 0.5 * variance / var;

    w->sums.kl_mean[i] += 0.5 * (mean - mean_t) * (mean - mean_t) / var_t;
    w->sums.kl_std[i] += gaussian_kl_std(std_t, std);

    w->dmean[at] = (float)((mean - centre + step->alpha_mean[i] * (mean - mean_t)) / var_t);
    /* d KLs / d std = (std - std') (std + std') / std^3. */
    w->dstd[at] =
        (float)((var - spread + step->alpha_std[i] * (std - std_t) * (std + std_t)) / (var * std));
}

void improvement_mpo(struct worker *w)
{
    const struct step *step = w->step;
    const struct network *net = &step->policy.now;
    const size_t ld_out = w->tape.ld_out;
    const int A = step->settings->A;

    /* Without a prior the samples and Q' of the value estimate serve again. */
    if (step->algorithm->prior != NULL) {
        worker_sample(w, NOISE_IMPROVE, w->prior_mean, w->prior_std, w->S);
        worker_judge(w, w->q, &step->critic.target, w->S, step->settings->M);
    }
    network_forward(&w->tape, net, w->x, (size_t)step->I, w->S);
    gaussian_forward(w->own_mean, w->own_std, &step->policy_head, w->tape.out, ld_out, w->S);
    for (int s = 0; s < w->S; s++) {
        e_step(w, s);
        for (int i = 0; i < A; i++) {
            m_step(w, s, i);
        }
    }
    gaussian_backward(w->dout, ld_out, &step->policy_head, w->dmean, w->dstd, w->own_mean,
                      w->tape.out, ld_out, w->S);
    network_backward(w->gradients + step->policy.at, NULL, 0, net, &w->tape, w->dout, w->S);
}
