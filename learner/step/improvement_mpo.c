/* Policy improvement by MPO, Eq. 2 and 5.
 *
 * E-step, over M samples a_j of the prior or, without one, of policy'. Weights and dual loss, with
 * eta that of the state's task (ours):
 *
 *     w_j = softmax_j(Q'(s, a_j) / eta)
 *     eta eps + eta mean_s( logsumexp_j(Q' / eta) - log M )
 *
 * M-step: weighted likelihood, decoupled into mean and std, and a trust region per dimension i:
 *
 *     - mean_s sum_j w_j [ log N(a_j; mean, std') + log N(a_j; mean', std) ]
 *     + sum_i ( alpha_m,i KLm_i + alpha_s,i KLs_i )
 *
 *     KLm_i = mean_s (mean_i - mean'_i)^2 / (2 std'_i^2)
 *     KLs_i = mean_s KL( N(mean'_i, std'_i) || N(mean'_i, std_i) )
 *
 * The weights are held fixed in the M-step, so their first two moments about the samples' mean are
 * all it needs. */
#include <math.h>

#include "common/networks/kernels.h"
#include "learner/step/actions.h"
#include "learner/step/critic_evaluation.h"
#include "learner/step/operators.h"

/* weights(M) of state s of task `task`, from q(M); its share of the dual loss. */
static void e_step(const struct step *step, struct sums *sums, float *weights, const float *q,
                   int task)
{
    ASSERT(task >= 0 && task < step->settings->K);
    const int M = step->settings->M;
    const double eta = step->eta[task];

    /* Unnormalised, relative to the largest, so that nothing overflows. */
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
    /* Their sum, in double, by which they are normalized. */
    double sum = 0.0;
    for (int j = 0; j < M; j++) {
        sum += (double)weights[j];
    }

    /* log 1/M sum_j exp((q_j - max) / eta), and the KL of the weights to uniform ones, which is
     * sum_j w_j log(M w_j). */
    const double log_mean_above = log(sum / M);
    double kl = 0.0;
    for (int j = 0; j < M; j++) {
        weights[j] = (float)((double)weights[j] / sum);
        kl += (double)weights[j] * (((double)q[j] - (double)max) / eta - log_mean_above);
    }
    sums->q += sum_q / M;
    sums->kl_improved += kl;
    sums->dual_loss += eta * (step->settings->eps + log_mean_above) + (double)max;
    /* d/d eta of eta (eps + log mean) is eps + log mean - sum_j w_j q_j / eta = eps - KL. */
    sums->eta_gradient[task] += step->settings->eps - kl;
}

/* The weighted mean of one dimension of the samples, and their weighted variance about it. `a`
 * points to the dimension of the first of M samples, A floats apart. */
static void moments(double *mean, double *variance, const float *weights, const float *a, int M,
                    int A)
{
    double sum = 0.0;
    double sum_weights = 0.0;
    for (int j = 0; j < M; j++) {
        sum += (double)weights[j] * (double)a[j * A];
        sum_weights += (double)weights[j];
    }
    *mean = sum / sum_weights;
    double squares = 0.0;
    for (int j = 0; j < M; j++) {
        const double c = (double)a[j * A] - *mean;
        squares += (double)weights[j] * c * c;
    }
    *variance = squares / sum_weights;
}

/* Loss, penalties and gradients of dimension i of state s. */
static void m_step(struct workspace *work, const struct value *value, int s, int i)
{
    const struct step *step = work->step;
    const int M = step->settings->M;
    const int A = step->settings->A;
    /* The policy that is improved, its target copy (_t), and the moments of the samples. */
    const size_t at = (size_t)s * (size_t)A + (size_t)i;
    const double mean = (double)work->policy.mean[at];
    const double std = (double)work->policy.std[at];
    const double mean_t = (double)value->actor.mean[at];
    const double std_t = (double)value->actor.std[at];
    double centre;
    double variance;
    moments(&centre, &variance, work->weights,
            value->samples + (size_t)s * (size_t)M * (size_t)A + i, M, A);

    /* sum_j w_j log N(a_j; m, s) = log N(centre; m, s) - variance / (2 s^2). */
    const double var = std * std;
    const double var_t = std_t * std_t;
    const double spread = variance + (centre - mean_t) * (centre - mean_t);
    work->sums.policy_loss -= gaussian_log_density(centre, mean, std_t) - 0.5 * variance / var_t +
                              gaussian_log_density(centre, mean_t, std) - 0.5 * variance / var;

    work->sums.kl_mean[i] += 0.5 * (mean - mean_t) * (mean - mean_t) / var_t;
    work->sums.kl_std[i] += gaussian_kl_std(std_t, std);

    /* Both gradients, the likelihood's and the trust region's, in one fraction. */
    work->gradient.mean[at] =
        (float)((mean - centre + step->alpha_mean[i] * (mean - mean_t)) / var_t);
    /* d KLs / d std = (std - std') (std + std') / std^3. */
    work->gradient.std[at] =
        (float)((var - spread + step->alpha_std[i] * (std - std_t) * (std + std_t)) / (var * std));
}

void improvement_mpo(struct workspace *work, const struct states *states, struct value *value,
                     const struct gaussians *prior)
{
    ASSERT(work->step->policy.now.shape != NULL);
    const struct step *step = work->step;
    const struct network *net = &step->policy.now;
    const struct gaussian_head *head = &step->policy_head;
    const size_t ld_out = work->tape.ld_out;
    const size_t M = (size_t)step->settings->M;
    const int A = step->settings->A;
    const int S = states->S;

    /* Without a prior the samples and Q' of the value estimate are used again. */
    if (step->algorithm->prior_fit != NULL) {
        actions_sample(value->samples, step, states, NOISE_IMPROVE, prior, S);
        critic_evaluation(work, value->q, &step->critic.target, value->part, value->samples, S,
                          step->settings->M);
    }

    network_forward(&work->tape, net, states->x, (size_t)step->I, S);
    gaussian_forward(work->policy.mean, work->policy.std, head, work->tape.out, ld_out, S);
    /* The weights of a state are used at once, for all of its dimensions. */
    for (int s = 0; s < S; s++) {
        e_step(step, &work->sums, work->weights, value->q + (size_t)s * M, states->task[s]);
        for (int i = 0; i < A; i++) {
            m_step(work, value, s, i);
        }
    }
    /* Back through the head and the network. */
    gaussian_backward(work->dout, ld_out, head, work->gradient.mean, work->gradient.std,
                      work->policy.mean, work->tape.out, ld_out, S);
    network_backward(work->gradients + step->policy.at, NULL, 0, net, &work->tape, work->dout, S);
}
