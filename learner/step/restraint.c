/* What keeps a policy that follows slopes from running away: the KL to the prior, with its dual, or
 * an entropy bonus where there is no prior. */
#include <math.h>

#include "learner/step/operators.h"

#define HALF_LN_2PIE 1.41893853320467274178 /* 1/2 ln(2 pi e) */

/* Loss  eta mean_s KL(policy || prior), eta that of the state's task and held fixed as is the
 * prior; dual loss  eta (eps - mean_s KL), the KL held fixed. Eq. 6. */
void restraint_kl(struct worker *w)
{
    const struct step *step = w->step;
    const int A = step->settings->A;
    for (int s = 0; s < w->S; s++) {
        const double eta = step->eta[w->task[s]];
        double divergence = 0.0;
        for (int i = s * A; i < (s + 1) * A; i++) {
            const double std = (double)w->own_std[i];
            const double std_p = (double)w->prior_std[i];
            const double var_p = std_p * std_p;
            const double apart = (double)w->own_mean[i] - (double)w->prior_mean[i];
            divergence += gaussian_kl_std(std, std_p) + 0.5 * apart * apart / var_p;
            w->dmean[i] += (float)(eta * apart / var_p);
            /* d KL / d std = std / std_p^2 - 1 / std. */
            w->dstd[i] += (float)(eta * (std - std_p) * (std + std_p) / (std * var_p));
        }
        const double slack = step->settings->eps - divergence;
        w->sums.kl_prior += divergence;
        w->sums.dual_loss += eta * slack;
        w->sums.eta_gradient[w->task[s]] += slack;
    }
}

/* Loss  - entropy_cost mean_s sum_i (ln std_i + 1/2 ln(2 pi e)). */
void restraint_entropy(struct worker *w)
{
    const double cost = w->step->settings->entropy_cost;
    const int n = w->S * w->step->settings->A;
    for (int i = 0; i < n; i++) {
        const double std = (double)w->own_std[i];
        w->sums.entropy += log(std) + HALF_LN_2PIE;
        w->dstd[i] -= (float)(cost / std);
    }
}
