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
#include "common/base/noise.h"
#include "common/base/text.h"
#include "common/networks/gaussian.h"
#include "common/networks/kernels.h"
#include "common/networks/normalizer.h"
#include "common/trajectory/episode_holdout.h"
#include "offline_evaluator/fitting.h"
#include "offline_evaluator/support.h"

#define LOG_MODULE "offline_evaluator"
#include "common/base/log.h"

#define OPEN_MS               60000
#define HELD_OUT_MS           2000        /* for a table that may not be there */
#define VALUE_ROWS            256         /* starts whose values are computed at once */
#define START_SAMPLES_PURPOSE 0x66717374u /* "fqst" */
#define SUCCESS_EPISODES      4
#define CRITIC_SEED           0x9e3779b97f4a7c15u

void evaluation_report_path(char *path, size_t size, const struct experiment *experiment,
                            const struct offline_evaluator_options *options)
{
    if (options->report[0] != '\0') {
        snprintf(path, size, "%s", options->report);
    } else {
        snprintf(path, size, "%s/offline_evaluation.json", experiment->run_dir);
    }
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

static status check_discount(const struct evaluation *evaluation, struct err *err)
{
    const struct logged_data *data = &evaluation->data;
    size_t terminated = 0;
    for (size_t e = 0; e < data->n_episodes; e++) {
        terminated += data->episodes[e].terminated;
    }
    if (evaluation->gamma >= 1 && terminated == 0) {
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
    if (s == STATUS_OK) {
        evaluation->gamma = options->gamma;
        s = options->gamma > 0 ? STATUS_OK
                               : policies_gamma(&evaluation->policies, &evaluation->gamma, err);
    }
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
    return check_discount(evaluation, err);
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

/* The head of policy p (n: the behaviour) for task k; `success`: the second one of a sparse reward. */
static size_t head_of(const struct evaluation *evaluation, size_t p, size_t k, bool success)
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
        .C = (int)evaluation->columns.C,
        .M = evaluation->columns.std != NULL ? (int)options->samples : 1,
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
    status s = STATUS_OK;
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

/* The first observation of each episode, as rows of its own. */
static status start_rows(const struct logged_data *from, struct logged_data *to)
{
    float *rows = mem_array(2 * from->n_episodes, from->W * sizeof *rows);
    uint32_t *T = mem_array(from->n_episodes, sizeof *T);
    status s = rows == NULL || T == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    for (size_t e = 0; s == STATUS_OK && e < from->n_episodes; e++) {
        /* An episode of one transition: its first row, and the next. */
        memcpy(rows + 2 * e * from->W, logged_row(from, from->episodes[e].first),
               2 * from->W * sizeof *rows);
        T[e] = 1;
    }
    if (s == STATUS_OK) {
        s = logged_data_of_rows(to, from->O, from->A, from->K, rows, T, from->n_episodes);
    }
    mem_free(rows);
    mem_free(T);
    return s;
}

/* Actions at every row of the data and at the starts. */
static status act(struct evaluation *evaluation, struct logged_data *starts, struct err *err)
{
    const bool by_samples = strcmp(evaluation->options->acting, "sample") == 0;
    const uint64_t seed = (uint64_t)evaluation->experiment->seed;
    struct acting_progress progress = {evaluation, "logged states"};
    status s = columns_make(&evaluation->columns, &evaluation->policies, &evaluation->data,
                            by_samples, seed, evaluation->pool, tell_acting, &progress, err);
    if (s == STATUS_OK) {
        progress.where = "starts";
        s = start_rows(evaluation->starts.data, starts);
        s = s == STATUS_OK
                ? columns_make(&evaluation->start_columns, &evaluation->policies, starts,
                               by_samples, seed, evaluation->pool, tell_acting, &progress, err)
                : err_set(err, s, "starts");
    }
    return s;
}

/* ---- Values ---- */

/* Inputs of the critics at some starts: x(n,O), a(n,C,M,A). */
static void start_inputs(const struct evaluation *evaluation, const struct logged_data *starts,
                         size_t first, size_t n, float *x, float *a, float *z)
{
    const struct columns *columns = &evaluation->start_columns;
    const struct normalizer normalizer = {evaluation->mean, evaluation->scale, starts->O};
    const size_t M = columns->std != NULL ? (size_t)evaluation->options->samples : 1;
    const size_t A = columns->A;
    for (size_t i = 0; i < n; i++) {
        const size_t row = starts->episodes[first + i].first;
        normalizer_apply(&normalizer, x + i * starts->O, logged_row(starts, row));
        for (size_t c = 0; c < columns->C; c++) {
            const size_t from = (row * columns->C + c) * A;
            float *to = a + (i * columns->C + c) * M * A;
            if (columns->std == NULL) {
                memcpy(to, columns->mean + from, A * sizeof *to);
                continue;
            }
            noise_normal(z, M * A, (uint64_t)evaluation->experiment->seed, row,
                         START_SAMPLES_PURPOSE, (uint64_t)(c * M * A));
            gaussian_sample(to, columns->mean + from, columns->std + from, z, (int)M, (int)A);
            gaussian_clip(to, to, M * A);
        }
    }
}

/* q(critics,starts,H) <- all values at all starts. */
static status start_values(const struct evaluation *evaluation, const struct logged_data *starts,
                           double *q, struct err *err)
{
    const struct columns *columns = &evaluation->start_columns;
    const size_t M = columns->std != NULL ? (size_t)evaluation->options->samples : 1;
    const size_t H = (size_t)evaluation->H;
    float *x = mem_array(VALUE_ROWS * starts->O, sizeof *x);
    float *a = mem_array(VALUE_ROWS * columns->C * M * columns->A, sizeof *a);
    float *z = mem_array(M * columns->A, sizeof *z);
    const bool ok = x != NULL && a != NULL && z != NULL;
    for (size_t first = 0; ok && first < starts->n_episodes; first += VALUE_ROWS) {
        const size_t left = starts->n_episodes - first;
        const size_t n = left < VALUE_ROWS ? left : VALUE_ROWS;
        start_inputs(evaluation, starts, first, n, x, a, z);
        for (size_t e = 0; e < (size_t)evaluation->options->critics; e++) {
            fitted_q_values(evaluation->critics[e], q + (e * starts->n_episodes + first) * H, x, a,
                            (int)n);
        }
    }
    mem_free(x);
    mem_free(a);
    mem_free(z);
    return ok ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "values at starts");
}

/* One quantity of the policies, from values(critics,starts,H). tasks: which; their mean counts. */
static status estimate(const struct evaluation *evaluation, struct estimates *out, const double *q,
                       size_t n_starts, const size_t *tasks, size_t n_tasks, bool success,
                       struct err *err)
{
    const struct offline_evaluator_options *options = evaluation->options;
    const size_t P = evaluation->policies.n, E = (size_t)options->critics;
    const size_t H = (size_t)evaluation->H;
    double *values = mem_array(E * P * n_starts, sizeof *values);
    if (values == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "values of %zu policies", P);
    }
    for (size_t e = 0; e < E; e++) {
        for (size_t p = 0; p < P; p++) {
            for (size_t k = 0; k < n_tasks; k++) {
                const size_t h = head_of(evaluation, p, tasks[k], success);
                const struct fitted_q_head *head = &evaluation->heads[h];
                for (size_t i = 0; i < n_starts; i++) {
                    const double value = q[(e * n_starts + i) * H + h];
                    const double bounded = value < head->low    ? head->low
                                           : value > head->high ? head->high
                                                                : value;
                    values[(e * P + p) * n_starts + i] +=
                        (success ? bounded / head->high : bounded) / (double)n_tasks;
                }
            }
        }
    }
    const struct estimates_settings settings = {.n_critics = E,
                                                .n_policies = P,
                                                .n_starts = n_starts,
                                                .resamples = (size_t)options->resamples,
                                                .level = options->level,
                                                .seed = (uint64_t)evaluation->experiment->seed};
    const status s = estimates_make(out, values, &settings, err);
    mem_free(values);
    return s;
}

/* What the behaviour got from the starts, and what the critics say of it. */
static status estimate_behaviour(struct evaluation *evaluation, const double *q, struct err *err)
{
    const struct offline_evaluator_options *options = evaluation->options;
    const struct logged_data *data = evaluation->starts.data;
    const size_t n = data->n_episodes, H = (size_t)evaluation->H;
    const uint64_t seed = (uint64_t)evaluation->experiment->seed;
    double *returns = mem_array(data->n_transitions, sizeof *returns);
    double *of_starts = mem_array(n, sizeof *of_starts);
    status s = returns != NULL && of_starts != NULL ? STATUS_OK
                                                    : err_set(err, STATUS_NO_MEMORY, "returns");
    for (size_t k = 0; s == STATUS_OK && k < data->K; k++) {
        struct behaviour *behaviour = &evaluation->behaviour[k];
        const size_t h = head_of(evaluation, evaluation->policies.n, k, false);
        logged_data_returns(data, k, evaluation->gamma, returns);
        size_t t = 0;
        for (size_t e = 0; e < n; e++) {
            of_starts[e] = returns[t];
            t += data->episodes[e].T;
        }
        s = estimate_mean(&behaviour->known, of_starts, n, (size_t)options->resamples,
                          options->level, seed, err);
        for (size_t i = 0; i < n; i++) {
            of_starts[i] = 0;
            for (size_t e = 0; e < (size_t)options->critics; e++) {
                of_starts[i] += q[(e * n + i) * H + h] / (double)options->critics;
            }
        }
        s = s != STATUS_OK ? s
                           : estimate_mean(&behaviour->estimated, of_starts, n,
                                           (size_t)options->resamples, options->level, seed, err);
    }
    mem_free(returns);
    mem_free(of_starts);
    return s;
}

/* Values of each task, their mean, the success score, the behaviour's. */
static status conclude(struct evaluation *evaluation, const struct logged_data *starts,
                       struct err *err)
{
    const size_t K = evaluation->data.K;
    const size_t n = starts->n_episodes;
    double *q =
        mem_array((size_t)evaluation->options->critics * n * (size_t)evaluation->H, sizeof *q);
    evaluation->tasks = mem_array(K, sizeof *evaluation->tasks);
    evaluation->support = mem_array(evaluation->columns.C, sizeof *evaluation->support);
    if (q == NULL || evaluation->tasks == NULL || evaluation->support == NULL) {
        mem_free(q);
        return err_set(err, STATUS_NO_MEMORY, "values at %zu starts", n);
    }
    size_t all[SIGNATURE_TASKS_MAX] = {0}, sparse[SIGNATURE_TASKS_MAX] = {0}, n_sparse = 0;
    status s = start_values(evaluation, starts, q, err);
    for (size_t k = 0; s == STATUS_OK && k < K; k++) {
        all[k] = k;
        if (evaluation->sparse[k]) {
            sparse[n_sparse++] = k;
        }
        s = estimate(evaluation, &evaluation->tasks[k], q, n, &all[k], 1, false, err);
    }
    s = s != STATUS_OK ? s : estimate(evaluation, &evaluation->values, q, n, all, K, false, err);
    if (s == STATUS_OK && n_sparse > 0) {
        s = estimate(evaluation, &evaluation->success, q, n, sparse, n_sparse, true, err);
    }
    s = s != STATUS_OK ? s : estimate_behaviour(evaluation, q, err);
    s = s != STATUS_OK
            ? s
            : support_measure(evaluation->support, &evaluation->data, evaluation->x,
                              &evaluation->columns, (uint64_t)evaluation->experiment->seed,
                              evaluation->pool, err);
    mem_free(q);
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
    s = s != STATUS_OK ? s : conclude(evaluation, &starts, err);
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
