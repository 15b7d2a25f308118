/* Multipliers and their gradients, in double: there are few.
 *
 * softplus keeps a multiplier positive. The floor keeps rho where softplus still has a derivative
 * that Adam can follow back up: at -18 eta is 2.5e-8.
 *
 * A dual is stored as rho and used as a multiplier: eta or alpha = softplus(rho) + 1e-8. Adam moves
 * rho; duals_floor keeps it from falling too far after each step. */
#include "learner/step/duals.h"

#include <math.h>

double dual_multiplier(double rho)
{
    /* log(1 + e^rho) without overflow; the last term keeps divisions by eta finite. */
    return (rho > 0.0 ? rho : 0.0) + log1p(exp(-fabs(rho))) + 1e-8;
}

double dual_derivative(double rho)
{
    return 1.0 / (1.0 + exp(-rho));
}

double dual_rho(double multiplier)
{
    ASSERT(multiplier > 1e-8);
    const double x = multiplier - 1e-8;
    /* Beyond 30 softplus is the identity to double precision, and expm1 would overflow later. */
    return x > 30.0 ? x : log(expm1(x));
}

/* multipliers(n) <- those of the dual of that name, where the layout has it. */
static void read(double *multipliers, const struct parameters_layout *layout, const char *name,
                 const float *params)
{
    size_t at;
    int n;
    if (parameters_dual(layout, name, &at, &n)) {
        for (int i = 0; i < n; i++) {
            multipliers[i] = dual_multiplier((double)params[at + (size_t)i]);
        }
    }
}

void duals_read(struct step *step, const struct parameters_layout *layout, const float *params)
{
    /* Duals that the algorithm does not have leave their multipliers as they are: nothing reads
     * them. */
    read(step->eta, layout, "rho_eta", params);
    read(step->alpha_mean, layout, "rho_mean", params);
    read(step->alpha_std, layout, "rho_std", params);
}

void duals_gradients(float *gradients, const struct step *step,
                     const struct parameters_layout *layout, const float *params,
                     const struct sums *sums)
{
    /* The eta gradients were summed over states, those of a task by that task's states alone;
     * they are divided by all states, as the loss is. */
    const struct settings *settings = step->settings;
    size_t at;
    int n;
    /* Each by its rho: the derivative of softplus is the last factor. */
    if (parameters_dual(layout, "rho_eta", &at, &n)) {
        for (int k = 0; k < n; k++) {
            const size_t i = at + (size_t)k;
            gradients[i] =
                (float)(sums->eta_gradient[k] / sums->states * dual_derivative((double)params[i]));
        }
    }
    /* alpha grows where the mean KL is above its bound, since Adam descends along the slack. */
    if (parameters_dual(layout, "rho_mean", &at, &n)) {
        for (int k = 0; k < n; k++) {
            const size_t i = at + (size_t)k;
            const double slack = settings->eps_mean - sums->kl_mean[k] / sums->states;
            gradients[i] = (float)(slack * dual_derivative((double)params[i]));
        }
    }
    /* The same of the std. */
    if (parameters_dual(layout, "rho_std", &at, &n)) {
        for (int k = 0; k < n; k++) {
            const size_t i = at + (size_t)k;
            const double slack = settings->eps_std - sums->kl_std[k] / sums->states;
            gradients[i] = (float)(slack * dual_derivative((double)params[i]));
        }
    }
}

void duals_floor(float *params, const struct parameters_layout *layout, double floor)
{
    const struct parameters_group *group = parameters_group(layout, "dual");
    for (int i = 0; group != NULL && i < group->n_tensors; i++) {
        float *rho = params + group->at + group->tensors[i].at;
        /* Written so that NaN stays NaN. */
        for (size_t j = 0; j < group->tensors[i].size; j++) {
            rho[j] = rho[j] < (float)floor ? (float)floor : rho[j];
        }
    }
}
