/* The loop over steps: batches out of the logged data, checkpoints between. See fitting.h.
 *
 * Critic e draws its transitions from a resample of the episodes, by noise of (seed + e, step), so
 * that a batch is a function of its number and an evaluation that goes on has the same bits as one
 * that was not disturbed. A single critic has all episodes.
 *
 * In the first steps the targets are the logged returns: from there the values of a policy that is
 * close to the logs' are near, while from 0 they come one target at a time (docs/maths.md, section
 * 7). */
#include "offline_evaluator/fitting.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/gaussian.h"
#include "common/networks/safetensors.h"
#include "offline_evaluator/resample.h"
#include "offline_evaluator/rollout.h"

#define LOG_MODULE "offline_evaluator"
#include "common/base/log.h"

#define DRAW_PURPOSE    0x66716472u /* "fqdr" */
#define SAMPLE_PURPOSE  0x66717361u /* "fqsa" */
#define EPISODE_PURPOSE 0x66716570u /* "fqep" */
#define TIME_PURPOSE    0x6671746du /* "fqtm" */
#define FORMAT          "hindcast-offline-evaluation-1"
#define CHECKPOINT_MAX  (1u << 30)
#define TOLD_EVERY      20 /* steps */

static const char *const block_names[FITTED_Q_BLOCKS] = {"params", "target", "m", "v"};

/* ---- Batches ---- */

struct fitting {
    struct evaluation *evaluation;
    float *x, *a, *next_x, *next_a, *r, *d, *weights, *z;
    double *y;
    double *goals; /* (transitions,H) logged returns, or what a model learns */
    struct resample resamples[EVALUATION_CRITICS_MAX];
    int B, M;
    size_t H; /* outputs */
};

static void free_fitting(struct fitting *fit)
{
    mem_free(fit->x);
    mem_free(fit->a);
    mem_free(fit->next_x);
    mem_free(fit->next_a);
    mem_free(fit->r);
    mem_free(fit->d);
    mem_free(fit->weights);
    mem_free(fit->z);
    mem_free(fit->y);
    mem_free(fit->goals);
    for (int64_t e = 0; e < fit->evaluation->options->critics; e++) {
        resample_fini(&fit->resamples[e]);
    }
}

/* Logged returns of each transition for each head; heads with the same reward and discount share
 * them. */
static status make_returns(struct fitting *fit)
{
    const struct evaluation *evaluation = fit->evaluation;
    const struct logged_data *data = &evaluation->data;
    const size_t H = fit->H;
    double *one = mem_array(data->n_transitions, sizeof *one);
    for (size_t h = 0; one != NULL && h < H; h++) {
        const struct fitted_q_head *head = &evaluation->heads[h];
        size_t same = 0;
        while (evaluation->heads[same].reward != head->reward ||
               evaluation->heads[same].gamma != head->gamma) {
            same++;
        }
        if (same == h) {
            logged_data_returns(data, (size_t)head->reward, head->gamma, one);
        }
        for (size_t t = 0; t < data->n_transitions; t++) {
            fit->goals[t * H + h] = same == h ? one[t] : fit->goals[t * H + same];
        }
    }
    const bool ok = one != NULL;
    mem_free(one);
    return ok ? STATUS_OK : STATUS_NO_MEMORY;
}

static status make_goals(struct fitting *fit)
{
    const struct logged_data *data = &fit->evaluation->data;
    fit->goals = mem_array(data->n_transitions * fit->H, sizeof *fit->goals);
    if (fit->goals == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (fit->evaluation->by_model) {
        rollout_targets(data, fit->goals);
        return STATUS_OK;
    }
    return make_returns(fit);
}

/* Which episodes each critic learns from. */
static status make_resamples(struct fitting *fit)
{
    const struct evaluation *evaluation = fit->evaluation;
    const int64_t n = evaluation->options->critics;
    status s = STATUS_OK;
    for (int64_t e = 0; s == STATUS_OK && e < n; e++) {
        s = resample_init(&fit->resamples[e], &evaluation->data, n == 1,
                          (uint64_t)evaluation->experiment->seed, (uint64_t)e);
    }
    return s;
}

static status make_fitting(struct fitting *fit, struct evaluation *evaluation, struct err *err)
{
    const struct logged_data *data = &evaluation->data;
    const size_t B = (size_t)evaluation->options->batch_transitions;
    const size_t H = (size_t)(evaluation->by_model ? data->O + data->K : (size_t)evaluation->H);
    const bool by_samples = evaluation_by_samples(evaluation);
    *fit = (struct fitting){.evaluation = evaluation,
                            .B = (int)B,
                            .M = by_samples ? (int)evaluation->options->samples : 1,
                            .H = H};
    const size_t actions = evaluation_columns(evaluation) * (size_t)fit->M * data->A;
    fit->x = mem_array(B * data->O, sizeof(float));
    fit->next_x = mem_array(B * data->O, sizeof(float));
    fit->a = mem_array(B * data->A, sizeof(float));
    fit->next_a = mem_array(B * actions, sizeof(float));
    fit->r = mem_array(B * data->K, sizeof(float));
    fit->d = mem_array(B, sizeof(float));
    fit->weights = mem_array(B * H, sizeof(float));
    fit->y = mem_array(B * H, sizeof(double));
    fit->z = mem_array(actions, sizeof(float));
    if (fit->x == NULL || fit->next_x == NULL || fit->a == NULL || fit->next_a == NULL ||
        fit->r == NULL || fit->d == NULL || fit->weights == NULL || fit->y == NULL ||
        fit->z == NULL || make_goals(fit) != STATUS_OK || make_resamples(fit) != STATUS_OK) {
        return err_set(err, STATUS_NO_MEMORY, "batches of %zu transitions", B);
    }
    return STATUS_OK;
}

/* to(C,M,A) <- the columns' actions at a row. */
static void take_actions(struct fitting *fit, float *to, size_t row, uint64_t seed, uint64_t step,
                         size_t b)
{
    const struct columns *columns = &fit->evaluation->columns;
    const size_t n = columns->C * columns->A;
    const float *mean = columns->mean + row * n;
    if (columns->std == NULL) {
        memcpy(to, mean, n * sizeof *to);
        return;
    }
    const size_t M = (size_t)fit->M, A = columns->A;
    const float *std = columns->std + row * n;
    noise_normal(fit->z, n * M, seed, step, SAMPLE_PURPOSE, (uint64_t)b * n * M);
    for (size_t c = 0; c < columns->C; c++) {
        gaussian_sample(to + c * M * A, mean + c * A, std + c * A, fit->z + c * M * A, (int)M,
                        (int)A);
    }
    gaussian_clip(to, to, n * M);
}

/* A model is right first where policies begin: every second transition of its batch comes from a
 * step t of its episode that is as likely as what it counts in a value, gamma^t. */
static size_t draw(const struct fitting *fit, int e, uint64_t seed, uint64_t step, size_t b)
{
    const struct evaluation *evaluation = fit->evaluation;
    const struct logged_data *data = &evaluation->data;
    const struct resample *resample = &fit->resamples[e];
    if (!evaluation->by_model || b % 2 == 0) {
        return resample_transition(
            resample, data, noise_below(resample_size(resample), seed, step, DRAW_PURPOSE, b));
    }
    const uint64_t k = noise_below(resample->n, seed, step, EPISODE_PURPOSE, b);
    const double u = (double)noise_below(1ull << 53, seed, step, TIME_PURPOSE, b) * 0x1p-53;
    const uint32_t T = data->episodes[resample->episodes[k]].T;
    const double rate = log(evaluation->gamma); /* 0: all are as likely */
    const double t = rate < 0 ? log1p(-u * (1 - exp(rate * T))) / rate : u * T;
    const uint64_t first = resample->ends[k] - T;
    return resample_transition(resample, data, first + (t < T ? (uint64_t)t : T - 1));
}

/* Fills in the batch of critic e at this step; `regress`: towards the goals. */
static struct fitted_q_batch next_batch(struct fitting *fit, int e, uint64_t step, bool regress)
{
    const struct evaluation *evaluation = fit->evaluation;
    const struct logged_data *data = &evaluation->data;
    const size_t O = data->O, A = data->A, K = data->K, H = fit->H;
    const uint64_t seed = (uint64_t)evaluation->experiment->seed + (uint64_t)e;
    const size_t actions = evaluation_columns(evaluation) * (size_t)fit->M * A;
    const int behaviour = (int)evaluation_columns(evaluation) - 1;
    for (size_t b = 0; b < (size_t)fit->B; b++) {
        const size_t t = draw(fit, e, seed, step, b);
        const size_t row = data->transitions[t];
        const bool last = t + 1 == data->n_transitions || data->transitions[t + 1] != row + 1;
        memcpy(fit->x + b * O, evaluation->x + row * O, O * sizeof *fit->x);
        memcpy(fit->next_x + b * O, evaluation->x + (row + 1) * O, O * sizeof *fit->x);
        memcpy(fit->a + b * A, logged_action(data, row), A * sizeof *fit->a);
        memcpy(fit->r + b * K, logged_row(data, row) + O + A, K * sizeof *fit->r);
        fit->d[b] = (float)logged_discount(data, row);
        if (!regress) {
            take_actions(fit, fit->next_a + b * actions, row + 1, seed, step, b);
        }
        /* After a time limit nobody knows what the behaviour would have done. */
        const bool unknown = last && fit->d[b] != 0.0f;
        for (size_t h = 0; h < H; h++) {
            const bool ignored = !regress && unknown && evaluation->heads[h].column == behaviour;
            fit->weights[b * H + h] = ignored ? 0.0f : 1.0f;
            fit->y[b * H + h] = fit->goals[t * H + h];
        }
    }
    return (struct fitted_q_batch){.B = fit->B,
                                   .x = fit->x,
                                   .a = fit->a,
                                   .next_x = fit->next_x,
                                   .next_a = fit->next_a,
                                   .r = fit->r,
                                   .d = fit->d,
                                   .weights = fit->weights,
                                   .y = regress ? fit->y : NULL};
}

/* ---- Checkpoints ---- */

static void checkpoint_path(char path[PATH_MAX], const struct evaluation *evaluation)
{
    char report[PATH_MAX - 16];
    evaluation_report_path(report, sizeof report, evaluation->experiment, evaluation->options);
    snprintf(path, PATH_MAX, "%s.checkpoint", report);
}

/* All critics and what they belong to, in one file. */
static status write_checkpoint(const struct evaluation *evaluation, struct err *err)
{
    struct safetensors_writer *writer;
    status s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        return err_set(err, s, "checkpoint");
    }
    char path[PATH_MAX], text[40];
    checkpoint_path(path, evaluation);
    for (int64_t e = 0; s == STATUS_OK && e < evaluation->options->critics; e++) {
        const size_t size = fitted_q_size(evaluation->critics[e]);
        for (int b = 0; s == STATUS_OK && b < FITTED_Q_BLOCKS; b++) {
            char name[48];
            snprintf(name, sizeof name, "critic/%" PRId64 "/%s", e, block_names[b]);
            s = safetensors_add(writer, name, SAFETENSORS_F32, 1, &size,
                                fitted_q_read(evaluation->critics[e], (enum fitted_q_block)b), err);
        }
    }
    snprintf(text, sizeof text, "%016" PRIx64, evaluation->digest);
    s = s != STATUS_OK ? s : safetensors_note(writer, "format", FORMAT, err);
    s = s != STATUS_OK ? s : safetensors_note(writer, "digest", text, err);
    snprintf(text, sizeof text, "%" PRIu64, fitted_q_steps(evaluation->critics[0]));
    s = s != STATUS_OK ? s : safetensors_note(writer, "step", text, err);
    s = s != STATUS_OK ? s : safetensors_replace(writer, path, err);
    safetensors_writer_free(writer);
    return s == STATUS_OK ? s : err_context(err, s, "%s", path);
}

/* Reads one critic; `blocks` is memory for it. */
static status read_critic(const struct safetensors *file, struct fitted_q *critic, int64_t e,
                          uint64_t step, float *blocks, struct err *err)
{
    const size_t size = fitted_q_size(critic);
    const float *parts[FITTED_Q_BLOCKS];
    status s = STATUS_OK;
    for (int b = 0; s == STATUS_OK && b < FITTED_Q_BLOCKS; b++) {
        char name[48];
        snprintf(name, sizeof name, "critic/%" PRId64 "/%s", e, block_names[b]);
        parts[b] = blocks + (size_t)b * size;
        s = safetensors_copy(file, name, SAFETENSORS_F32, 1, &size, blocks + (size_t)b * size, err);
    }
    if (s == STATUS_OK) {
        fitted_q_restore(critic, parts, step);
    }
    return s;
}

/* Goes on from a checkpoint of the same evaluation. A file of another one, or a damaged one, is
 * passed over: it is written again. */
static void resume(struct evaluation *evaluation)
{
    struct safetensors *file;
    struct err err;
    char path[PATH_MAX], digest[40];
    checkpoint_path(path, evaluation);
    status s = safetensors_read(&file, path, CHECKPOINT_MAX, &err);
    if (s != STATUS_OK) {
        if (s != STATUS_NOT_FOUND) {
            log_warn("the evaluation begins anew: %s", err.text);
        }
        return;
    }
    const char *found = safetensors_metadata(file, "digest");
    const char *step = safetensors_metadata(file, "step");
    snprintf(digest, sizeof digest, "%016" PRIx64, evaluation->digest);
    if (found == NULL || step == NULL || strcmp(found, digest) != 0) {
        log_info("the evaluation begins anew: %s is of other policies, logs or options", path);
        safetensors_free(file);
        return;
    }
    const size_t size = fitted_q_size(evaluation->critics[0]);
    float *blocks = mem_array(FITTED_Q_BLOCKS * size, sizeof *blocks);
    const uint64_t steps = strtoull(step, NULL, 10);
    for (int64_t e = 0; blocks != NULL && s == STATUS_OK && e < evaluation->options->critics; e++) {
        s = read_critic(file, evaluation->critics[e], e, steps, blocks, &err);
    }
    if (s == STATUS_OK && blocks != NULL) {
        log_info("the evaluation goes on step=%" PRIu64, steps);
    } else {
        log_warn("%s: %s", path, blocks == NULL ? "out of memory" : err.text);
    }
    mem_free(blocks);
    safetensors_free(file);
}

/* ---- Steps ---- */

/* The rate falls by a cosine to a tenth: what is read at the end is then less the noise of the last
 * batches. */
static double rate_at(uint64_t step, uint64_t steps)
{
    const double done = (double)step / (double)steps;
    return 0.1 + 0.9 * 0.5 * (1 + cos(3.14159265358979 * done));
}

/* One step of every critic. *loss is their mean. */
static status take_step(struct fitting *fit, uint64_t step, double *loss, struct err *err)
{
    struct evaluation *evaluation = fit->evaluation;
    const struct offline_evaluator_options *options = evaluation->options;
    const bool regress =
        evaluation->by_model || (double)step < options->warm_up * (double)evaluation->steps;
    *loss = 0;
    for (int e = 0; e < options->critics; e++) {
        const struct fitted_q_batch batch = next_batch(fit, e, step, regress);
        *loss += fitted_q_step(evaluation->critics[e], &batch, rate_at(step, evaluation->steps)) /
                 (double)options->critics;
    }
    return isfinite(*loss) && *loss < 1e6
               ? STATUS_OK
               : err_set(err, STATUS_INVALID,
                         "step %" PRIu64 ": loss %g: the critics have diverged: expected a lower "
                         "offline_evaluator.lr (now %g) or gamma (now %g)",
                         step, *loss, options->lr, evaluation->gamma);
}

static void tell(const struct evaluation *evaluation, uint64_t step)
{
    char text[128];
    const uint64_t steps = evaluation->steps;
    snprintf(text, sizeof text, "step %" PRIu64 "/%" PRIu64 "  loss %.3g", step, steps,
             evaluation->loss);
    evaluation->progress(evaluation->arg, (double)step / (double)steps, text);
}

static status take_steps(struct fitting *fit, struct err *err)
{
    struct evaluation *evaluation = fit->evaluation;
    const struct offline_evaluator_options *options = evaluation->options;
    const uint64_t steps = evaluation->steps;
    uint64_t written_ns = clock_now_ns();
    for (uint64_t step = fitted_q_steps(evaluation->critics[0]); step < steps; step++) {
        double loss;
        status s = take_step(fit, step, &loss, err);
        if (s != STATUS_OK) {
            return s;
        }
        evaluation->loss += 0.02 * (loss - evaluation->loss);
        const bool stopping = evaluation->stopping(evaluation->arg);
        const double seconds = (double)(clock_now_ns() - written_ns) / 1e9;
        const bool due =
            options->checkpoint_every_seconds > 0 && seconds >= options->checkpoint_every_seconds;
        if (step % TOLD_EVERY == 0) {
            tell(evaluation, step + 1);
        }
        if (due || stopping || step + 1 == steps) {
            s = write_checkpoint(evaluation, err);
            written_ns = clock_now_ns();
        }
        if (s != STATUS_OK || stopping) {
            return s != STATUS_OK ? s : err_set(err, STATUS_CLOSED, "stopping");
        }
    }
    return STATUS_OK;
}

status fitting_run(struct evaluation *evaluation, struct err *err)
{
    struct fitting fit;
    resume(evaluation);
    status s = make_fitting(&fit, evaluation, err);
    s = s != STATUS_OK ? s : take_steps(&fit, err);
    free_fitting(&fit);
    return s;
}
