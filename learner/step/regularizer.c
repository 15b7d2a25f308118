/* What is added to the loss of a policy that follows action gradients: the KL to the prior, with
 * its dual, the distance to the logged action, or an entropy bonus. Without it the policy would
 * leave the logged actions, where the critic is not to be trusted, or collapse to a point. */
#include <math.h>

#include "learner/step/operators.h"

#define ENTROPY_STD_MAX 1.0                    /* half the range of an action */
#define HALF_LN_2PIE    1.41893853320467274178 /* 1/2 ln(2 pi e) */

/* Loss of the policy, Eq. 6, with the prior and eta, that of the state's task, held fixed; and the
 * dual loss, with the KL held fixed:
 *
 *     eta mean_s KL(policy || prior),   eta (eps - mean_s KL) */
void regularizer_kl(const struct step *step, struct sums *sums, const struct states *states,
                    const struct gaussians *policy, const struct gaussians *prior,
                    struct gaussians *gradient)
{
    const int A = step->settings->A;
    for (int s = 0; s < states->S; s++) {
        const double eta = step->eta[states->task[s]];
        double divergence = 0.0;
        for (int i = s * A; i < (s + 1) * A; i++) {
            const double std = (double)policy->std[i];
            const double std_p = (double)prior->std[i];
            const double var_p = std_p * std_p;
            const double apart = (double)policy->mean[i] - (double)prior->mean[i];
            divergence += gaussian_kl_std(std, std_p) + 0.5 * apart * apart / var_p;
            gradient->mean[i] += (float)(eta * apart / var_p);
            /* d KL / d std = std / std_p^2 - 1 / std. */
            gradient->std[i] += (float)(eta * (std - std_p) * (std + std_p) / (std * var_p));
        }
        const double slack = step->settings->eps - divergence;
        sums->kl_prior += divergence;
        sums->dual_loss += eta * slack;
        sums->eta_gradient[states->task[s]] += slack;
    }
}

/* Loss mean_s w 1/A |mean - a|^2, a being the logged action, w the state's weight. The mean over the dimensions is that of
 * the authors' program; their paper writes |mean - a|^2. */
void regularizer_bc(const struct step *step, struct sums *sums, const struct states *states,
                    const struct gaussians *policy, const struct gaussians *prior,
                    struct gaussians *gradient)
{
    (void)prior;
    const int A = step->settings->A;
    for (int i = 0; i < states->S * A; i++) {
        const double apart = (double)policy->mean[i] - (double)states->a[i];
        const double weight = states->weight[i / A];
        sums->bc_loss += weight * (apart * apart / A);
        gradient->mean[i] += (float)(weight * (2.0 * apart / A));
    }
}

/* Loss - entropy_cost mean_s sum_i (ln min(std_i, 1) + 1/2 ln(2 pi e)). A wider policy gets no more of
 * it: most of its actions are clipped, where the critic has no gradient by std, so that nothing
 * would hold the std back. */
void regularizer_entropy(const struct step *step, struct sums *sums, const struct states *states,
                         const struct gaussians *policy, const struct gaussians *prior,
                         struct gaussians *gradient)
{
    (void)prior;
    const double cost = step->settings->entropy_cost;
    const int n = states->S * step->settings->A;
    for (int i = 0; i < n; i++) {
        const double std = (double)policy->std[i];
        sums->entropy += log(fmin(std, ENTROPY_STD_MAX)) + HALF_LN_2PIE;
        if (std < ENTROPY_STD_MAX) {
            gradient->std[i] -= (float)(cost / std);
        }
    }
}
