/* The multipliers: eta of the E-step and of the regularizer, alphas of the trust region. They are
 * stored as rho, with eta = softplus(rho) + 1e-8. */
#ifndef HINDCAST_LEARNER_STEP_DUALS_H
#define HINDCAST_LEARNER_STEP_DUALS_H

#include "common/networks/parameters.h"
#include "learner/step/operators.h"

double dual_multiplier(double rho);
double dual_derivative(double rho); /* d multiplier / d rho */
double dual_rho(double multiplier); /* its inverse */

/* Reads step->eta, alpha_mean and alpha_std from the duals in `params`. Those that the layout does
 * not have stay as they are. */
void duals_read(struct step *step, const struct parameters_layout *layout, const float *params);

/* The duals' part of the gradients, as means, from the sums over all states: by eta of the dual
 * loss, by alpha_i of alpha_i (eps_i - KL_i) with the KLs held fixed. A task that is in no
 * snippet has gradient 0. */
void duals_gradients(float *gradients, const struct step *step,
                     const struct parameters_layout *layout, const float *params,
                     const struct sums *sums);

/* rho = max(rho, floor), after the Adam step. */
void duals_floor(float *params, const struct parameters_layout *layout, double floor);

#endif
