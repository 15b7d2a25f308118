/* The behaviour prior, Eq. 3 and 4:  loss - f(A_t) log prior(a_t | s_t).
 *
 * BM: f = 1. ABM: f(x) = 1 for x >= 0 else 0 ("step"), or min(exp(x / temperature), max_weight)
 * ("exp", ours), of the advantage A_t = R_t - V(s_t) of what was logged over the rest of its
 * snippet. "censored" (ours): what was logged is clip(a), so a dimension at an end, |a| = 1, has
 * the mass beyond it for a likelihood. */
#include <math.h>
#include <string.h>

#include "learner/step/operators.h"

void advantages(double *advantage, const float *r, const float *d, const float *v, double next_v,
                double gamma, int n)
{
    double ret = next_v; /* R_n */
    for (int t = n - 1; t >= 0; t--) {
        ret = (double)r[t] + gamma * (double)d[t] * ret;
        advantage[t] = ret - (double)v[t];
    }
}

static double weight_of(const struct settings *settings, double advantage)
{
    if (settings->prior_f == PRIOR_F_EXP) {
        const double weight = exp(advantage / settings->temperature);
        /* NaN is not larger: it goes through, and the step is refused. */
        return weight > settings->max_weight ? settings->max_weight : weight;
    }
    return advantage >= 0.0 ? 1.0 : advantage < 0.0 ? 0.0 : advantage;
}

/* log likelihood of one logged dimension and, times -f, its gradients. */
static double fit(float *dmean, float *dstd, double f, double a, double mean, double std,
                  bool censored)
{
    if (censored && fabs(a) >= 1.0) {
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

/* Loss and gradients of state s. */
static void fit_state(struct worker *w, int s, double f, bool censored)
{
    const size_t A = (size_t)w->step->settings->A;
    double log_likelihood = 0.0;
    for (size_t i = (size_t)s * A; i < (size_t)(s + 1) * A; i++) {
        log_likelihood += fit(&w->dmean[i], &w->dstd[i], f, (double)w->a[i],
                              (double)w->prior_mean[i], (double)w->prior_std[i], censored);
    }
    w->sums.prior_loss -= f * log_likelihood;
    w->sums.accepted += f;
}

/* f(A_t) for the states of one unit, and their losses. */
static void fit_unit(struct worker *w, int u, bool censored)
{
    const struct step *step = w->step;
    const struct settings *settings = step->settings;
    const struct unit *unit = &w->units[u];
    const int s0 = unit->first;
    double *advantage = w->advantage;
    if (step->algorithm->prior_kind == PRIOR_ABM) {
        advantages(advantage, w->r + s0, w->d + s0, w->v + s0, (double)w->v[w->S + u],
                   settings->gamma, unit->n);
    }
    for (int t = 0; t < unit->n; t++) {
        double f = 1.0;
        if (step->algorithm->prior_kind == PRIOR_ABM) {
            f = weight_of(settings, advantage[t]);
            w->sums.advantage += advantage[t];
        }
        fit_state(w, s0 + t, f, censored);
    }
}

void prior(struct worker *w)
{
    const struct step *step = w->step;
    const struct network *net = &step->prior.now;
    const size_t ld_out = w->tape.ld_out;
    const bool censored = step->settings->prior_likelihood == LIKELIHOOD_CENSORED;

    network_forward(&w->tape, net, w->x, (size_t)step->I, w->S);
    gaussian_forward(w->prior_mean, w->prior_std, &step->prior_head, w->tape.out, ld_out, w->S);
    for (int u = 0; u < w->n_units; u++) {
        fit_unit(w, u, censored);
    }
    gaussian_backward(w->dout, ld_out, &step->prior_head, w->dmean, w->dstd, w->prior_mean,
                      w->tape.out, ld_out, w->S);
    network_backward(w->gradients + step->prior.at, NULL, 0, net, &w->tape, w->dout, w->S);
}
