/* A failed step, written and read again: see failed_step.h.
 *
 * Both files may be read on another machine and by another version, so that reading checks all that
 * it uses: every setting must be in the state's file, the batch must fit the settings.
 *
 * Keeping is best effort: whatever goes wrong is logged, since the step's own failure is what the
 * run ends with. Reading returns a struct that owns state and batch until failed_step_free. */
#include "learner/step/failed_step.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/kernels.h"
#include "common/networks/safetensors.h"

#define LOG_MODULE "failed_step"
#include "common/base/log.h"

#define BYTES_MAX   (4ull << 30)
#define BATCH_NAME  "failed-batch-"
#define STATE_NAME  "failed-state-"
#define THREADS_MAX 1024

/* ---- Keeping ---- */

void failed_step_keep(const char *run_dir, const char *suffix, const struct state *state,
                      const struct settings *settings, const struct batch *batch, int threads)
{
    /* Both names carry the number of steps done before, as a checkpoint's does. */
    char batch_path[PATH_MAX], state_path[PATH_MAX], number[16], begin[24];
    struct err err = {0};
    snprintf(batch_path, sizeof batch_path, "%s/" BATCH_NAME "%08" PRIu64 "%s.safetensors", run_dir,
             state_step(state), suffix);
    snprintf(state_path, sizeof state_path, "%s/" STATE_NAME "%08" PRIu64 "%s.safetensors", run_dir,
             state_step(state), suffix);
    snprintf(number, sizeof number, "%d", threads);
    snprintf(begin, sizeof begin, "%" PRIu64, batch->begin);
    /* What else decides a step's bits, beside settings, state and batch. */
    const struct state_note notes[] = {
        {"threads", number}, {"kernels", kernels_name()}, {"begin", begin}};
    if (batch_save(batch, settings, state_step(state), batch_path, &err) != STATUS_OK ||
        state_save(state, settings, notes, sizeof notes / sizeof notes[0], state_path, &err) !=
            STATUS_OK) {
        log_error("the failed step cannot be kept: %s", err.text);
        return;
    }
    log_error("step %" PRIu64
              " failed; its inputs are kept. The checkpoints are older batch=%s state=%s",
              state_step(state) + 1, batch_path, state_path);
    log_error("to see where: hindcast-learner --rerun_step=%s", batch_path);
}

/* ---- Reading ---- */

/* A whole number from..to in a file's metadata. */
static status read_number(const struct safetensors *file, const char *key, uint64_t from,
                          uint64_t to, uint64_t *number, struct err *err)
{
    const char *text = safetensors_metadata(file, key);
    char *end = NULL;
    const unsigned long long value = text != NULL ? strtoull(text, &end, 10) : 0;
    /* strtoull would accept a sign and ignore what follows the digits. */
    if (text == NULL || end == text || *end != '\0' || text[0] == '-' || value < from ||
        value > to) {
        return err_set(err, STATUS_CORRUPT,
                       "metadata %s '%.32s': expected a whole number %" PRIu64 "..%" PRIu64, key,
                       text != NULL ? text : "(absent)", from, to);
    }
    *number = value;
    return STATUS_OK;
}

/* What read_setting, a callback, needs: where to read, what to set, and the first error. */
struct setting_reader {
    const struct safetensors *file;
    struct settings *settings;
    status result;
    struct err *err;
};

/* Called by settings_visit: sets one setting from its metadata. */
static void read_setting(void *arg, const char *name, const char *default_text)
{
    (void)default_text;
    struct setting_reader *reader = arg;
    const char *text = safetensors_metadata(reader->file, name);
    if (reader->result == STATUS_OK) {
        reader->result = text != NULL
                             ? settings_set(reader->settings, name, text, reader->err)
                             : err_set(reader->err, STATUS_CORRUPT, "metadata %s is missing", name);
    }
}

/* All settings; a missing one would silently be another run's default. */
static status read_settings(const struct safetensors *file, struct settings *settings,
                            struct err *err)
{
    /* The defaults only give the visitor its list of names. */
    const struct settings defaults = settings_default();
    *settings = defaults;
    struct setting_reader reader = {file, settings, STATUS_OK, err};
    settings_visit(&defaults, read_setting, &reader);
    return reader.result == STATUS_OK ? settings_check(settings, err) : reader.result;
}

/* Settings, state, threads and kernels from the state's file. */
static status load_state(struct failed_step *step, const char *path, struct err *err)
{
    struct safetensors *file = NULL;
    uint64_t threads = 0;
    status s = safetensors_read(&file, path, BYTES_MAX, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The settings shape the state; the other numbers are part of what decides the bits. */
    s = read_settings(file, &step->settings, err);
    s = s != STATUS_OK ? s : read_number(file, "threads", 1, THREADS_MAX, &threads, err);
    s = s != STATUS_OK ? s : read_number(file, "begin", 0, UINT64_MAX, &step->batch.begin, err);
    s = s != STATUS_OK ? s : state_new(&step->state, &step->settings, err);
    s = s != STATUS_OK ? s : state_load(step->state, &step->settings, path, NULL, err);
    /* Files without the note are run with the best kernels there are. */
    const char *kernels = safetensors_metadata(file, "kernels");
    snprintf(step->kernels, sizeof step->kernels, "%s", kernels != NULL ? kernels : "best");
    step->threads = (int)threads;
    safetensors_free(file);
    return s;
}

/* B and N of the batch, from the shape of its rows. */
static status read_sizes(struct failed_step *step, const struct safetensors *file, struct err *err)
{
    /* The width of a row follows from the settings, the other two sizes are the batch's own. */
    const struct safetensors_tensor *rows = safetensors_find(file, "rows");
    const size_t W = (size_t)settings_row_width(&step->settings);
    if (rows == NULL || rows->n_dims != 3 || rows->shape[0] < 1 || rows->shape[0] > INT_MAX ||
        rows->shape[1] < 2 || rows->shape[1] > INT_MAX || rows->shape[2] != W) {
        return err_set(err, STATUS_MISMATCH,
                       "tensor rows: expected (snippets, transitions + 1, %zu)", W);
    }
    step->batch.B = (int)rows->shape[0];
    step->batch.N = (int)rows->shape[1] - 1;
    return STATUS_OK;
}

/* The arrays of the batch; failed_step_free frees them. */
static status read_arrays(struct failed_step *step, const struct safetensors *file, struct err *err)
{
    const size_t B = (size_t)step->batch.B, T = (size_t)step->settings.T;
    const size_t shape[3] = {B, (size_t)step->batch.N + 1,
                             (size_t)settings_row_width(&step->settings)};
    /* All pointers go into the batch at once, so that failed_step_free finds them after any
     * failure. */
    float *rows = mem_aligned(shape[0] * shape[1] * shape[2] * sizeof *rows);
    uint32_t *n_valid = mem_array(B, sizeof *n_valid);
    const bool has_tasks = safetensors_find(file, "tasks") != NULL;
    const bool has_weights = safetensors_find(file, "weights") != NULL;
    int32_t *tasks = has_tasks ? mem_array(B * T, sizeof *tasks) : NULL;
    double *weights = has_weights ? mem_array(B, sizeof *weights) : NULL;
    step->batch.rows = rows;
    step->batch.n_valid = n_valid;
    step->batch.tasks = tasks;
    step->batch.weights = weights;
    if (rows == NULL || n_valid == NULL || (has_tasks && tasks == NULL) ||
        (has_weights && weights == NULL)) {
        return err_set(err, STATUS_NO_MEMORY, "batch");
    }
    /* Each array must have exactly the shape that the sizes give; then indices are checked like
     * those of a batch off the wire. */
    status s = safetensors_copy(file, "rows", SAFETENSORS_F32, 3, shape, rows, err);
    s = s != STATUS_OK ? s : safetensors_copy(file, "valid", SAFETENSORS_I32, 1, &B, n_valid, err);
    if (s == STATUS_OK && has_tasks) {
        s = safetensors_copy(file, "tasks", SAFETENSORS_I32, 2, (const size_t[]){B, T}, tasks, err);
    }
    if (s == STATUS_OK && has_weights) {
        s = safetensors_copy(file, "weights", SAFETENSORS_F64, 1, &B, weights, err);
    }
    return s == STATUS_OK ? batch_check(&step->batch, &step->settings, err) : s;
}

/* Sizes first: the arrays are allocated by them. */
static status load_batch(struct failed_step *step, const char *path, struct err *err)
{
    struct safetensors *file = NULL;
    status s = safetensors_read(&file, path, BYTES_MAX, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = read_sizes(step, file, err);
    s = s != STATUS_OK ? s : read_arrays(step, file, err);
    safetensors_free(file);
    return s;
}

status failed_step_load(struct failed_step *step, const char *batch_path, struct err *err)
{
    char state_path[PATH_MAX];
    memset(step, 0, sizeof *step);
    /* The state's file lies beside the batch's, under a name that follows from it. */
    const char *slash = strrchr(batch_path, '/');
    const char *name = slash != NULL ? slash + 1 : batch_path;
    if (strncmp(name, BATCH_NAME, strlen(BATCH_NAME)) != 0) {
        return err_set(err, STATUS_INVALID, "%s: expected a file " BATCH_NAME "N.safetensors",
                       batch_path);
    }
    /* Everything behind the name's begin is the same: step and suffix. */
    snprintf(state_path, sizeof state_path, "%.*s" STATE_NAME "%s", (int)(name - batch_path),
             batch_path, name + strlen(BATCH_NAME));
    /* The state first, since its settings say how wide a row of the batch is. */
    status s = load_state(step, state_path, err);
    if (s != STATUS_OK) {
        s = err_context(err, s, "%s", state_path);
    } else if ((s = load_batch(step, batch_path, err)) != STATUS_OK) {
        s = err_context(err, s, "%s", batch_path);
    }
    if (s != STATUS_OK) {
        failed_step_free(step);
    }
    return s;
}

void failed_step_free(struct failed_step *step)
{
    /* Also after a failure: what was not read is NULL. */
    state_free(step->state);
    /* The batch borrows its arrays as const; here they are ours. */
    mem_free((void *)(uintptr_t)step->batch.rows);
    mem_free((void *)(uintptr_t)step->batch.n_valid);
    mem_free((void *)(uintptr_t)step->batch.tasks);
    mem_free((void *)(uintptr_t)step->batch.weights);
    memset(step, 0, sizeof *step);
}
