/* The behaviour prior, Eq. 3 and 4:
 *
 *     loss - f(A_t) log prior(a_t | s_t)
 *
 * BM: f = 1. ABM: f of the advantage A_t = R_t - V(s_t) of what was logged over the rest of its
 * snippet, with f(x) = 1 for x >= 0 else 0 ("step"), or min(exp(x / temperature), max_weight)
 * ("exp", ours).
 *
 * "censored" (ours): what was logged is clip(a), so that the likelihood of a dimension at an end,
 * |a| = 1, is the mass beyond it. */
#include <math.h>

#include "learner/step/operators.h"

void prior_advantages(double *advantage, const float *r, const float *d, const float *v,
                      double next_v, double gamma, int n)
{
    double ret = next_v; /* R_n */
    for (int t = n - 1; t >= 0; t--) {
        ret = (double)r[t] + gamma * (double)d[t] * ret;
        advantage[t] = ret - (double)v[t];
    }
}

/* f(advantage). A NaN is returned as it is: the step is then refused. */
static double weight_of(const struct settings *settings, double advantage)
{
    if (settings->prior_f == PRIOR_F_EXP) {
        const double weight = exp(advantage / settings->temperature);
        return weight > settings->max_weight ? settings->max_weight : weight;
    }
    return advantage >= 0.0 ? 1.0 : advantage < 0.0 ? 0.0 : advantage;
}

/* Returns the log likelihood of one logged dimension; *dmean, *dstd <- -f times its gradients. */
static double fit_dimension(float *dmean, float *dstd, double f, double a, double mean, double std,
                            bool censored)
{
    if (censored && fabs(a) >= 1.0) {
        /* log Phi((mean - 1) / std) at 1, log Phi((-1 - mean) / std) at -1. */
        double hazard;
        const double sign = a > 0.0 ? 1.0 : -1.0;
        const double u = (sign * mean - 1.0) / std;
        const double log_tail = gaussian_log_tail(u, &hazard);
        *dmean = (float)(-f * hazard * sign / std);
        *dstd = (float)(f * hazard * u / std);
        return log_tail;
    }
    const double u = (a - mean) / std;
    *dmean = (float)(-f * u / std);
    *dstd = (float)(-f * (u * u - 1.0) / std);
    return gaussian_log_density(a, mean, std);
}

/* Loss and gradients of state s with weight f. */
static void fit_state(struct workspace *work, const struct states *states,
                      const struct gaussians *prior, int s, double f)
{
    const struct settings *settings = work->step->settings;
    const bool censored = settings->prior_likelihood == LIKELIHOOD_CENSORED;
    const size_t A = (size_t)settings->A;
    /* The dimensions of a Gaussian that is diagonal: their log likelihoods add up. */
    double log_likelihood = 0.0;
    for (size_t i = (size_t)s * A; i < (size_t)(s + 1) * A; i++) {
        log_likelihood +=
            fit_dimension(&work->gradient.mean[i], &work->gradient.std[i], f, (double)states->a[i],
                          (double)prior->mean[i], (double)prior->std[i], censored);
    }
    work->sums.prior_loss -= f * log_likelihood;
    work->sums.accepted += f;
}

/* f(A_t) for the states of task snippet u, and their losses. */
static void fit_snippet(struct workspace *work, const struct states *states,
                        const struct value *value, const struct gaussians *prior, int u)
{
    const struct step *step = work->step;
    const struct settings *settings = step->settings;
    const struct task_snippet *snippet = &states->snippets[u];
    const bool advantage_weighted = step->algorithm->prior_kind == PRIOR_ABM;
    const int s0 = snippet->first;
    double *advantage = work->advantage;
    /* The snippet's returns are bootstrapped with V at the row after its last state. */
    if (advantage_weighted) {
        const double next_v = (double)value->v[states->S + u];
        prior_advantages(advantage, states->r + s0, states->d + s0, value->v + s0, next_v,
                         settings->gamma, snippet->n);
    }
    /* Each state with the weight of its own advantage; BM weighs all alike. */
    for (int t = 0; t < snippet->n; t++) {
        double f = 1.0;
        if (advantage_weighted) {
            f = weight_of(settings, advantage[t]);
            work->sums.advantage += advantage[t];
        }
        fit_state(work, states, prior, s0 + t, f);
    }
}

void prior_fit(struct workspace *work, const struct states *states, const struct value *value,
               struct gaussians *prior)
{
    ASSERT(work->step->prior.now.shape != NULL);
    const struct step *step = work->step;
    const struct network *net = &step->prior.now;
    const struct gaussian_head *head = &step->prior_head;
    const size_t ld_out = work->tape.ld_out;
    const int S = states->S;

    /* The prior at the states is kept: the improvement samples from it or stays near it. */
    network_forward(&work->tape, net, states->x, (size_t)step->I, S);
    gaussian_forward(prior->mean, prior->std, head, work->tape.out, ld_out, S);
    for (int u = 0; u < states->n; u++) {
        fit_snippet(work, states, value, prior, u);
    }
    /* Back through the head and the network, from the gradients by mean and std. */
    gaussian_backward(work->dout, ld_out, head, work->gradient.mean, work->gradient.std,
                      prior->mean, work->tape.out, ld_out, S);
    network_backward(work->gradients + step->prior.at, NULL, 0, net, &work->tape, work->dout, S);
}
