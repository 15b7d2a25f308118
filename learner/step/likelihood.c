/* The weighted likelihood of logged actions: see likelihood.h.
 *
 *     loss - f(A) log N(a; mean, std)
 *
 * "censored" (ours): what was logged is clip(a), so that the likelihood of a dimension at an end,
 * |a| = 1, is the mass beyond it. */
#include "learner/step/likelihood.h"

#include <math.h>

/* In both weights a NaN is returned as it is: the step is then refused. */
static double capped(double weight, double max)
{
    return weight > max ? max : weight;
}

double likelihood_weight(const struct settings *settings, double advantage)
{
    if (settings->prior_f == PRIOR_F_EXP) {
        return capped(exp(advantage / settings->temperature), settings->max_weight);
    }
    return advantage >= 0.0 ? 1.0 : advantage < 0.0 ? 0.0 : advantage;
}

double likelihood_weight_iql(const struct settings *settings, double advantage)
{
    return capped(exp(settings->beta * advantage), settings->iql_max_weight);
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

double likelihood_fit(struct gaussians *gradient, const struct settings *settings,
                      const struct states *states, const struct gaussians *at, int s, double weight)
{
    const bool censored = settings->prior_likelihood == LIKELIHOOD_CENSORED;
    const size_t A = (size_t)settings->A;
    /* The dimensions of a Gaussian that is diagonal: their log likelihoods add up. */
    double log_likelihood = 0.0;
    for (size_t i = (size_t)s * A; i < (size_t)(s + 1) * A; i++) {
        log_likelihood +=
            fit_dimension(&gradient->mean[i], &gradient->std[i], weight, (double)states->a[i],
                          (double)at->mean[i], (double)at->std[i], censored);
    }
    return log_likelihood;
}
