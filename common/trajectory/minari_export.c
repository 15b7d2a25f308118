/* Writing the good episodes of a dataset as one Minari dataset.
 *
 * The HDF5 file is made in memory and written whole, then metadata.json beside it: a folder with a
 * metadata.json is complete. Reading goes through shard_reader, so an episode that the restorer
 * refuses is left out here too.
 *
 * Minari knows one reward, so one of the dataset's is chosen. The layout of an episode is that of
 * our shards, which is Minari's. One thread; hdf5_lock is held for each call that writes, and not
 * while shards are read. */
#include "common/trajectory/minari_export.h"
#include "common/trajectory/dataset.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/trajectory/dataset_export.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/hdf5_writing.h"
#include "common/trajectory/minari_metadata.h"
#include "common/trajectory/shard_writer.h"

/* Longer paths are refused. */
#define PATH_SIZE 4096

/* "[-1, -1]" or "[-Infinity, ..]": written by hand, since JSON has no word for what Python reads
 * here. */
static void print_limits(struct text *out, const float *limits, uint32_t n, const char *otherwise)
{
    text_add(out, "[");
    for (uint32_t i = 0; i < n; i++) {
        text_add(out, i == 0 ? "" : ", ");
        if (limits != NULL) {
            text_format(out, "%.9g", (double)limits[i]);
        } else {
            text_add(out, otherwise);
        }
    }
    text_add(out, "]");
}

/* A Box as text, mem_free; NULL when out of memory. */
static char *box_text(uint32_t size, const float *low, const float *high)
{
    struct text out = {0};
    text_format(&out,
                "{\"type\": \"Box\", \"dtype\": \"float32\", \"shape\": [%u], \"low\": ", size);
    print_limits(&out, low, size, "-Infinity");
    text_add(&out, ", \"high\": ");
    print_limits(&out, high, size, "Infinity");
    text_add(&out, "}");
    return text_take(&out, NULL);
}

/* Writes Minari's metadata.json. Spaces are texts within the JSON, as Minari keeps them. */
static status write_metadata(const char *path, const struct signature *signature, const char *id,
                             uint64_t episodes, uint64_t transitions, size_t bytes, struct err *err)
{
    /* Observations have no limits here; actions have those of the signature, in physical units. */
    char *observations = box_text(signature_observation(signature), NULL, NULL);
    char *actions = box_text(signature->A, signature->action_min, signature->action_max);
    cJSON *json = cJSON_CreateObject();
    status s;
    if (observations != NULL && actions != NULL &&
        cJSON_AddNumberToObject(json, "total_episodes", (double)episodes) != NULL &&
        cJSON_AddNumberToObject(json, "total_steps", (double)transitions) != NULL &&
        cJSON_AddStringToObject(json, "data_format", "hdf5") != NULL &&
        cJSON_AddStringToObject(json, "observation_space", observations) != NULL &&
        cJSON_AddStringToObject(json, "action_space", actions) != NULL &&
        cJSON_AddStringToObject(json, "dataset_id", id) != NULL &&
        cJSON_AddStringToObject(json, "minari_version", MINARI_VERSION) != NULL &&
        /* In megabytes with one digit. */
        cJSON_AddNumberToObject(json, "dataset_size", round((double)bytes / 1e5) / 10) != NULL) {
        s = json_write(path, json, err);
    } else {
        s = err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    cJSON_Delete(json);
    mem_free(observations);
    mem_free(actions);
    return s;
}

/* An export under way: where from, where to, and what it has so far. */
struct export
{
    const struct dataset *dataset;
    struct hdf5_writing writing;
    /* The reward that is exported. */
    uint32_t reward_k;
    /* Written so far, and left out. */
    uint64_t episodes, transitions, bad;
    uint64_t bytes; /* of rows so far */
};

/* Adds an episode, unless the file would become too large. */
static status add_episode(void *context, struct episode *episode, struct err *err)
{
    struct export *to = context;
    to->bytes += ((uint64_t)episode->T + 1) * episode->W * sizeof(float);
    if (to->bytes > SHARD_BYTES_MAX) {
        return err_set(err, STATUS_FULL,
                       "more than %llu bytes of rows: export a part of the shards",
                       SHARD_BYTES_MAX);
    }
    /* Minari's episodes have no identity, so none is written. */
    episode->identity = (struct episode_identity){0};
    hdf5_lock();
    const status s = shard_write_episode(&to->writing, dataset_signature(to->dataset), episode,
                                         to->episodes, to->reward_k, err);
    hdf5_unlock();
    to->episodes += s == STATUS_OK;
    to->transitions += episode->T;
    return s;
}

/* Makes the whole file in memory; *image is the caller's, for mem_free. On an error nothing is
 * left. */
static status export_episodes(struct export *to, void **image, size_t *size, struct err *err)
{
    hdf5_lock();
    status s = hdf5_writing_begin(&to->writing, 0, err);
    hdf5_unlock();
    if (s != STATUS_OK) {
        return s;
    }
    /* One episode in memory at a time, beside the file that is being made. */
    s = dataset_export_episodes(to->dataset, add_episode, to, &to->bad, err);
    /* Exactly one of the two ends the file, also after an error. */
    hdf5_lock();
    if (s == STATUS_OK) {
        s = hdf5_writing_end(&to->writing, image, size, err);
    } else {
        hdf5_writing_abort(&to->writing);
    }
    hdf5_unlock();
    return s;
}

/* Names by Minari's rule, so that its load_dataset takes it: [namespace/]name[-vN]. */
static bool id_valid(const char *id)
{
    size_t n = strlen(id);
    return n > 0 && n < 200 && id[0] != '/' && id[n - 1] != '/' &&
           strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/") == n;
}

status minari_export(const struct dataset *dataset, const char *folder, const char *id,
                     uint32_t reward_k, uint64_t *n_bad, struct err *err)
{
    const struct signature *signature = dataset_signature(dataset);
    /* The buffer serves for all three paths: the folder, the file and metadata.json. */
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s/data/metadata.json", folder);
    if (length < 0 || (size_t)length + 1 >= sizeof path || !id_valid(id) ||
        (signature->K > 0 && reward_k >= signature->K)) {
        return err_set(err, STATUS_INVALID,
                       "export %s as \"%s\": path too long, bad name ([a-zA-Z0-9_/-]+), "
                       "or no reward %u",
                       folder, id, reward_k);
    }
    /* Without the file name it is the folder data/. */
    char *data_end = strrchr(path, '/');
    *data_end = 0;
    /* Nothing that is there is overwritten. */
    if (access(path, F_OK) == 0) {
        return err_set(err, STATUS_EXISTS, "%s: is there already", path);
    }
    struct export to = {.dataset = dataset, .reward_k = reward_k};
    void *image;
    size_t size;
    status s = export_episodes(&to, &image, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The folder is made only when there is something to put into it. */
    s = file_make_folders(path, err);
    if (s == STATUS_OK) {
        const struct file_part part = {.bytes = image, .size = size};
        memcpy(data_end, "/" MINARI_MAIN_FILE, sizeof "/" MINARI_MAIN_FILE);
        s = file_replace(path, &part, 1, err);
    }
    mem_free(image);
    if (s == STATUS_OK) {
        /* The last step: with it the dataset is complete. */
        memcpy(data_end, "/metadata.json", sizeof "/metadata.json");
        s = write_metadata(path, signature, id, to.episodes, to.transitions, size, err);
    }
    if (s == STATUS_OK) {
        *n_bad = to.bad;
    }
    return s;
}
