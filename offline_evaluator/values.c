/* From fitted critics or models to values with intervals: see values.h. */
#include "offline_evaluator/values.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/gaussian.h"
#include "common/networks/normalizer.h"
#include "offline_evaluator/rollout.h"
#include "offline_evaluator/support.h"

#define VALUE_ROWS            256         /* starts whose values are computed at once */
#define START_SAMPLES_PURPOSE 0x66717374u /* "fqst" */

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

/* known(starts), told(starts) <- what the behaviour got of reward k, and what critics or models say of
 * it, at each start. returns: scratch, one for each transition of the starts' table. */
static void behaviour_at_starts(const struct evaluation *evaluation, const double *q, size_t k,
                                double *known, double *told, double *returns)
{
    const struct logged_data *data = evaluation->starts.data;
    const size_t n = evaluation_starts(evaluation), H = (size_t)evaluation->H;
    const size_t h = evaluation_head(evaluation, evaluation->policies.n, k, false);
    const size_t critics = (size_t)evaluation->options->critics;
    logged_data_returns(data, k, evaluation->gamma, returns);
    for (size_t i = 0; i < n; i++) {
        const struct logged_episode *episode = evaluation_start(evaluation, i);
        /* Each episode before this one has a row more than transitions. */
        known[i] = returns[episode->first - (size_t)(episode - data->episodes)];
        told[i] = 0;
        for (size_t e = 0; e < critics; e++) {
            told[i] += q[(e * n + i) * H + h] / (double)critics;
        }
    }
}

/* error(starts) <- how far models are from what the behaviour got, mean over tasks; *error is NULL
 * with critics, whose values go on behind a time limit, where what was logged ends. mem_free it. */
static status model_error(const struct evaluation *evaluation, const double *q, const size_t *tasks,
                          size_t n_tasks, double **error, struct err *err)
{
    const size_t n = evaluation_starts(evaluation);
    *error = NULL;
    if (!evaluation->by_model) {
        return STATUS_OK;
    }
    double *known = mem_array(n, sizeof *known), *told = mem_array(n, sizeof *told);
    double *returns = mem_array(evaluation->starts.data->n_transitions, sizeof *returns);
    double *made = mem_array(n, sizeof *made);
    const bool ok = known != NULL && told != NULL && returns != NULL && made != NULL;
    for (size_t k = 0; ok && k < n_tasks; k++) {
        behaviour_at_starts(evaluation, q, tasks[k], known, told, returns);
        for (size_t i = 0; i < n; i++) {
            made[i] += (told[i] - known[i]) / (double)n_tasks;
        }
    }
    mem_free(known);
    mem_free(told);
    mem_free(returns);
    if (!ok) {
        mem_free(made);
        return err_set(err, STATUS_NO_MEMORY, "errors at %zu starts", n);
    }
    *error = made;
    return STATUS_OK;
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
                const size_t h = evaluation_head(evaluation, p, tasks[k], success);
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
    double *error = NULL;
    status s = success ? STATUS_OK : model_error(evaluation, q, tasks, n_tasks, &error, err);
    const struct estimates_settings settings = {.n_critics = E,
                                                .n_policies = P,
                                                .n_starts = n_starts,
                                                .resamples = (size_t)options->resamples,
                                                .level = options->level,
                                                .error = error,
                                                .seed = (uint64_t)evaluation->experiment->seed};
    s = s == STATUS_OK ? estimates_make(out, values, &settings, err) : s;
    mem_free(values);
    mem_free(error);
    return s;
}

/* What the behaviour got from the starts, and what the critics say of it. */
static status estimate_behaviour(struct evaluation *evaluation, const double *q, struct err *err)
{
    const struct offline_evaluator_options *options = evaluation->options;
    const size_t n = evaluation_starts(evaluation);
    const uint64_t seed = (uint64_t)evaluation->experiment->seed;
    double *returns = mem_array(evaluation->starts.data->n_transitions, sizeof *returns);
    double *known = mem_array(n, sizeof *known), *told = mem_array(n, sizeof *told);
    status s = returns != NULL && known != NULL && told != NULL
                   ? STATUS_OK
                   : err_set(err, STATUS_NO_MEMORY, "returns");
    for (size_t k = 0; s == STATUS_OK && k < evaluation->data.K; k++) {
        struct behaviour *behaviour = &evaluation->behaviour[k];
        behaviour_at_starts(evaluation, q, k, known, told, returns);
        s = estimate_mean(&behaviour->known, known, n, (size_t)options->resamples, options->level,
                          seed, err);
        s = s != STATUS_OK ? s
                           : estimate_mean(&behaviour->estimated, told, n,
                                           (size_t)options->resamples, options->level, seed, err);
    }
    mem_free(returns);
    mem_free(known);
    mem_free(told);
    return s;
}

status values_find(struct evaluation *evaluation, const struct logged_data *starts, struct err *err)
{
    const size_t K = evaluation->data.K;
    const size_t n = starts->n_episodes;
    double *q =
        mem_array((size_t)evaluation->options->critics * n * (size_t)evaluation->H, sizeof *q);
    evaluation->tasks = mem_array(K, sizeof *evaluation->tasks);
    evaluation->support = mem_array(evaluation_columns(evaluation), sizeof *evaluation->support);
    if (q == NULL || evaluation->tasks == NULL || evaluation->support == NULL) {
        mem_free(q);
        return err_set(err, STATUS_NO_MEMORY, "values at %zu starts", n);
    }
    size_t all[SIGNATURE_TASKS_MAX] = {0}, sparse[SIGNATURE_TASKS_MAX] = {0}, n_sparse = 0;
    status s = evaluation->by_model ? rollout_values(evaluation, q, err)
                                    : start_values(evaluation, starts, q, err);
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
                              &evaluation->policies, (uint64_t)evaluation->experiment->seed,
                              evaluation->pool, err);
    mem_free(q);
    return s;
}

double values_support(const struct evaluation *evaluation, size_t p)
{
    double most = 0;
    for (size_t k = 0; k < evaluation->data.K; k++) {
        const double support = evaluation->support[p * evaluation->data.K + k];
        most = support > most ? support : most;
    }
    return most;
}
