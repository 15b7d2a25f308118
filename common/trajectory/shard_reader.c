/* From a group of an HDF5 file to checked rows.
 *
 * The file may come from anyone: shapes and types are checked against the signature before a value
 * is read, and values by episode_check afterwards. The number of observations determines the length
 * of the episode, and every other part must agree with it.
 *
 * A reader has one file open and belongs to one thread; hdf5_lock is held around all calls of HDF5.
 * The scratch memory grows to the largest part that was seen and is kept. */
#include "common/trajectory/shard_reader.h"
#include "common/trajectory/dataset.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/trajectory/episode_actions.h"
#include "common/trajectory/hdf5.h"
#include "common/trajectory/shard_survey.h"

/* No dataset may have more values than the largest episode. */
#define VALUES_MAX (EPISODE_BYTES_MAX / sizeof(float))
/* Room for the name of a slice or of a group. */
#define NAME_SIZE (SIGNATURE_NAME_SIZE + 32)

/* An open shard, with its episodes by number. */
struct shard_reader {
    /* Borrowed, as is the shard in it. */
    const struct dataset *dataset;
    const struct dataset_shard *shard;
    hid_t file;
    /* Is the file the one that metadata.json lists? */
    bool as_listed;
    /* The observations of the last episode were a group with one dataset a slice. */
    bool sliced;
    /* Clip actions beyond their limits, rather than refuse the episode. */
    struct episode_actions actions;
    bool keep_bad; /* values that are not finite stay, and rows are not checked */
    uint64_t n;
    uint64_t *numbers; /* (n) of the groups episode_N, ascending */
    /* Grown to the largest array so far, like `flags`. */
    float *floats; /* scratch: one HDF5 dataset */
    int *flags;
    size_t floats_capacity, flags_capacity;
};

/* ---- open and close ---- */

/* What kind of file this is when it has no episodes of ours, for the message. */
static status no_episodes(hid_t file, const char *path, struct err *err)
{
    /* The layouts of two other libraries, told by what only they have. */
    const char *found = "";
    if (hdf5_kind_of(file, "data/demo_0") == HDF5_GROUP) {
        found = "; groups data/demo_<number> are the layout of robomimic";
    } else if (hdf5_kind_of(file, "observations") == HDF5_DATASET) {
        found = "; one array \"observations\" for all episodes is the layout of D4RL";
    }
    /* Without a guess the message says what is expected. */
    return err_set(err, STATUS_INVALID,
                   "%s: has no episode, expected groups " SHARD_EPISODE_PREFIX "<number>%s", path,
                   found);
}

/* Compares the file with the checksum that metadata.json lists. */
static status check_listed(const struct dataset *dataset, size_t shard_i, bool *as_listed,
                           struct err *err)
{
    /* The digest is computed once per dataset, whoever asks. */
    const struct dataset_shard *shard = dataset_shard(dataset, shard_i);
    /* A shard that is not listed with a checksum is always as listed. */
    uint64_t digest = shard->source;
    const status s =
        shard->listed ? dataset_shard_digest(dataset, shard_i, &digest, err) : STATUS_OK;
    *as_listed = digest == shard->source;
    return s;
}

/* A file of another size than listed was cut or overwritten. */
static status check_size(const struct dataset_shard *shard, struct err *err)
{
    struct stat info;
    /* A size of 0 was not listed. */
    if (shard->bytes > 0 && stat(shard->path, &info) == 0 &&
        (uint64_t)info.st_size != shard->bytes) {
        return err_set(err, STATUS_CORRUPT, "%s: %" PRIu64 " bytes, metadata.json lists %" PRIu64,
                       shard->path, (uint64_t)info.st_size, shard->bytes);
    }
    return STATUS_OK;
}

status shard_reader_open(struct shard_reader **reader, const struct dataset *dataset,
                         size_t shard_i, struct err *err)
{
    const struct dataset_shard *shard = dataset_shard(dataset, shard_i);
    /* The cheap check first: the checksum reads the whole file. */
    status s = check_size(shard, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct shard_reader *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: open", shard->path);
    }
    made->dataset = dataset;
    made->shard = shard;
    s = check_listed(dataset, shard_i, &made->as_listed, err);
    if (s != STATUS_OK) {
        mem_free(made);
        return s;
    }
    /* The groups are listed now, so that episodes can be asked for by number. */
    hdf5_lock();
    s = hdf5_open(&made->file, shard->path, err);
    if (s == STATUS_OK) {
        s = shard_survey_list(made->file, shard->path, &made->numbers, &made->n, err);
        if (s == STATUS_OK && made->n == 0) {
            s = no_episodes(made->file, shard->path, err);
        }
        if (s != STATUS_OK) {
            H5Fclose(made->file);
        }
    }
    hdf5_unlock();
    /* The file is closed already where it was open. */
    if (s != STATUS_OK) {
        mem_free(made->numbers);
        mem_free(made);
        return s;
    }
    *reader = made;
    return STATUS_OK;
}

void shard_reader_set_clip(struct shard_reader *reader, bool clip)
{
    reader->actions.clip = clip;
}

void shard_reader_set_keep_bad(struct shard_reader *reader, bool keep)
{
    reader->keep_bad = keep;
}

uint64_t shard_reader_clipped(const struct shard_reader *reader)
{
    return reader->actions.clipped;
}

bool shard_reader_is_as_listed(const struct shard_reader *reader)
{
    return reader->as_listed;
}

uint64_t shard_reader_episodes(const struct shard_reader *reader)
{
    return reader->n;
}

void shard_reader_close(struct shard_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    /* Closing is a call of HDF5, too. */
    hdf5_lock();
    H5Fclose(reader->file);
    H5Eclear2(H5E_DEFAULT);
    hdf5_unlock();
    mem_free(reader->numbers);
    mem_free(reader->floats);
    mem_free(reader->flags);
    mem_free(reader);
}

/* ---- reading the parts of an episode ---- */

/* Room for n values in the scratch memory. It only grows. */
static status need_floats(struct shard_reader *reader, uint64_t n, struct err *err)
{
    if (n > reader->floats_capacity) {
        float *floats = mem_resize(reader->floats, n, sizeof *floats);
        /* On failure the old memory stays. */
        if (floats == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%" PRIu64 " values", n);
        }
        reader->floats = floats;
        reader->floats_capacity = n;
    }
    return STATUS_OK;
}

/* Reads the dataset `name` of n rows of `size` floats into columns at.. of the rows. *n == 0 on
 * entry: any number of rows, told back. */
static status read_columns(struct shard_reader *reader, hid_t group, const char *name, uint64_t *n,
                           uint32_t size, uint32_t at, struct episode *episode, struct err *err)
{
    /* An absent dataset and one of a wrong shape have errors of their own, which name it. */
    hid_t dataset;
    struct hdf5_shape shape;
    status s = hdf5_dataset_open(&dataset, &shape, group, name, VALUES_MAX, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The kind first: the shape of what is not a row of numbers says nothing. */
    s = hdf5_check_floats(&shape, name, err);
    if (s != STATUS_OK) {
        H5Dclose(dataset);
        return s;
    }
    /* The number of rows must agree. The usual mistake, T observations for T actions, has a message
     * of its own. */
    if (*n != 0 && shape.dims[0] == *n + 1 && strcmp(name, "actions") == 0) {
        s = err_set(err, STATUS_INVALID,
                    "observations: %" PRIu64 " rows for %" PRIu64 " actions, expected %" PRIu64
                    " (T + 1: the last one after the last action)",
                    *n + 1, shape.dims[0], shape.dims[0] + 1);
    } else if (*n != 0 && shape.dims[0] != *n) {
        s = err_set(err, STATUS_INVALID, "%s: %" PRIu64 " rows, expected %" PRIu64, name,
                    shape.dims[0], *n);
    } else if (shape.row_size != size) {
        s = err_set(err, STATUS_INVALID, "%s: rows of %" PRIu64 " values, the signature has %u",
                    name, shape.row_size, size);
    } else {
        s = need_floats(reader, shape.dims[0] * size, err);
    }
    /* All sizes are known to be right: now the rows may grow, and the values be read. */
    if (s == STATUS_OK) {
        s = episode_reserve(episode, shape.dims[0], err);
    }
    if (s == STATUS_OK) {
        s = hdf5_read_floats(reader->floats, dataset, &shape, name, err);
    }
    H5Dclose(dataset);
    if (s != STATUS_OK) {
        return s;
    }
    /* From an array of its own to the columns of the rows. */
    for (size_t t = 0; t < shape.dims[0]; t++) {
        memcpy(episode->rows + t * episode->W + at, reader->floats + t * size,
               size * sizeof(float));
    }
    *n = shape.dims[0];
    return STATUS_OK;
}

/* Observations: one dataset (T+1, O), or a group with one dataset a slice. They say how long the
 * episode is. */
static status read_observations(struct shard_reader *reader, hid_t group, struct episode *episode,
                                struct err *err)
{
    const struct signature *signature = dataset_signature(reader->dataset);
    uint64_t n = 0;
    /* Looking what it is costs as much as opening it, so the usual form is tried first. An episode
     * of the other form may follow. */
    reader->sliced = reader->sliced && hdf5_kind_of(group, "observations") == HDF5_GROUP;
    status s = reader->sliced ? STATUS_OK
                              : read_columns(reader, group, "observations", &n,
                                             signature_observation(signature), 0, episode, err);
    if (s != STATUS_OK && hdf5_kind_of(group, "observations") == HDF5_GROUP) {
        reader->sliced = true;
        s = STATUS_OK;
    }
    /* Both forms end up in the same columns. */
    if (reader->sliced) {
        uint32_t at = 0;
        for (uint32_t i = 0; i < signature->n_slices && s == STATUS_OK; i++) {
            const struct signature_slice *slice = &signature->slices[i];
            char name[NAME_SIZE];
            snprintf(name, sizeof name, "observations/%s", slice->name);
            s = read_columns(reader, group, name, &n, slice->size, at, episode, err);
            at += slice->size;
        }
    }
    /* At least one step, and so at least two observations. */
    if (s == STATUS_OK && (n < 2 || n > (uint64_t)EPISODE_TRANSITIONS_MAX + 1)) {
        s = err_set(err, STATUS_INVALID, "observations: %" PRIu64 " rows, expected 2..%u", n,
                    EPISODE_TRANSITIONS_MAX + 1);
    }
    if (s == STATUS_OK) {
        episode->T = (uint32_t)(n - 1);
    }
    return s;
}

/* The dataset `name` of T flags into reader->flags; only the last may be set. */
static status read_flags(struct shard_reader *reader, hid_t group, const char *name, uint32_t T,
                         bool *last, struct err *err)
{
    hid_t dataset;
    struct hdf5_shape shape;
    status s = hdf5_dataset_open(&dataset, &shape, group, name, VALUES_MAX, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* As many flags as steps, in one column. */
    if (shape.dims[0] != T || shape.row_size != 1) {
        s = err_set(err, STATUS_INVALID, "%s: %" PRIu64 " rows of %" PRIu64 ", expected %u of 1",
                    name, shape.dims[0], shape.row_size, T);
    } else if (T > reader->flags_capacity) {
        int *flags = mem_resize(reader->flags, T, sizeof *flags);
        if (flags == NULL) {
            s = err_set(err, STATUS_NO_MEMORY, "%s: %u flags", name, T);
        } else {
            reader->flags = flags;
            reader->flags_capacity = T;
        }
    }
    if (s == STATUS_OK) {
        s = hdf5_read_flags(reader->flags, dataset, &shape, name, err);
    }
    H5Dclose(dataset);
    /* A flag before the last step would end the episode there. */
    for (uint32_t t = 0; s == STATUS_OK && t < T; t++) {
        int flag = reader->flags[t];
        if (flag != 0 && flag != 1) {
            s = err_set(err, STATUS_INVALID, "row %u, %s: %d, expected 0 or 1", t, name, flag);
        } else if (flag == 1 && t + 1 < T) {
            s = err_set(err, STATUS_INVALID, "row %u, %s: set, but the episode goes on to row %u",
                        t, name, T);
        }
    }
    if (s == STATUS_OK) {
        *last = reader->flags[T - 1] == 1;
    }
    return s;
}

/* Discounts from the two flags, and nothing but the observation in the last row. */
static status fill_discounts(struct shard_reader *reader, hid_t group, struct episode *episode,
                             struct err *err)
{
    const struct signature *signature = dataset_signature(reader->dataset);
    bool terminated = false;
    bool truncated = false;
    /* Both are read even where the first decides, since both must be sound. */
    status s = read_flags(reader, group, "terminations", episode->T, &terminated, err);
    if (s == STATUS_OK) {
        s = read_flags(reader, group, "truncations", episode->T, &truncated, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    uint32_t W = episode->W;
    uint32_t O = signature_observation(signature);
    uint32_t discount_at = signature_discount_at(signature);
    /* 1 everywhere, and 0 at the end only where the episode has terminated. */
    for (size_t t = 0; t < episode->T; t++) {
        episode->rows[t * W + discount_at] = 1.0f;
    }
    /* Neither flag is set: the log does not say how the episode ended, which counts as a limit. */
    episode->open_end = !terminated && !truncated;
    if (terminated) {
        episode->rows[(size_t)(episode->T - 1) * W + discount_at] = 0.0f;
    }
    /* The rest of the last row is unspecified so far. */
    memset(episode->rows + (size_t)episode->T * W + O, 0, (W - O) * sizeof(float));
    return STATUS_OK;
}

/* The parts of one episode, in an order in which each can be checked against those before it. The
 * rows hold physical actions afterwards. */
static status read_group(struct shard_reader *reader, hid_t group, struct episode *episode,
                         struct err *err)
{
    const struct signature *signature = dataset_signature(reader->dataset);
    status s = read_observations(reader, group, episode, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The attribute is optional, and must be right where it is there. */
    uint64_t T = episode->T;
    uint64_t listed;
    if (hdf5_read_attribute(&listed, 1, group, "total_steps") == STATUS_OK && listed != T) {
        return err_set(err, STATUS_INVALID,
                       "total_steps: %" PRIu64 ", but there are %" PRIu64
                       " observations, expected %" PRIu64 " (T + 1)",
                       listed, T + 1, listed + 1);
    }
    /* Actions, rewards and flags have one row per step. */
    s = read_columns(reader, group, "actions", &T, signature->A, signature_action_at(signature),
                     episode, err);
    if (s == STATUS_OK && signature->K > 0) {
        s = read_columns(reader, group, "rewards", &T, signature->K,
                         signature_rewards_at(signature), episode, err);
    }
    if (s == STATUS_OK) {
        s = fill_discounts(reader, group, episode, err);
    }
    return s;
}

/* The identity of an episode that was read (see the header). */
static void identify(const struct shard_reader *reader, uint64_t number, struct episode *episode)
{
    const struct dataset_shard *shard = reader->shard;
    /* As listed: the shard and the number identify it. Otherwise its contents do. */
    if (shard->listed && reader->as_listed) {
        episode->identity = (struct episode_identity){
            .source = shard->source, .shard = shard->number, .episode = number};
    } else {
        episode->identity =
            (struct episode_identity){.source = episode_digest(episode), .episode = number};
    }
}

status shard_reader_read(struct shard_reader *reader, uint64_t i, struct episode *episode,
                         struct err *err)
{
    ASSERT(i < reader->n);
    const struct signature *signature = dataset_signature(reader->dataset);
    ASSERT(episode->W == signature_width(signature));
    char name[NAME_SIZE];
    snprintf(name, sizeof name, SHARD_EPISODE_PREFIX "%" PRIu64, reader->numbers[i]);
    /* Nothing of an episode that was read before may remain. */
    episode_clear(episode);
    hdf5_lock();
    hid_t group = H5Gopen2(reader->file, name, H5P_DEFAULT);
    status s = group < 0 ? hdf5_error(err, STATUS_CORRUPT, "open")
                         : read_group(reader, group, episode, err);
    if (group >= 0) {
        H5Gclose(group);
    }
    hdf5_unlock();
    /* These two need no HDF5, so other threads may use it meanwhile. */
    if (s == STATUS_OK) {
        s = episode_actions_to_canonical(&reader->actions, episode, signature, err);
    }
    if (s == STATUS_OK && !reader->keep_bad) {
        s = episode_check(episode, signature, err);
    }
    /* After an error the episode is empty, and the message names file and group. */
    if (s != STATUS_OK) {
        episode_clear(episode);
        return err_context(err, s, "%s: %s", reader->shard->path, name);
    }
    identify(reader, reader->numbers[i], episode);
    return STATUS_OK;
}

status shard_reader_tag(struct shard_reader *reader, uint64_t i, const char *name, char *value,
                        size_t size)
{
    ASSERT(i < reader->n);
    char group_name[NAME_SIZE];
    snprintf(group_name, sizeof group_name, SHARD_EPISODE_PREFIX "%" PRIu64, reader->numbers[i]);
    hdf5_lock();
    hid_t group = H5Gopen2(reader->file, group_name, H5P_DEFAULT);
    const status s = group < 0 ? STATUS_NOT_FOUND : hdf5_read_text(value, size, group, name);
    if (group >= 0) {
        H5Gclose(group);
    }
    hdf5_unlock();
    return s;
}
