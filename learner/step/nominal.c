/* The nominal work of a step: docs/maths.md, section 6.
 *
 * Counts the multiply-adds of matrix products that the algorithm asks for, not those that an
 * implementation makes: benchmarks divide this fixed figure by the time. Phases are counted apart
 * so that a profile can state the rate of each. */
#include <string.h>

#include "learner/step/operators.h"
#include "learner/step/update.h"

/* Multiply-adds of one row through each network; of `critic`, `perturb` and `value` without
 * `state`, the state's share of their first layer. */
struct row_work {
    double actor, state, critic, perturb, value;
};

/* All networks have the same hidden layers; they differ in inputs and outputs. */
static struct row_work row_work(const struct settings *settings)
{
    const double I = settings_inputs(settings);
    const double A = settings->A;
    const double H0 = settings->widths[0];
    const double last = settings->widths[settings->n_widths - 1];
    /* Between hidden layers, the same for every network. */
    double hidden = 0.0;
    for (int l = 1; l < settings->n_widths; l++) {
        hidden += (double)settings->widths[l - 1] * (double)settings->widths[l];
    }
    return (struct row_work){.actor = I * H0 + hidden + 2.0 * A * last,
                             .state = I * H0,
                             .critic = A * H0 + hidden + last,
                             .perturb = A * H0 + hidden + A * last,
                             .value = hidden + last};
}

/* The work of V: a network that is trained at S of R rows, on two critics at the logged actions; or
 * M samples at R rows; or the best of C candidates at S states. */
static double value_work(const struct settings *settings, const struct algorithm *algorithm,
                         const struct row_work *row, double S, double R)
{
    const double C = algorithm->backup_one ? 1.0 : settings->candidates;
    if (algorithm->has_value) {
        return 2.0 * S * (row->state + row->critic) + (R + 2.0 * S) * (row->state + row->value);
    }
    if ((algorithm->draws >> NOISE_BACKUP & 1u) == 0) {
        return settings->M * R * row->critic + R * (row->state + row->actor);
    }
    /* Candidates from the actor, evaluated by two critics, each with its state part. */
    double work = S * (row->actor + 2.0 * (row->state + C * row->critic));
    if (algorithm->has_perturb) {
        work += S * (row->state + C * row->perturb);
    }
    return work;
}

/* Multiply-adds of each phase of a step. */
static void phase_work(const struct settings *settings, double S, double U, double work[PHASES])
{
    const struct algorithm *algorithm = algorithm_of(settings);
    const struct row_work row = row_work(settings);
    const double n = algorithm->improve_one ? 1.0 : settings->M;
    const bool improves = (algorithm->draws >> NOISE_IMPROVE & 1u) != 0;
    /* A trained network costs three forward passes: one, and two products back. */
    work[PHASE_VALUE] = value_work(settings, algorithm, &row, S, S + U);
    work[PHASE_EVALUATE] =
        (algorithm->has_critic2 ? 2.0 : 1.0) * 3.0 * S * (row.state + row.critic);
    if (algorithm->prior_fit != NULL) {
        /* Its forward pass also serves the sampling. Where V's samples are the prior's own, their
         * forward pass serves the loss. */
        work[PHASE_PRIOR] = (algorithm->value_from_prior ? 2.0 : 3.0) * S * row.actor;
    }
    if (algorithm->has_policy) {
        work[PHASE_IMPROVE] += 3.0 * S * row.actor;
    }
    if (algorithm->has_perturb) {
        work[PHASE_IMPROVE] += 3.0 * S * (row.state + row.perturb);
    }
    if (algorithm->n_action_gradients > 0) {
        /* Forward, and back by the inputs alone. */
        work[PHASE_IMPROVE] +=
            algorithm->n_action_gradients * n * S * 2.0 * (row.state + row.critic);
    } else if (improves) {
        work[PHASE_IMPROVE] += n * S * row.critic;
    }
    if (algorithm->improvement == improvement_crr) {
        /* By the online critic: its state part, and the logged action. */
        work[PHASE_IMPROVE] += S * (2.0 * row.state + row.critic);
    }
}

void update_nominal_phases(const struct settings *settings, double S, double U, double flop[PHASES])
{
    memset(flop, 0, PHASES * sizeof *flop);
    phase_work(settings, S, U, flop);
    for (int i = 0; i < PHASES; i++) {
        flop[i] *= 2.0;
    }
}

double update_nominal_flop(const struct settings *settings, double S, double U)
{
    double flop[PHASES], sum = 0.0;
    update_nominal_phases(settings, S, U, flop);
    for (int i = 0; i < PHASES; i++) {
        sum += flop[i];
    }
    return sum;
}
