/* Quantities that people read and no loss needs. See diagnostics.h.
 *
 * Each network is run forward once more on one row of each snippet (inference.h). That costs about
 * one row in N + 1 of a step, and only in steps with a report. */
#include "learner/run/diagnostics.h"

#include <math.h>

#include "common/base/memory.h"
#include "learner/run/inference.h"

struct diagnostics {
    struct inference inference;
};

status diagnostics_new(struct diagnostics **diagnostics, const struct settings *settings,
                       const struct state *state, int B, struct err *err)
{
    struct diagnostics *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "diagnostics");
    }
    if (inference_init(&made->inference, settings, state, B) != STATUS_OK) {
        diagnostics_free(made);
        return err_set(err, STATUS_NO_MEMORY, "diagnostics of %d states", B);
    }
    *diagnostics = made;
    return STATUS_OK;
}

void diagnostics_free(struct diagnostics *diagnostics)
{
    if (diagnostics == NULL) {
        return;
    }
    inference_fini(&diagnostics->inference);
    mem_free(diagnostics);
}

/* The first row of snippet b. A snippet has N + 1 rows, the last for the bootstrap. */
static const float *row_of(const struct settings *settings, const struct batch *batch, int b)
{
    return batch->rows + (size_t)b * (size_t)(batch->N + 1) * (size_t)settings_row_width(settings);
}

/* Mean over states per dimension; returns the share of stds within 1% of the floor. */
static double mean_std(const struct inference *inference, double min_std, int B, double *mean)
{
    int A = inference->settings.A;
    /* A dimension at a time; those at the floor are counted over all of them. */
    int at_floor = 0;
    for (int i = 0; i < A; i++) {
        double sum = 0;
        for (int b = 0; b < B; b++) {
            double std = (double)inference->std[b * A + i];
            sum += std;
            at_floor += std <= 1.01 * min_std;
        }
        mean[i] = sum / B;
    }
    return (double)at_floor / (A * B);
}

/* The least and the largest value of the critic at the logged actions. */
static void judge_logged(struct inference *inference, const struct state *state,
                         const struct batch *batch, double *least, double *most)
{
    const struct settings *settings = &inference->settings;
    for (int b = 0; b < batch->B; b++) {
        inference_action(inference, b, row_of(settings, batch, b) + settings->O);
    }
    inference_critic(inference, state, batch->B);
    *least = *most = (double)inference->q[0];
    for (int b = 1; b < batch->B; b++) {
        *least = fmin(*least, (double)inference->q[b]);
        *most = fmax(*most, (double)inference->q[b]);
    }
}

/* The share of logged action dimensions that are at an end of their range, -1 or 1. */
static double actions_at_end(const struct settings *settings, const struct batch *batch)
{
    int at_end = 0;
    for (int b = 0; b < batch->B; b++) {
        const float *action = row_of(settings, batch, b) + settings->O;
        for (int i = 0; i < settings->A; i++) {
            at_end += fabsf(action[i]) >= 1.0f;
        }
    }
    return (double)at_end / (settings->A * batch->B);
}

/* Keeps a value that the step itself has reported under this name. */
static void add_new(struct report *report, const char *name, const double *values, int size)
{
    if (report_find(report, name) == NULL) {
        report_add(report, name, values, size);
    }
}

void diagnostics_add(struct diagnostics *diagnostics, const struct state *state,
                     const struct batch *batch, struct report *report)
{
    struct inference *inference = &diagnostics->inference;
    const struct settings *settings = &inference->settings;
    double std[REPORT_ACTIONS_MAX];
    /* The inputs of this batch, which all networks below read. */
    for (int b = 0; b < batch->B; b++) {
        inference_input(inference, state, b, row_of(settings, batch, b), b % settings->K);
    }
    /* The policy's stds, and those of the prior where the algorithm has one. */
    if (inference_gaussian(inference, state, "policy", batch->B)) {
        (void)mean_std(inference, settings->policy_min_std, batch->B, std);
        add_new(report, "policy_std", std, settings->A);
    }
    if (inference_gaussian(inference, state, "prior", batch->B)) {
        double floor_share = mean_std(inference, settings->prior_min_std, batch->B, std);
        add_new(report, "prior_std", std, settings->A);
        add_new(report, "prior_floor", &floor_share, 1);
    }
    /* The range of the critic and the share of actions at the ends of their range. */
    double q_min, q_max;
    judge_logged(inference, state, batch, &q_min, &q_max);
    add_new(report, "q_min", &q_min, 1);
    add_new(report, "q_max", &q_max, 1);
    double end_share = actions_at_end(settings, batch);
    add_new(report, "actions_at_end", &end_share, 1);
}
