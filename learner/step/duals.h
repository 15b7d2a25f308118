/* The multipliers: eta of the E-step, alphas of the trust region. Stored as rho, eta =
 * softplus(rho) + 1e-8. */
#ifndef HINDCAST_LEARNER_STEP_DUALS_H
#define HINDCAST_LEARNER_STEP_DUALS_H

#include "common/networks/parameters.h"
#include "learner/step/operators.h"

double dual_multiplier(double rho);
double dual_derivative(double rho); /* d multiplier / d rho */
double dual_rho(double multiplier); /* its inverse */

/* step->eta, alpha_mean, alpha_std from the duals in `params`; those that the layout lacks stay. */
void duals_read(struct step *step, const struct parameters_layout *layout, const float *params);

/* The duals' part of gradients (means), from the sums over all states:
 *     d/d eta of the dual loss;   d/d alpha_i of alpha_i (eps_i - KL_i), the KLs held fixed.
 * A task that is in no snippet has gradient 0. */
void duals_gradients(float *gradients, const struct step *step,
                     const struct parameters_layout *layout, const float *params,
                     const struct sums *sums);

/* rho = max(rho, floor), after the Adam step. */
void duals_floor(float *params, const struct parameters_layout *layout, double floor);

#endif
