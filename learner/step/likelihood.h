/* The weighted likelihood of logged actions, which the prior learns from, and the policies of crr
 * and iql. Private to learner/step. */
#ifndef HINDCAST_LEARNER_STEP_LIKELIHOOD_H
#define HINDCAST_LEARNER_STEP_LIKELIHOOD_H

#include "learner/step/operators.h"

/* The weight f(advantage) of a logged action, by prior_f. step: 1 for an advantage of 0 or more,
 * else 0. exp: min(exp(advantage / temperature), max_weight). NaN gives NaN. */
double likelihood_weight(const struct settings *settings, double advantage);
/* The weight in iql: min(exp(beta advantage), iql_max_weight). NaN gives NaN. */
double likelihood_weight_iql(const struct settings *settings, double advantage);

/* Returns log N(a_s; mean_s, std_s) of the logged action of state s under `at`, and sets row s of
 * `gradient` to -weight times its gradients by mean and std. With prior_likelihood censored a
 * dimension that was logged at an end, |a| = 1, has the likelihood of the mass beyond it. */
double likelihood_fit(struct gaussians *gradient, const struct settings *settings,
                      const struct states *states, const struct gaussians *at, int s,
                      double weight);

#endif
