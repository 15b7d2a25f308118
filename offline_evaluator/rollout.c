/* Rollouts of all policies, side by side: see rollout.h. */
#include "offline_evaluator/rollout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/gaussian.h"
#include "common/networks/kernels.h"
#include "common/networks/normalizer.h"
#include "offline_evaluator/acting.h"

#define REST           0.01 /* of a value; what may be left out */
#define HORIZON_MAX    2000 /* steps */
#define RESIDUAL_ROWS  4096
#define SAMPLE_PURPOSE 0x726f7361u /* "rosa" */
#define NOISE_PURPOSE  0x726f6e6fu /* "rono" */

/* ---- What a model learns ---- */

static double target_of(const struct logged_data *data, size_t t, size_t h)
{
    const size_t row = data->transitions[t];
    return h < data->O ? (double)logged_row(data, row + 1)[h] - (double)logged_row(data, row)[h]
                       : logged_reward(data, row, h - data->O);
}

struct fitted_q_head *rollout_outputs(const struct logged_data *data)
{
    const size_t H = data->O + data->K;
    struct fitted_q_head *outputs = mem_array(H, sizeof *outputs);
    for (size_t h = 0; outputs != NULL && h < H; h++) {
        double sum = 0, squares = 0;
        for (size_t t = 0; t < data->n_transitions; t++) {
            const double y = target_of(data, t, h);
            sum += y;
            squares += y * y;
        }
        const double n = (double)data->n_transitions, mean = sum / n;
        const double variance = squares / n - mean * mean;
        outputs[h] = (struct fitted_q_head){.offset = mean,
                                            .scale = variance > 1e-24 ? sqrt(variance) : 1,
                                            .low = -INFINITY,
                                            .high = INFINITY};
    }
    return outputs;
}

void rollout_targets(const struct logged_data *data, double *targets)
{
    const size_t H = data->O + data->K;
    for (size_t t = 0; t < data->n_transitions; t++) {
        for (size_t h = 0; h < H; h++) {
            targets[t * H + h] = target_of(data, t, h);
        }
    }
}

/* ---- Rollouts ---- */

/* Of one model; columns as those of the evaluation, the behaviour's last. */
struct rollouts {
    const struct evaluation *evaluation;
    size_t C, n, O, A, K, H; /* columns, starts, .., outputs of the model */
    float *low, *high;       /* (O + K): ranges in the logs */
    float *o, *x;            /* (C,n,O) physical, normalized */
    float *a;                /* (C,n,A) */
    double *y;               /* (C,n,H) */
    double *weight;          /* (heads): gamma^t */
    float *residual;         /* (O) std of what the model does not explain */
    float *noise;            /* (n,O) standard normals of this step, the same for all columns */
    struct acting *acting;   /* (C - 1) */
    float *std, *z;          /* (C,n,A) */
    size_t step;
    int n_threads;
};

static void rollouts_fini(struct rollouts *rollouts)
{
    for (size_t c = 0; rollouts->acting != NULL && c + 1 < rollouts->C; c++) {
        acting_fini(&rollouts->acting[c]);
    }
    mem_free(rollouts->acting);
    mem_free(rollouts->low);
    mem_free(rollouts->high);
    mem_free(rollouts->o);
    mem_free(rollouts->x);
    mem_free(rollouts->a);
    mem_free(rollouts->y);
    mem_free(rollouts->weight);
    mem_free(rollouts->residual);
    mem_free(rollouts->noise);
    mem_free(rollouts->std);
    mem_free(rollouts->z);
}

/* low, high <- the least and the largest observation and reward. */
static void find_ranges(struct rollouts *rollouts)
{
    const struct logged_data *data = &rollouts->evaluation->data;
    for (size_t i = 0; i < data->O + data->K; i++) {
        rollouts->low[i] = INFINITY;
        rollouts->high[i] = -INFINITY;
    }
    for (size_t t = 0; t < data->n_transitions; t++) {
        const float *row = logged_row(data, data->transitions[t]);
        for (size_t i = 0; i < data->O + data->K; i++) {
            const float value = row[i < data->O ? i : i + data->A];
            rollouts->low[i] = value < rollouts->low[i] ? value : rollouts->low[i];
            rollouts->high[i] = value > rollouts->high[i] ? value : rollouts->high[i];
        }
    }
}

static status rollouts_init(struct rollouts *rollouts, const struct evaluation *evaluation)
{
    const struct logged_data *data = &evaluation->data;
    const size_t C = evaluation_columns(evaluation), n = evaluation_starts(evaluation);
    const size_t O = data->O, A = data->A, K = data->K;
    *rollouts = (struct rollouts){.evaluation = evaluation,
                                  .C = C,
                                  .n = n,
                                  .O = O,
                                  .A = A,
                                  .K = K,
                                  .H = O + K,
                                  .low = mem_array(O + K, sizeof(float)),
                                  .high = mem_array(O + K, sizeof(float)),
                                  .o = mem_array(C * n * O, sizeof(float)),
                                  .x = mem_array(C * n * O, sizeof(float)),
                                  .a = mem_array(C * n * A, sizeof(float)),
                                  .std = mem_array(C * n * A, sizeof(float)),
                                  .z = mem_array(C * n * A, sizeof(float)),
                                  .y = mem_array(C * n * (O + K), sizeof(double)),
                                  .weight = mem_array((size_t)evaluation->H, sizeof(double)),
                                  .residual = mem_array(O, sizeof(float)),
                                  .noise = mem_array(n * O, sizeof(float)),
                                  .acting = mem_array(C, sizeof(struct acting)),
                                  .n_threads = thread_pool_size(evaluation->pool)};
    bool ok = rollouts->low != NULL && rollouts->high != NULL && rollouts->o != NULL &&
              rollouts->x != NULL && rollouts->a != NULL && rollouts->std != NULL &&
              rollouts->z != NULL && rollouts->y != NULL && rollouts->weight != NULL &&
              rollouts->residual != NULL && rollouts->noise != NULL && rollouts->acting != NULL;
    for (size_t c = 0; ok && c + 1 < C; c++) {
        ok = acting_init(&rollouts->acting[c], evaluation->policies.items[c / K].policy, n) ==
             STATUS_OK;
    }
    if (!ok) {
        rollouts_fini(rollouts);
        return STATUS_NO_MEMORY;
    }
    find_ranges(rollouts);
    return STATUS_OK;
}

/* The behaviour's actions: those that were logged, as long as the episode lasted. */
static void replay_actions(struct rollouts *rollouts, float *a)
{
    const struct logged_data *starts = rollouts->evaluation->starts.data;
    for (size_t i = 0; i < rollouts->n; i++) {
        const struct logged_episode *episode = evaluation_start(rollouts->evaluation, i);
        if (rollouts->step < episode->T) {
            gaussian_clip(a + i * rollouts->A,
                          logged_action(starts, episode->first + rollouts->step), rollouts->A);
        }
    }
}

/* Thread k: its columns act, and their inputs to the model are made. */
static void work_act(void *arg, int k)
{
    struct rollouts *rollouts = arg;
    const struct evaluation *evaluation = rollouts->evaluation;
    const size_t n = rollouts->n, O = rollouts->O, A = rollouts->A;
    const struct normalizer normalizer = {evaluation->mean, evaluation->scale, O};
    const bool by_samples = evaluation_by_samples(evaluation);
    const uint64_t seed = (uint64_t)evaluation->experiment->seed;
    kernels_thread_begin();
    for (size_t c = (size_t)k; c < rollouts->C; c += (size_t)rollouts->n_threads) {
        float *a = rollouts->a + c * n * A, *std = rollouts->std + c * n * A;
        const struct acting_states states = {.observations = rollouts->o + c * n * O,
                                             .stride = O,
                                             .n = n,
                                             .task = c % rollouts->K,
                                             .seed = seed,
                                             .step = rollouts->step,
                                             .element = c * n};
        if (c + 1 == rollouts->C) {
            replay_actions(rollouts, a);
        } else {
            acting_take(&rollouts->acting[c], a, std, by_samples, &states);
        }
        if (by_samples && c + 1 < rollouts->C) {
            float *z = rollouts->z + c * n * A;
            noise_normal(z, n * A, seed, rollouts->step, SAMPLE_PURPOSE, c * n * A);
            for (size_t i = 0; i < n * A; i++) {
                a[i] += std[i] * z[i];
            }
            gaussian_clip(a, a, n * A);
        }
        for (size_t i = 0; i < n; i++) {
            normalizer_apply(&normalizer, rollouts->x + (c * n + i) * O,
                             rollouts->o + (c * n + i) * O);
        }
    }
    kernels_thread_end();
}

static float bounded(double value, float low, float high)
{
    return value < (double)low ? low : value > (double)high ? high : (float)value;
}

/* Rewards of this step to the values q(starts,heads), and the observations one step on. */
static void take_step(struct rollouts *rollouts, double *q)
{
    const struct evaluation *evaluation = rollouts->evaluation;
    const size_t n = rollouts->n, O = rollouts->O, heads = (size_t)evaluation->H;
    for (size_t h = 0; h < heads; h++) {
        const struct fitted_q_head *head = &evaluation->heads[h];
        const size_t c = (size_t)head->column, k = O + (size_t)head->reward;
        for (size_t i = 0; i < n; i++) {
            const double r = rollouts->y[(c * n + i) * rollouts->H + k];
            const bool over =
                c + 1 == rollouts->C && rollouts->step >= evaluation_start(evaluation, i)->T;
            if (!over) {
                q[i * heads + h] +=
                    rollouts->weight[h] * (double)bounded(r, rollouts->low[k], rollouts->high[k]);
            }
        }
        rollouts->weight[h] *= head->gamma;
    }
    noise_normal(rollouts->noise, n * O, (uint64_t)evaluation->experiment->seed, rollouts->step,
                 NOISE_PURPOSE, 0);
    for (size_t s = 0; s < rollouts->C * n; s++) {
        for (size_t i = 0; i < O; i++) {
            float *o = rollouts->o + s * O + i;
            const double noise =
                (double)rollouts->residual[i] * (double)rollouts->noise[s % n * O + i];
            *o = bounded((double)*o + rollouts->y[s * rollouts->H + i] + noise, rollouts->low[i],
                         rollouts->high[i]);
        }
    }
    rollouts->step++;
}

/* residual(O) <- of model e at some logged transitions. */
static status find_residuals(struct rollouts *rollouts, size_t e)
{
    const struct evaluation *evaluation = rollouts->evaluation;
    const struct logged_data *data = &evaluation->data;
    const size_t O = rollouts->O, A = rollouts->A, H = rollouts->H;
    const size_t n = data->n_transitions < RESIDUAL_ROWS ? data->n_transitions : RESIDUAL_ROWS;
    float *x = mem_array(n * O, sizeof *x), *a = mem_array(n * A, sizeof *a);
    double *y = mem_array(n * H, sizeof *y);
    const bool ok = x != NULL && a != NULL && y != NULL;
    if (ok) {
        memset(rollouts->residual, 0, O * sizeof *rollouts->residual);
        for (size_t i = 0; i < n; i++) {
            const size_t row = data->transitions[data->n_transitions / n * i];
            memcpy(x + i * O, evaluation->x + row * O, O * sizeof *x);
            gaussian_clip(a + i * A, logged_action(data, row), A);
        }
        fitted_q_values(evaluation->critics[e], y, x, a, (int)n);
        for (size_t i = 0; i < n; i++) {
            const size_t t = data->n_transitions / n * i;
            for (size_t k = 0; k < O; k++) {
                const double error = y[i * H + k] - target_of(data, t, k);
                rollouts->residual[k] += (float)(error * error / (double)n);
            }
        }
        for (size_t k = 0; k < O; k++) {
            rollouts->residual[k] = sqrtf(rollouts->residual[k]);
        }
    }
    mem_free(x);
    mem_free(a);
    mem_free(y);
    return ok ? STATUS_OK : STATUS_NO_MEMORY;
}

/* Until what is left counts less than REST; without a discount, as long as the longest episode, but at
 * most HORIZON_MAX: an endless log has no length that its policies could be compared over. */
static size_t horizon(const struct evaluation *evaluation)
{
    if (evaluation->gamma < 1) {
        return (size_t)ceil(log(REST) / log(evaluation->gamma));
    }
    size_t longest = 0;
    for (size_t e = 0; e < evaluation->data.n_episodes; e++) {
        const size_t T = evaluation->data.episodes[e].T;
        longest = T > longest ? T : longest;
    }
    return longest < HORIZON_MAX ? longest : HORIZON_MAX;
}

/* All columns from all starts, in model e. */
static status roll(struct rollouts *rollouts, size_t e, double *q, struct err *err)
{
    const struct evaluation *evaluation = rollouts->evaluation;
    const struct logged_data *starts = evaluation->starts.data;
    const size_t n = rollouts->n, O = rollouts->O, heads = (size_t)evaluation->H;
    const size_t steps = horizon(evaluation);
    for (size_t s = 0; s < rollouts->C * n; s++) {
        memcpy(rollouts->o + s * O, logged_row(starts, evaluation_start(evaluation, s % n)->first),
               O * sizeof *rollouts->o);
    }
    for (size_t h = 0; h < heads; h++) {
        rollouts->weight[h] = 1;
    }
    memset(q, 0, n * heads * sizeof *q);
    memset(rollouts->a, 0, rollouts->C * n * rollouts->A * sizeof *rollouts->a);
    if (find_residuals(rollouts, e) != STATUS_OK) {
        return err_set(err, STATUS_NO_MEMORY, "residuals of a model");
    }
    for (rollouts->step = 0; rollouts->step < steps;) {
        thread_pool_run(evaluation->pool, work_act, rollouts);
        fitted_q_values(evaluation->critics[e], rollouts->y, rollouts->x, rollouts->a,
                        (int)(rollouts->C * n));
        take_step(rollouts, q);
        if (evaluation->stopping(evaluation->arg)) {
            return err_set(err, STATUS_CLOSED, "stopping");
        }
    }
    return STATUS_OK;
}

status rollout_values(const struct evaluation *evaluation, double *q, struct err *err)
{
    struct rollouts rollouts;
    if (rollouts_init(&rollouts, evaluation) != STATUS_OK) {
        return err_set(err, STATUS_NO_MEMORY, "rollouts from %zu starts",
                       evaluation_starts(evaluation));
    }
    status s = STATUS_OK;
    for (size_t e = 0; s == STATUS_OK && e < (size_t)evaluation->options->critics; e++) {
        char text[64];
        snprintf(text, sizeof text, "rollouts in model %zu", e + 1);
        evaluation->progress(evaluation->arg, 1, text);
        s = roll(&rollouts, e, q + e * rollouts.n * (size_t)evaluation->H, err);
    }
    rollouts_fini(&rollouts);
    return s;
}
