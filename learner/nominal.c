/* The nominal work of a step: docs/maths.md, section 6. */
#include "learner/operators.h"
#include "learner/update.h"

/* Multiply-adds of one row through each network; of `critic` and `perturb` without `state`, the
 * state's share of their first layer. */
struct row_work {
    double actor, state, critic, perturb;
};

static struct row_work row_work(const struct settings *settings)
{
    const double I = settings_inputs(settings);
    const double A = settings->A;
    const double H0 = settings->widths[0];
    const double last = settings->widths[settings->n_widths - 1];
    double hidden = 0.0;
    for (int l = 1; l < settings->n_widths; l++) {
        hidden += (double)settings->widths[l - 1] * (double)settings->widths[l];
    }
    return (struct row_work){.actor = I * H0 + hidden + 2.0 * A * last,
                             .state = I * H0,
                             .critic = A * H0 + hidden + last,
                             .perturb = A * H0 + hidden + A * last};
}

/* V at R rows by M samples, or at S states by the best of C candidates. */
static double value_work(const struct settings *settings, const struct algorithm *algorithm,
                         const struct row_work *row, double S, double R)
{
    const double C = settings->candidates;
    if ((algorithm->draws >> NOISE_BACKUP & 1u) == 0) {
        return settings->M * R * row->critic + R * (row->state + row->actor);
    }
    double work = S * (row->actor + 2.0 * (row->state + C * row->critic));
    if (algorithm->has_perturb) {
        work += S * (row->state + C * row->perturb);
    }
    return work;
}

double update_nominal_flop(const struct settings *settings, double S, double U)
{
    const struct algorithm *algorithm = algorithm_find(settings->algorithm);
    const struct row_work row = row_work(settings);
    const double n = algorithm->improve_one ? 1.0 : settings->M;
    const bool improves = (algorithm->draws >> NOISE_IMPROVE & 1u) != 0;
    double work = value_work(settings, algorithm, &row, S, S + U);
    work += (algorithm->has_critic2 ? 2.0 : 1.0) * 3.0 * S * (row.state + row.critic);
    if (algorithm->prior != NULL) {
        /* Its forward pass also serves the sampling; where V's samples are its own, theirs the
         * loss. */
        work += (algorithm->value_from_prior ? 2.0 : 3.0) * S * row.actor;
    }
    if (algorithm->has_policy) {
        work += 3.0 * S * row.actor;
    }
    if (algorithm->has_perturb) {
        work += 3.0 * S * (row.state + row.perturb);
    }
    if (algorithm->n_slopes > 0) {
        /* Forward, and back by the inputs alone. */
        work += algorithm->n_slopes * n * S * 2.0 * (row.state + row.critic);
    } else if (improves) {
        work += n * S * row.critic;
    }
    return 2.0 * work;
}
