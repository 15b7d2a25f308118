/* Checking a batch, drawing its tasks, and saving it.
 *
 * A batch comes off the wire. Its sizes and indices are checked here, once, before operators use
 * them without checks; the values of its rows are not: a NaN goes through the step, whose report is
 * then refused.
 *
 * Tasks are drawn from the seed, the step and the snippet's place in the global batch alone, so
 * that several ranks together draw what one alone would draw. */
#include "learner/step/batch.h"

#include <stdio.h>

#include "common/base/noise.h"
#include "common/networks/safetensors.h"
#include "learner/step/operators.h"

/* The tasks of snippet b are T different ones of 0 .. K-1. */
static status check_tasks(const struct batch *batch, const struct settings *settings, int b,
                          struct err *err)
{
    const int T = settings->T;
    /* A bit for each task that was seen. */
    uint32_t seen = 0;
    _Static_assert(SIGNATURE_TASKS_MAX <= 32, "a bit for each task");
    for (int i = 0; i < T; i++) {
        const int32_t task = batch->tasks[b * T + i];
        if (task < 0 || task >= settings->K) {
            return err_set(err, STATUS_INVALID, "snippet %d: task %d, expected 0..%d", b, task,
                           settings->K - 1);
        }
        /* Twice the same task would count its states twice. */
        if ((seen >> task & 1u) != 0) {
            return err_set(err, STATUS_INVALID, "snippet %d: task %d appears twice", b, task);
        }
        seen |= 1u << task;
    }
    return STATUS_OK;
}

status batch_check(const struct batch *batch, const struct settings *settings, struct err *err)
{
    /* Sizes first: the arrays are read by them. */
    if (batch->B < 1 || batch->N < 1) {
        return err_set(err, STATUS_INVALID, "batch of %d snippets of %d: expected 1 or more",
                       batch->B, batch->N);
    }
    /* Without a list every task is trained. */
    if (batch->tasks == NULL && settings->T != settings->K) {
        return err_set(err, STATUS_INVALID, "batch without tasks, but %d of %d are trained",
                       settings->T, settings->K);
    }
    /* Then the indices of every snippet; each message names the snippet. */
    for (int b = 0; b < batch->B; b++) {
        const uint32_t n = batch->n_valid[b];
        if (n < 1 || n > (uint32_t)batch->N) {
            return err_set(err, STATUS_INVALID, "snippet %d: %u valid transitions, expected 1..%d",
                           b, n, batch->N);
        }
        if (batch->tasks != NULL) {
            const status s = check_tasks(batch, settings, b, err);
            if (s != STATUS_OK) {
                return s;
            }
        }
        if (batch->weights != NULL &&
            !(batch->weights[b] > 0.0 && batch->weights[b] <= BATCH_WEIGHT_MAX)) {
            return err_set(err, STATUS_INVALID, "snippet %d: weight %g, expected above 0, up to %g",
                           b, batch->weights[b], BATCH_WEIGHT_MAX);
        }
    }
    return STATUS_OK;
}

void batch_draw_tasks(int32_t *tasks, const struct settings *settings, uint64_t step,
                      uint64_t begin, int B)
{
    const int K = settings->K;
    const int T = settings->T;
    ASSERT(T >= 1 && T <= K);
    for (int b = 0; b < B; b++) {
        /* Numbers are drawn by the snippet's place in the global batch. */
        int32_t order[SIGNATURE_TASKS_MAX];
        for (int k = 0; k < K; k++) {
            order[k] = k;
        }
        /* The first T steps of a shuffle; none where all are trained. */
        for (int i = 0; i < T && T < K; i++) {
            const uint64_t element = (begin + (uint64_t)b) * (uint64_t)K + (uint64_t)i;
            const int j =
                i + (int)noise_below((uint64_t)(K - i), settings->seed, step, NOISE_TASKS, element);
            const int32_t swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
        /* The first T of the order are the snippet's. */
        for (int i = 0; i < T; i++) {
            tasks[b * T + i] = order[i];
        }
    }
}

status batch_save(const struct batch *batch, const struct settings *settings, uint64_t step,
                  const char *path, struct err *err)
{
    struct safetensors_writer *writer;
    status s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        return err_set(err, s, "batch");
    }
    const size_t B = (size_t)batch->B;
    /* The tensors are what failed_step_load reads. */
    const size_t rows[3] = {B, (size_t)batch->N + 1, (size_t)settings_row_width(settings)};
    const size_t tasks[2] = {B, (size_t)settings->T};
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)step);
    /* Tasks and weights are written only where the batch has them. */
    s = safetensors_add(writer, "rows", SAFETENSORS_F32, 3, rows, batch->rows, err);
    s = s != STATUS_OK
            ? s
            : safetensors_add(writer, "valid", SAFETENSORS_I32, 1, &B, batch->n_valid, err);
    if (s == STATUS_OK && batch->tasks != NULL) {
        s = safetensors_add(writer, "tasks", SAFETENSORS_I32, 2, tasks, batch->tasks, err);
    }
    if (s == STATUS_OK && batch->weights != NULL) {
        s = safetensors_add(writer, "weights", SAFETENSORS_F64, 1, &B, batch->weights, err);
    }
    s = s != STATUS_OK ? s : safetensors_note(writer, "step", number, err);
    s = s != STATUS_OK ? s : safetensors_replace(writer, path, err);
    safetensors_writer_free(writer);
    return s;
}
