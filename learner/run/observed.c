/* Extremes of observations, and their file. */
#include "learner/run/observed.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/safetensors.h"

#define BYTES_MAX ((size_t)16 << 20)

static const char *const names[] = {"observed/min", "observed/max"};

status observed_init(struct observed *observed, size_t O)
{
    *observed = (struct observed){.O = O, .both = mem_array(2 * O, sizeof(float))};
    return observed->both != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

void observed_fini(struct observed *observed)
{
    mem_free(observed->both);
    *observed = (struct observed){0};
}

void observed_add(struct observed *observed, const float *x)
{
    const size_t O = observed->O;
    float *min = observed->both, *max = observed->both + O;
    /* The first row sets both ends. */
    if (observed->n++ == 0) {
        memcpy(min, x, O * sizeof *x);
        memcpy(max, x, O * sizeof *x);
    }
    for (size_t i = 0; i < O; i++) {
        min[i] = x[i] < min[i] ? x[i] : min[i];
        max[i] = x[i] > max[i] ? x[i] : max[i];
    }
}

struct policy_ranges observed_ranges(const struct observed *observed)
{
    if (observed->n == 0) {
        return (struct policy_ranges){0};
    }
    return (struct policy_ranges){
        .min = observed->both, .max = observed->both + observed->O, .O = observed->O};
}

static void path_of(char path[PATH_MAX], const char *run_dir)
{
    snprintf(path, PATH_MAX, "%s/observed.safetensors", run_dir);
}

status observed_save(const struct observed *observed, const char *run_dir, const char *run_id,
                     struct err *err)
{
    char path[PATH_MAX];
    struct safetensors_writer *writer;
    path_of(path, run_dir);
    status s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        return err_set(err, s, "%s", path);
    }
    for (size_t i = 0; i < 2 && s == STATUS_OK; i++) {
        s = safetensors_add(writer, names[i], SAFETENSORS_F32, 1, &observed->O,
                            observed->both + i * observed->O, err);
    }
    s = s != STATUS_OK ? s : safetensors_note(writer, "run_id", run_id, err);
    s = s != STATUS_OK ? s : safetensors_replace(writer, path, err);
    safetensors_writer_free(writer);
    return s;
}

/* The two vectors of an open file. */
static status copy(struct observed *observed, const struct safetensors *file, const char *run_id,
                   struct err *err)
{
    const char *run = safetensors_metadata(file, "run_id");
    if (run == NULL || strcmp(run, run_id) != 0) {
        return err_set(err, STATUS_NOT_FOUND, "it is of run %.64s", run != NULL ? run : "(absent)");
    }
    status s = STATUS_OK;
    for (size_t i = 0; i < 2 && s == STATUS_OK; i++) {
        s = safetensors_copy(file, names[i], SAFETENSORS_F32, 1, &observed->O,
                             observed->both + i * observed->O, err);
    }
    observed->n = 1;
    return s;
}

status observed_load(struct observed *observed, const char *run_dir, const char *run_id, size_t O,
                     struct err *err)
{
    char path[PATH_MAX];
    struct safetensors *file;
    path_of(path, run_dir);
    *observed = (struct observed){0};
    status s = safetensors_read(&file, path, BYTES_MAX, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = observed_init(observed, O);
    s = s != STATUS_OK ? err_set(err, s, "out of memory") : copy(observed, file, run_id, err);
    safetensors_free(file);
    if (s != STATUS_OK) {
        observed_fini(observed);
        return err_context(err, s, "%s", path);
    }
    return STATUS_OK;
}
