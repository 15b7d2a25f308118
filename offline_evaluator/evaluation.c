/* From the configuration to the numbers: see evaluation.h. */
#include "offline_evaluator/evaluation.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/cores.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/networks/kernels.h"
#include "common/networks/normalizer.h"
#include "common/trajectory/episode_holdout.h"
#include "offline_evaluator/fitting.h"
#include "offline_evaluator/rollout.h"
#include "offline_evaluator/values.h"

#define LOG_MODULE "offline_evaluator"
#include "common/base/log.h"

#define OPEN_MS          60000
#define HELD_OUT_MS      2000 /* for a table that may not be there */
#define MODEL_STARTS     256
#define SUCCESS_EPISODES 4
#define MODEL_STEPS      20000 /* of each; see docs/offline_evaluation.md */
#define FITTED_Q_STEPS   5000
#define CRITIC_SEED      0x9e3779b97f4a7c15u

void evaluation_report_path(char *path, size_t size, const struct experiment *experiment,
                            const struct offline_evaluator_options *options)
{
    if (options->report[0] != '\0') {
        snprintf(path, size, "%s", options->report);
    } else {
        snprintf(path, size, "%s/offline_evaluation.json", experiment->run_dir);
    }
}

size_t evaluation_starts(const struct evaluation *evaluation)
{
    const size_t all = evaluation->starts.data->n_episodes;
    return evaluation->by_model && all > MODEL_STARTS ? MODEL_STARTS : all;
}

const struct logged_episode *evaluation_start(const struct evaluation *evaluation, size_t i)
{
    const struct logged_data *data = evaluation->starts.data;
    return &data->episodes[i * data->n_episodes / evaluation_starts(evaluation)];
}

bool evaluation_by_samples(const struct evaluation *evaluation)
{
    return strcmp(evaluation->options->acting, "sample") == 0;
}

/* ---- Inputs ---- */

/* The table, and that of the held-out episodes where there is one. */
static status load_data(struct evaluation *evaluation, struct err *err)
{
    const struct offline_evaluator_options *options = evaluation->options;
    struct starts *starts = &evaluation->starts;
    const size_t most = (size_t)options->max_transitions;
    status s = logged_data_load(&evaluation->data, evaluation->experiment, options->table,
                                &evaluation->signature, most, OPEN_MS, evaluation->stopping,
                                evaluation->arg, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (evaluation->data.n_transitions == 0) {
        return err_set(err, STATUS_INVALID, "table %s: 0 transitions: expected at least 1",
                       options->table);
    }
    snprintf(starts->table, sizeof starts->table, "%s" EPISODE_HOLDOUT_TABLE_SUFFIX,
             options->table);
    struct err why;
    s = logged_data_load(&starts->held, evaluation->experiment, starts->table,
                         &evaluation->signature, most, HELD_OUT_MS, evaluation->stopping,
                         evaluation->arg, &why);
    if (s == STATUS_OK && starts->held.n_episodes > 0) {
        starts->held_out = true;
        starts->data = &starts->held;
        return STATUS_OK;
    }
    if (s != STATUS_OK && s != STATUS_NOT_FOUND) {
        return err_set(err, s, "%s", why.text);
    }
    log_warn(
        "no held-out episodes: values are those at the starts of the episodes that critics are "
        "fitted on table=%s expected=restorer.holdout above 0",
        starts->table);
    snprintf(starts->table, sizeof starts->table, "%s", options->table);
    starts->data = &evaluation->data;
    return STATUS_OK;
}

static size_t terminated_episodes(const struct logged_data *data)
{
    size_t terminated = 0;
    for (size_t e = 0; e < data->n_episodes; e++) {
        terminated += data->episodes[e].terminated;
    }
    return terminated;
}

/* By models where no episode terminates, unless the options say how. */
static status choose_method(struct evaluation *evaluation, struct err *err)
{
    const char *method = evaluation->options->method;
    const size_t terminated = terminated_episodes(&evaluation->data);
    evaluation->by_model =
        strcmp(method, "model") == 0 || (strcmp(method, "auto") == 0 && terminated == 0);
    return evaluation->by_model && terminated > 0
               ? err_set(err, STATUS_INVALID,
                         "offline_evaluator.method: model: expected fitted_q, since %zu of the %zu "
                         "episodes of table %s terminate",
                         terminated, evaluation->data.n_episodes, evaluation->options->table)
               : STATUS_OK;
}

/* And how many steps are taken. */
static status choose_discount(struct evaluation *evaluation, struct err *err)
{
    const struct offline_evaluator_options *options = evaluation->options;
    const uint64_t steps = evaluation->by_model ? MODEL_STEPS : FITTED_Q_STEPS;
    evaluation->steps = options->steps > 0 ? (uint64_t)options->steps : steps;
    evaluation->gamma = options->gamma > 0 ? options->gamma : 1;
    return options->gamma > 0 || evaluation->by_model
               ? STATUS_OK
               : policies_gamma(&evaluation->policies, &evaluation->gamma, err);
}

static status check_discount(const struct evaluation *evaluation, struct err *err)
{
    const struct logged_data *data = &evaluation->data;
    const size_t terminated = terminated_episodes(data);
    if (evaluation->gamma >= 1 && terminated == 0 && !evaluation->by_model) {
        return err_set(err, STATUS_INVALID,
                       "gamma %g: expected below 1, since none of the %zu episodes of table %s "
                       "terminates and sums have no end",
                       evaluation->gamma, data->n_episodes, evaluation->options->table);
    }
    /* Every policy gets the same from a reward that never changes, unless episodes end. */
    for (size_t k = 0; k < data->K && terminated == 0; k++) {
        const double first = logged_reward(data, data->transitions[0], k);
        size_t t = 1;
        while (t < data->n_transitions && logged_reward(data, data->transitions[t], k) == first) {
            t++;
        }
        if (t == data->n_transitions) {
            return err_set(err, STATUS_INVALID,
                           "table %s: reward %s: %g in all %zu transitions, and no episode "
                           "terminates: expected a reward that differs, by which policies can be "
                           "told apart",
                           evaluation->options->table, evaluation->signature.rewards[k], first,
                           data->n_transitions);
        }
    }
    return STATUS_OK;
}

static status load(struct evaluation *evaluation, struct err *err)
{
    const struct offline_evaluator_options *options = evaluation->options;
    status s = policies_load(&evaluation->policies, evaluation->experiment->run_dir, options, err);
    s = s != STATUS_OK ? s : policies_signature(&evaluation->policies, &evaluation->signature, err);
    s = s != STATUS_OK ? s : load_data(evaluation, err);
    if (s != STATUS_OK) {
        return s;
    }
    const struct logged_data *data = &evaluation->data;
    const struct policy_info *info = policy_info(evaluation->policies.items[0].policy);
    if ((size_t)info->O != data->O || (size_t)info->A != data->A || (size_t)info->K != data->K) {
        return err_set(err, STATUS_MISMATCH,
                       "%s: observation %d, actions %d, tasks %d: expected %zu, %zu, %zu as in "
                       "table %s",
                       evaluation->policies.items[0].path, info->O, info->A, info->K, data->O,
                       data->A, data->K, options->table);
    }
    s = choose_method(evaluation, err);
    s = s != STATUS_OK ? s : choose_discount(evaluation, err);
    return s == STATUS_OK ? check_discount(evaluation, err) : s;
}

/* Mean and scale of the observations, and all of them normalized. */
static status normalize(struct evaluation *evaluation, struct err *err)
{
    const struct logged_data *data = &evaluation->data;
    struct normalizer_sums sums;
    evaluation->mean = mem_array(data->O, sizeof(float));
    evaluation->scale = mem_array(data->O, sizeof(float));
    evaluation->x = mem_array(data->n_rows * data->O, sizeof(float));
    if (evaluation->mean == NULL || evaluation->scale == NULL || evaluation->x == NULL ||
        normalizer_sums_init(&sums, data->O) != STATUS_OK) {
        return err_set(err, STATUS_NO_MEMORY, "%zu observations", data->n_rows);
    }
    for (size_t row = 0; row < data->n_rows; row++) {
        normalizer_sums_add(&sums, logged_row(data, row));
    }
    normalizer_sums_finish(&sums, evaluation->mean, evaluation->scale);
    normalizer_sums_fini(&sums);
    const struct normalizer normalizer = {evaluation->mean, evaluation->scale, data->O};
    for (size_t row = 0; row < data->n_rows; row++) {
        normalizer_apply(&normalizer, evaluation->x + row * data->O, logged_row(data, row));
    }
    return STATUS_OK;
}

/* ---- Heads ---- */

/* What no value can leave: a reward of the logs at every step, or, where it comes at the ends of
 * episodes only, once. */
static void bound(struct fitted_q_head *head, const struct logged_data *data, bool sparse)
{
    double least = 0, most = 0; /* what follows an end */
    for (size_t t = 0; t < data->n_transitions; t++) {
        const double r = logged_reward(data, data->transitions[t], (size_t)head->reward);
        least = r < least ? r : least;
        most = r > most ? r : most;
    }
    const double steps = sparse ? 1 : 1 / (1 - head->gamma); /* infinite for gamma 1 */
    head->low = least < 0 ? least * steps : 0;
    head->high = most > 0 ? most * steps : 0;
}

/* A head for a column and a reward, centered and scaled by the logged returns. */
static void make_head(struct fitted_q_head *head, const struct logged_data *data, int column,
                      size_t k, double gamma, bool sparse, double *returns)
{
    logged_data_returns(data, k, gamma, returns);
    double sum = 0, squares = 0;
    for (size_t t = 0; t < data->n_transitions; t++) {
        sum += returns[t];
        squares += returns[t] * returns[t];
    }
    const double n = (double)data->n_transitions;
    const double variance = squares / n - sum / n * (sum / n);
    const double std = variance > 0 ? sqrt(variance) : 0;
    *head = (struct fitted_q_head){.column = column,
                                   .reward = (int)k,
                                   .gamma = gamma,
                                   .offset = sum / n,
                                   .scale = std > 1e-9 ? std : 1};
    bound(head, data, sparse);
}

/* The success score is a value with a horizon of SUCCESS_EPISODES mean episodes. */
static double success_gamma(const struct logged_data *data)
{
    const double mean = (double)data->n_transitions / (double)data->n_episodes;
    return 1 - 1 / (1 + SUCCESS_EPISODES * mean);
}

/* For each policy and task, and for the behaviour: a head for its value and, where the reward says
 * when an episode succeeded, one for the success score. They come in this order, task by task. */
static status make_heads(struct evaluation *evaluation, struct err *err)
{
    const struct logged_data *data = &evaluation->data;
    const size_t columns = evaluation->policies.n * data->K;
    evaluation->heads = mem_array(2 * (columns + data->K), sizeof *evaluation->heads);
    double *returns = mem_array(data->n_transitions, sizeof *returns);
    if (evaluation->heads == NULL || returns == NULL) {
        mem_free(returns);
        return err_set(err, STATUS_NO_MEMORY, "%zu heads", columns);
    }
    for (size_t k = 0; k < data->K; k++) {
        evaluation->sparse[k] = logged_data_is_sparse(data, k);
    }
    for (size_t c = 0; c < columns + data->K; c++) {
        const size_t k = c % data->K;
        /* All tasks of the behaviour are in one column, the last. */
        const int column = (int)(c < columns ? c : columns);
        const bool sparse = evaluation->sparse[k];
        make_head(&evaluation->heads[evaluation->H++], data, column, k, evaluation->gamma, sparse,
                  returns);
        if (sparse) {
            make_head(&evaluation->heads[evaluation->H++], data, column, k, success_gamma(data),
                      true, returns);
        }
    }
    mem_free(returns);
    return STATUS_OK;
}

size_t evaluation_head(const struct evaluation *evaluation, size_t p, size_t k, bool success)
{
    const size_t K = evaluation->data.K;
    size_t h = 0;
    for (size_t c = 0; c < p * K + k; c++) {
        h += evaluation->sparse[c % K] ? 2 : 1;
    }
    return h + (success ? 1 : 0);
}

/* ---- Critics ---- */

static uint64_t mix(uint64_t digest, const void *bytes, size_t size)
{
    return XXH3_64bits_withSeed(bytes, size, digest);
}

/* Of all that the numbers depend on: policies, tables, options, program. */
static status make_digest(struct evaluation *evaluation, struct err *err)
{
    struct offline_evaluator_options *options = mem_new(sizeof *options);
    if (options == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "digest");
    }
    /* What does not change them is left out. */
    *options = *evaluation->options;
    options->policies.n = 0;
    options->checkpoint_every_seconds = 0;
    options->choose = false;
    options->report[0] = '\0';
    const struct config_section section = offline_evaluator_section(options);
    uint64_t digest = config_digest(&section);
    mem_free(options);
    for (size_t p = 0; p < evaluation->policies.n; p++) {
        digest = mix(digest, &evaluation->policies.items[p].digest, sizeof digest);
    }
    const uint64_t more[] = {evaluation->data.version, evaluation->starts.data->version,
                             (uint64_t)evaluation->experiment->seed,
                             (uint64_t)thread_pool_size(evaluation->pool)};
    digest = mix(digest, more, sizeof more);
    evaluation->digest = mix(digest, kernels_name(), strlen(kernels_name()));
    return STATUS_OK;
}

static status make_critics(struct evaluation *evaluation, struct err *err)
{
    const struct offline_evaluator_options *options = evaluation->options;
    const struct logged_data *data = &evaluation->data;
    struct fitted_q_settings settings = {
        .O = (int)data->O,
        .A = (int)data->A,
        .K = (int)data->K,
        .C = (int)evaluation_columns(evaluation),
        .M = evaluation_by_samples(evaluation) ? (int)options->samples : 1,
        .H = evaluation->H,
        .heads = evaluation->heads,
        .n_widths = (int)options->widths.n,
        .bf16 = strcmp(options->precision, "bf16") == 0,
        .lr = options->lr,
        .target_rate = options->target_rate,
        .B = (int)options->batch_transitions};
    for (size_t l = 0; l < options->widths.n; l++) {
        settings.widths[l] = (int)options->widths.items[l];
    }
    if (evaluation->by_model) {
        evaluation->outputs = rollout_outputs(data);
        settings.C = settings.M = 1;
        settings.H = (int)(data->O + data->K);
        settings.heads = evaluation->outputs;
    }
    status s = evaluation->by_model && evaluation->outputs == NULL
                   ? err_set(err, STATUS_NO_MEMORY, "models")
                   : STATUS_OK;
    for (int64_t e = 0; s == STATUS_OK && e < options->critics; e++) {
        settings.seed = (uint64_t)evaluation->experiment->seed + (uint64_t)e * CRITIC_SEED;
        s = fitted_q_new(&evaluation->critics[e], &settings, evaluation->pool, err);
    }
    return s;
}

/* ---- Actions ---- */

struct acting_progress {
    struct evaluation *evaluation;
    const char *where;
};

static bool tell_acting(void *arg, double done)
{
    const struct acting_progress *progress = arg;
    struct evaluation *evaluation = progress->evaluation;
    char text[96];
    snprintf(text, sizeof text, "actions of the policies at the %s %.0f%%", progress->where,
             100 * done);
    evaluation->progress(evaluation->arg, 0, text);
    return !evaluation->stopping(evaluation->arg);
}

/* The first observations of the episodes, as rows of their own. */
static status start_rows(const struct evaluation *evaluation, struct logged_data *to)
{
    const size_t n = evaluation_starts(evaluation);
    size_t *rows = mem_array(n, sizeof *rows);
    for (size_t i = 0; rows != NULL && i < n; i++) {
        rows[i] = evaluation_start(evaluation, i)->first;
    }
    const status s = rows != NULL ? logged_data_of_states(to, evaluation->starts.data, rows, n)
                                  : STATUS_NO_MEMORY;
    mem_free(rows);
    return s;
}

/* Actions at every row of the data and at the starts. */
static status act(struct evaluation *evaluation, struct logged_data *starts, struct err *err)
{
    const bool by_samples = evaluation_by_samples(evaluation);
    const uint64_t seed = (uint64_t)evaluation->experiment->seed;
    struct acting_progress progress = {evaluation, "logged states"};
    status s = start_rows(evaluation, starts);
    if (s != STATUS_OK) {
        return err_set(err, s, "starts");
    }
    if (evaluation->by_model) {
        return STATUS_OK;
    }
    s = columns_make(&evaluation->columns, &evaluation->policies, &evaluation->data, by_samples,
                     seed, evaluation->pool, tell_acting, &progress, err);
    if (s == STATUS_OK) {
        progress.where = "starts";
        s = columns_make(&evaluation->start_columns, &evaluation->policies, starts, by_samples,
                         seed, evaluation->pool, tell_acting, &progress, err);
    }
    return s;
}

/* ---- The whole ---- */

status evaluation_run(struct evaluation *evaluation, struct err *err)
{
    const uint64_t begin_ns = clock_now_ns();
    const int64_t threads = evaluation->options->threads;
    struct logged_data starts = {0};
    status s = load(evaluation, err);
    s = s != STATUS_OK ? s : normalize(evaluation, err);
    s = s != STATUS_OK ? s
                       : thread_pool_new(&evaluation->pool,
                                         threads > 0 ? (int)threads : (int)cores_available(), err);
    s = s != STATUS_OK ? s : act(evaluation, &starts, err);
    s = s != STATUS_OK ? s : make_heads(evaluation, err);
    s = s != STATUS_OK ? s : make_digest(evaluation, err);
    s = s != STATUS_OK ? s : make_critics(evaluation, err);
    if (s == STATUS_OK) {
        log_info(
            "evaluating policies=%zu heads=%d episodes=%zu transitions=%zu starts=%zu gamma=%g "
            "kernels=%s",
            evaluation->policies.n, evaluation->H, evaluation->data.n_episodes,
            evaluation->data.n_transitions, starts.n_episodes, evaluation->gamma, kernels_name());
        s = fitting_run(evaluation, err);
    }
    s = s != STATUS_OK ? s : values_find(evaluation, &starts, err);
    logged_data_fini(&starts);
    evaluation->seconds = (double)(clock_now_ns() - begin_ns) / 1e9;
    return s;
}

void evaluation_fini(struct evaluation *evaluation)
{
    for (size_t e = 0; e < sizeof evaluation->critics / sizeof evaluation->critics[0]; e++) {
        fitted_q_free(evaluation->critics[e]);
    }
    for (size_t k = 0; evaluation->tasks != NULL && k < evaluation->data.K; k++) {
        estimates_fini(&evaluation->tasks[k]);
    }
    mem_free(evaluation->tasks);
    estimates_fini(&evaluation->values);
    estimates_fini(&evaluation->success);
    mem_free(evaluation->support);
    mem_free(evaluation->heads);
    mem_free(evaluation->outputs);
    columns_fini(&evaluation->columns);
    columns_fini(&evaluation->start_columns);
    mem_free(evaluation->x);
    mem_free(evaluation->mean);
    mem_free(evaluation->scale);
    policies_fini(&evaluation->policies);
    logged_data_fini(&evaluation->data);
    logged_data_fini(&evaluation->starts.held);
    thread_pool_free(evaluation->pool);
}
