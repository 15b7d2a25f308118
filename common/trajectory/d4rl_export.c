/* Columns grow episode by episode, and are written at the end, each as one dataset. */
#include "common/trajectory/d4rl_export.h"

#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/trajectory/dataset_export.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/hdf5_writing.h"

/* The columns so far. */
struct columns {
    const struct signature *signature;
    uint32_t reward_k;
    uint64_t n, capacity; /* rows */
    float *observations, *next, *actions, *rewards;
    int8_t *terminals, *timeouts;
};

/* Makes room for n more rows. */
static status reserve(struct columns *columns, uint64_t n, struct err *err)
{
    const uint32_t O = signature_observation(columns->signature), A = columns->signature->A;
    const uint64_t row_size = (2ull * O + A + 1) * sizeof(float) + 2;
    if (columns->n + n <= columns->capacity) {
        return STATUS_OK;
    }
    if (columns->n + n > SHARD_BYTES_MAX / row_size) {
        return err_set(err, STATUS_FULL,
                       "more than %llu bytes of rows: export a part of the shards",
                       SHARD_BYTES_MAX);
    }
    const uint64_t capacity = 2 * (columns->n + n);
    struct {
        void **memory;
        size_t size;
    } const parts[] = {
        {(void **)&columns->observations, O * sizeof(float)},
        {(void **)&columns->next, O * sizeof(float)},
        {(void **)&columns->actions, A * sizeof(float)},
        {(void **)&columns->rewards, sizeof(float)},
        {(void **)&columns->terminals, 1},
        {(void **)&columns->timeouts, 1},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        void *memory = mem_resize(*parts[i].memory, capacity, parts[i].size);
        if (memory == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%llu rows", (unsigned long long)capacity);
        }
        *parts[i].memory = memory;
    }
    columns->capacity = capacity;
    return STATUS_OK;
}

/* Appends the transitions of an episode. */
static status add_episode(void *to, struct episode *episode, struct err *err)
{
    struct columns *columns = to;
    const uint32_t O = signature_observation(columns->signature), A = columns->signature->A;
    const uint64_t n = columns->n, T = episode->T;
    /* One row more, since observations are stored with the last one. */
    const status s = reserve(columns, T + 1, err);
    if (s != STATUS_OK) {
        return s;
    }
    float *observations = columns->observations + n * O;
    const bool terminated =
        dataset_export_parts(columns->signature, episode, columns->reward_k, observations,
                             columns->actions + n * A, columns->rewards + n);
    memcpy(columns->next + n * O, observations + O, T * O * sizeof *observations);
    memset(columns->terminals + n, 0, T);
    memset(columns->timeouts + n, 0, T);
    columns->terminals[n + T - 1] = terminated;
    columns->timeouts[n + T - 1] = !terminated;
    columns->n += T;
    return STATUS_OK;
}

/* Writes all columns. */
static status write_columns(const struct hdf5_writing *writing, const struct columns *columns,
                            struct err *err)
{
    const uint32_t O = signature_observation(columns->signature), A = columns->signature->A;
    const hid_t file = writing->file;
    const uint64_t n = columns->n;
    status s = hdf5_writing_floats(writing, file, "observations", columns->observations, n, O, err);
    if (s == STATUS_OK) {
        s = hdf5_writing_floats(writing, file, "next_observations", columns->next, n, O, err);
    }
    if (s == STATUS_OK) {
        s = hdf5_writing_floats(writing, file, "actions", columns->actions, n, A, err);
    }
    if (s == STATUS_OK) {
        s = hdf5_writing_floats(writing, file, "rewards", columns->rewards, n, 0, err);
    }
    if (s == STATUS_OK) {
        s = hdf5_writing_flags(writing, file, "terminals", columns->terminals, n, err);
    }
    return s == STATUS_OK ? hdf5_writing_flags(writing, file, "timeouts", columns->timeouts, n, err)
                          : s;
}

/* Makes the file in memory; *image is the caller's, for mem_free. */
static status make_image(const struct columns *columns, void **image, size_t *size, struct err *err)
{
    struct hdf5_writing writing;
    hdf5_lock();
    status s = hdf5_writing_begin(&writing, 0, err);
    if (s == STATUS_OK) {
        s = write_columns(&writing, columns, err);
        if (s == STATUS_OK) {
            s = hdf5_writing_end(&writing, image, size, err);
        } else {
            hdf5_writing_abort(&writing);
        }
    }
    hdf5_unlock();
    return s;
}

status d4rl_export(const struct dataset *dataset, const char *path, uint32_t reward_k,
                   uint64_t *n_bad, struct err *err)
{
    if (access(path, F_OK) == 0) {
        return err_set(err, STATUS_EXISTS, "%s: is there already", path);
    }
    struct columns columns = {.signature = dataset_signature(dataset), .reward_k = reward_k};
    status s = dataset_export_episodes(dataset, add_episode, &columns, n_bad, err);
    if (s == STATUS_OK && columns.n == 0) {
        s = err_set(err, STATUS_INVALID, "%s: there is no good episode", dataset_folder(dataset));
    }
    void *image = NULL;
    size_t size = 0;
    if (s == STATUS_OK) {
        s = make_image(&columns, &image, &size, err);
    }
    if (s == STATUS_OK) {
        const struct file_part part = {.bytes = image, .size = size};
        s = file_replace(path, &part, 1, err);
    }
    mem_free(image);
    mem_free(columns.observations);
    mem_free(columns.next);
    mem_free(columns.actions);
    mem_free(columns.rewards);
    mem_free(columns.terminals);
    mem_free(columns.timeouts);
    return s;
}
