/* The figures of both sides. Losses come from the operators of the step itself; the rest takes a
 * forward pass at the first row of each snippet, in groups of a few hundred. */
#include "learner/run/validation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/gaussian.h"
#include "common/trajectory/episode_holdout.h"
#include "learner/run/inference.h"
#include "learner/step/algorithm.h"

#define GROUP_ROWS 256

struct validation {
    struct settings settings;
    struct validation_sample samples[VALIDATION_SIDES];
    struct inference inference;
    int32_t *tasks;       /* (B, T), where tasks are drawn; the same at each judgement */
    double *q, *r;        /* (n) of one task */
    struct report judged; /* of update_judge */
    struct report reports[VALIDATION_SIDES];
};

const char *validation_side_name(enum validation_side side)
{
    return side == VALIDATION_TRAIN ? "train" : "holdout";
}

/* ---- Making ---- */

/* Both samples, the held-out one first: most runs have none. */
static status draw_samples(struct validation *made, const struct validation_draw *draw,
                           struct err *err)
{
    char table[2 * CONFIG_TEXT_SIZE];
    snprintf(table, sizeof table, "%s%s", draw->table, EPISODE_HOLDOUT_TABLE_SUFFIX);
    struct validation_draw held_out = *draw;
    held_out.table = table;
    const status s = validation_sample_init(&made->samples[VALIDATION_HOLDOUT], &held_out, err);
    return s != STATUS_OK ? s : validation_sample_init(&made->samples[VALIDATION_TRAIN], draw, err);
}

/* Memory for the figures of one side after the other. */
static status make_memory(struct validation *made, const struct state *state)
{
    const struct settings *settings = &made->settings;
    const struct validation_sample *sample = &made->samples[VALIDATION_TRAIN];
    made->q = mem_array((size_t)sample->n, sizeof *made->q);
    made->r = mem_array((size_t)sample->n, sizeof *made->r);
    if (made->q == NULL || made->r == NULL ||
        inference_init(&made->inference, settings, state, GROUP_ROWS) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    if (settings->T < settings->K) {
        made->tasks = mem_array((size_t)sample->B * (size_t)settings->T, sizeof *made->tasks);
        if (made->tasks == NULL) {
            return STATUS_NO_MEMORY;
        }
        batch_draw_tasks(made->tasks, settings, 0, 0, sample->B);
    }
    return STATUS_OK;
}

status validation_new(struct validation **validation, const struct validation_draw *draw,
                      const struct state *state, struct err *err)
{
    struct validation *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "validation");
    }
    made->settings = *draw->settings;
    status s = draw_samples(made, draw, err);
    if (s == STATUS_OK && make_memory(made, state) != STATUS_OK) {
        s = err_set(err, STATUS_NO_MEMORY, "validation");
    }
    if (s != STATUS_OK) {
        validation_free(made);
        return s;
    }
    *validation = made;
    return STATUS_OK;
}

void validation_free(struct validation *validation)
{
    if (validation == NULL) {
        return;
    }
    for (int side = 0; side < VALIDATION_SIDES; side++) {
        validation_sample_fini(&validation->samples[side]);
    }
    inference_fini(&validation->inference);
    mem_free(validation->tasks);
    mem_free(validation->q);
    mem_free(validation->r);
    mem_free(validation);
}

const struct report *validation_report(const struct validation *validation,
                                       enum validation_side side)
{
    return &validation->reports[side];
}

struct replay_sampler_table validation_table(const struct validation *validation,
                                             enum validation_side side)
{
    return validation->samples[side].table;
}

/* ---- Losses ---- */

/* The mean losses of the critics over the snippets of a sample, in batches of up to B. */
static status judge_losses(struct validation *validation, const struct validation_sample *sample,
                           struct update *update, int B, const struct state *state,
                           struct report *report, struct err *err)
{
    static const char *const names[] = {"critic_loss", "critic2_loss"};
    double sums[2] = {0}, states = 0;
    const struct report_value *found[2] = {NULL, NULL};
    for (int first = 0; first < sample->B; first += B) {
        const struct batch batch = {
            .rows = sample->rows + (size_t)first * (size_t)(sample->N + 1) * (size_t)sample->W,
            .n_valid = sample->n_valid + first,
            .tasks = validation->tasks == NULL
                         ? NULL
                         : validation->tasks + (size_t)first * (size_t)validation->settings.T,
            .B = sample->B - first < B ? sample->B - first : B,
            .N = sample->N,
            .begin = (uint64_t)first};
        const status s = update_judge(update, state, &batch, &validation->judged, err);
        if (s != STATUS_OK) {
            return s;
        }
        for (size_t i = 0; i < 2; i++) {
            found[i] = report_find(&validation->judged, names[i]);
            sums[i] += found[i] != NULL ? found[i]->values[0] * validation->judged.n_states : 0;
        }
        states += validation->judged.n_states;
    }
    for (size_t i = 0; i < 2; i++) {
        sums[i] /= states;
        if (found[i] != NULL) {
            report_add(report, names[i], &sums[i], 1);
        }
    }
    return STATUS_OK;
}

/* ---- Starts ---- */

/* log likelihood of one dimension of a logged action, as the prior's loss has it (prior.c). */
static double log_likelihood(const struct settings *settings, double a, double mean, double std)
{
    if (settings->prior_likelihood == LIKELIHOOD_CENSORED && fabs(a) >= 1.0) {
        double hazard;
        return gaussian_log_tail((copysign(1.0, a) * mean - 1.0) / std, &hazard);
    }
    return gaussian_log_density(a, mean, std);
}

/* The inputs of rows first .. first + n - 1 of an array of observations, for one task. */
static void fill_inputs(struct inference *inference, const struct state *state,
                        const float *observations, size_t stride, int n, int task)
{
    for (int b = 0; b < n; b++) {
        inference_input(inference, state, b, observations + (size_t)b * stride, task);
    }
}

/* Adds the log likelihoods of n logged actions(n, stride) under a network; false: there is none. */
static bool add_likelihoods(struct inference *inference, const struct state *state,
                            const char *name, const float *actions, size_t stride, int n,
                            double *sum)
{
    const struct settings *settings = &inference->settings;
    const size_t A = (size_t)settings->A;
    if (!inference_gaussian(inference, state, name, n)) {
        return false;
    }
    for (size_t b = 0; b < (size_t)n; b++) {
        for (size_t i = 0; i < A; i++) {
            *sum += log_likelihood(settings, (double)actions[b * stride + i],
                                   (double)inference->mean[b * A + i],
                                   (double)inference->std[b * A + i]);
        }
    }
    return true;
}

/* Sums over starts and tasks; `has`: the algorithm has the network. */
struct likelihoods {
    double prior, policy;
    bool has_prior, has_policy;
};

/* q, r <- Q and R of task k at n starts from `first` on, in the units of the logs. */
static void judge_group(struct validation *validation, const struct validation_sample *sample,
                        const struct state *state, int first, int n, int task,
                        struct likelihoods *likelihoods)
{
    struct inference *inference = &validation->inference;
    const size_t O = (size_t)sample->O, A = (size_t)sample->A, K = (size_t)sample->K;
    const double scale = validation->settings.reward_scale;
    const float *starts = sample->starts + (size_t)first * (O + A);
    const char *acting = algorithm_of(&validation->settings)->acting;
    fill_inputs(inference, state, starts, O + A, n, task);
    likelihoods->has_prior =
        add_likelihoods(inference, state, "prior", starts + O, O + A, n, &likelihoods->prior);
    likelihoods->has_policy =
        add_likelihoods(inference, state, "policy", starts + O, O + A, n, &likelihoods->policy);
    for (int b = 0; b < n; b++) {
        inference_action(inference, b, starts + (size_t)b * (O + A) + O);
    }
    inference_critic(inference, state, n);
    for (int b = 0; b < n; b++) {
        validation->q[first + b] = (double)inference->q[b] / scale;
    }
    /* V where the logs end. */
    fill_inputs(inference, state, sample->ends + (size_t)first * O, O, n, task);
    const bool acts = inference_gaussian(inference, state, acting, n);
    ASSERT(acts);
    for (int b = 0; b < n; b++) {
        inference_action(inference, b, inference->mean + (size_t)b * A);
    }
    inference_critic(inference, state, n);
    for (int b = 0; b < n; b++) {
        validation->r[first + b] = sample->returns[(size_t)(first + b) * K + (size_t)task] +
                                   sample->carry[first + b] * (double)inference->q[b] / scale;
    }
}

/* Mean of q - r, and Pearson's correlation: NAN where one of them does not vary. */
static void compare(const double *q, const double *r, int n, double *bias, double *correlation)
{
    double q_mean = 0, r_mean = 0;
    for (int i = 0; i < n; i++) {
        q_mean += q[i] / n;
        r_mean += r[i] / n;
    }
    double qq = 0, rr = 0, qr = 0;
    for (int i = 0; i < n; i++) {
        qq += (q[i] - q_mean) * (q[i] - q_mean);
        rr += (r[i] - r_mean) * (r[i] - r_mean);
        qr += (q[i] - q_mean) * (r[i] - r_mean);
    }
    *bias = q_mean - r_mean;
    *correlation = qr / sqrt(qq * rr);
}

/* Likelihoods, bias and correlation of one side. */
static void judge_starts(struct validation *validation, const struct validation_sample *sample,
                         const struct state *state, struct report *report)
{
    double bias[REPORT_TASKS_MAX], correlation[REPORT_TASKS_MAX];
    struct likelihoods likelihoods = {0};
    bool vary = true;
    for (int task = 0; task < sample->K; task++) {
        for (int first = 0; first < sample->n; first += GROUP_ROWS) {
            const int left = sample->n - first;
            judge_group(validation, sample, state, first, left < GROUP_ROWS ? left : GROUP_ROWS,
                        task, &likelihoods);
        }
        compare(validation->q, validation->r, sample->n, &bias[task], &correlation[task]);
        vary = vary && isfinite(correlation[task]);
    }
    const double n = (double)sample->n * sample->K;
    likelihoods.prior /= n;
    likelihoods.policy /= n;
    if (likelihoods.has_prior) {
        report_add(report, "prior_log_likelihood", &likelihoods.prior, 1);
    }
    if (likelihoods.has_policy) {
        report_add(report, "policy_log_likelihood", &likelihoods.policy, 1);
    }
    report_add(report, "q_bias", bias, sample->K);
    if (vary) {
        report_add(report, "q_correlation", correlation, sample->K);
    }
}

status validation_judge(struct validation *validation, struct update *update, int B,
                        const struct state *state, struct err *err)
{
    for (int side = 0; side < VALIDATION_SIDES; side++) {
        const struct validation_sample *sample = &validation->samples[side];
        struct report *report = &validation->reports[side];
        report->step = state_step(state);
        report->n_states = sample->n;
        report->n_values = 0;
        const status s = judge_losses(validation, sample, update, B, state, report, err);
        if (s != STATUS_OK) {
            return s;
        }
        judge_starts(validation, sample, state, report);
    }
    return STATUS_OK;
}
