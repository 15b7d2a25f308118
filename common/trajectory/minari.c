/* Minari's metadata and its one big file. */
#include "common/trajectory/minari.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "minari"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/trajectory/hdf5_writing.h"
#include "common/trajectory/shard_writer.h"

#define PATH_SIZE 4096
#define HINT      "; a metadata.json of ours beside data/ can give the signature instead"

bool minari_is_metadata(const cJSON *metadata)
{
    return cJSON_HasObjectItem(metadata, "data_format") ||
           cJSON_HasObjectItem(metadata, "minari_version");
}

/* ---- spaces ---- */

/* Python writes Infinity and NaN, which are no JSON: outside of texts they become numbers that
 * cJSON reads (1e999 is infinite). In place: the replacement is never longer. */
static void make_readable(char *json)
{
    bool in_text = false;
    for (char *c = json; *c != 0; c++) {
        if (in_text) {
            if (*c == '\\' && c[1] != 0) {
                c++;
            } else if (*c == '"') {
                in_text = false;
            }
        } else if (*c == '"') {
            in_text = true;
        } else if (strncmp(c, "Infinity", 8) == 0) {
            memcpy(c, "1e999   ", 8);
        } else if (strncmp(c, "NaN", 3) == 0) {
            memcpy(c, "0  ", 3);
        }
    }
}

/* A space: JSON's text within the JSON (Minari), or an object. *parsed is for cJSON_Delete. */
static status read_space(const cJSON *metadata, const char *key, cJSON **parsed, struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(metadata, key);
    if (item == NULL) {
        return err_set(err, STATUS_INVALID, "%s: is not there" HINT, key);
    }
    char *text = cJSON_IsString(item) ? mem_text(item->valuestring) : NULL;
    if (text != NULL) {
        make_readable(text);
    }
    status s = STATUS_OK;
    cJSON *space = NULL;
    if (text != NULL) {
        s = json_parse(text, strlen(text) + 1, false, &space, NULL);
    } else {
        space = cJSON_IsString(item) ? NULL : cJSON_Duplicate(item, true);
        s = space == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    }
    mem_free(text);
    if (s == STATUS_NO_MEMORY) {
        return err_set(err, s, "%s: out of memory", key);
    }
    if (!cJSON_IsObject(space)) {
        cJSON_Delete(space);
        return err_set(err, STATUS_INVALID, "%s: not a space that can be read" HINT, key);
    }
    *parsed = space;
    return STATUS_OK;
}

static const char *space_type(const cJSON *space)
{
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(space, "type"));
    return type != NULL ? type : "unknown";
}

/* Product of a Box's shape. */
static status box_size(const cJSON *box, uint32_t max, uint32_t *size, const char *where,
                       struct err *err)
{
    if (strcmp(space_type(box), "Box") != 0) {
        return err_set(err, STATUS_INVALID, "%s: a %s space, expected Box" HINT, where,
                       space_type(box));
    }
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(box, "shape");
    double product = cJSON_IsArray(shape) ? 1 : 0;
    const cJSON *dim;
    cJSON_ArrayForEach(dim, shape)
    {
        product *= cJSON_IsNumber(dim) ? dim->valuedouble : 0;
    }
    if (!(product >= 1) || product > (double)max || product != floor(product)) {
        return err_set(err, STATUS_INVALID, "%s: shape: expected 1..%u values in all" HINT, where,
                       max);
    }
    *size = (uint32_t)product;
    return STATUS_OK;
}

/* Adds the slices of a space; `name` is what it is called so far. */
static status add_slices(struct signature *signature, const cJSON *space, const char *name,
                         int depth, struct err *err)
{
    if (strcmp(space_type(space), "Dict") != 0) {
        const char *where = name[0] == 0 ? "observation" : name;
        if (signature->n_slices == SIGNATURE_SLICES_MAX || strlen(where) >= SIGNATURE_NAME_SIZE) {
            return err_set(err, STATUS_INVALID,
                           "observation_space: %s: too many parts, or too long" HINT, where);
        }
        struct signature_slice *slice = &signature->slices[signature->n_slices];
        status s = box_size(space, SIGNATURE_OBSERVATION_MAX, &slice->size, where, err);
        if (s == STATUS_OK) {
            memcpy(slice->name, where, strlen(where) + 1);
            signature->n_slices++;
        }
        return s;
    }
    if (depth > 4) {
        return err_set(err, STATUS_INVALID, "observation_space: %s: too deep" HINT, name);
    }
    const cJSON *part;
    cJSON_ArrayForEach(part, cJSON_GetObjectItemCaseSensitive(space, "subspaces"))
    {
        char path[2 * SIGNATURE_NAME_SIZE];
        snprintf(path, sizeof path, "%s%s%s", name, name[0] == 0 ? "" : "/", part->string);
        status s = add_slices(signature, part, path, depth + 1, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* One number for all dimensions, or an array (also nested) of one each. */
static uint32_t read_limits(const cJSON *item, float *limits, uint32_t n, uint32_t A)
{
    if (cJSON_IsNumber(item)) {
        if (n < A) {
            limits[n] = (float)item->valuedouble;
        }
        return n + 1;
    }
    const cJSON *part;
    cJSON_ArrayForEach(part, item)
    {
        n = read_limits(part, limits, n, A);
    }
    return n;
}

static status read_action_limits(const cJSON *space, const char *key, float *limits, uint32_t A,
                                 struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(space, key);
    uint32_t n = read_limits(item, limits, 0, A);
    if (cJSON_IsNumber(item)) {
        for (uint32_t i = 1; i < A; i++) {
            limits[i] = limits[0];
        }
    } else if (n != A) {
        return err_set(err, STATUS_INVALID, "action_space: %s: %u limits, expected %u" HINT, key, n,
                       A);
    }
    for (uint32_t i = 0; i < A; i++) {
        if (!isfinite(limits[i])) {
            return err_set(
                err, STATUS_INVALID,
                "action_space: %s: action %u has no finite limit, but actions must have both" HINT,
                key, i);
        }
    }
    return STATUS_OK;
}

static status read_actions(struct signature *signature, const cJSON *metadata, struct err *err)
{
    cJSON *space;
    status s = read_space(metadata, "action_space", &space, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = box_size(space, SIGNATURE_ACTIONS_MAX, &signature->A, "action_space", err);
    if (s == STATUS_OK) {
        s = read_action_limits(space, "low", signature->action_min, signature->A, err);
    }
    if (s == STATUS_OK) {
        s = read_action_limits(space, "high", signature->action_max, signature->A, err);
    }
    cJSON_Delete(space);
    return s;
}

status minari_signature(struct signature *signature, const cJSON *metadata, struct err *err)
{
    const char *format =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, "data_format"));
    if (format != NULL && strcmp(format, "hdf5") != 0) {
        return err_set(err, STATUS_INVALID, "data_format: \"%s\": only \"hdf5\" can be read",
                       format);
    }
    struct signature made = {.K = 1, .rewards = {"reward"}};
    cJSON *space;
    status s = read_space(metadata, "observation_space", &space, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = add_slices(&made, space, "", 0, err);
    cJSON_Delete(space);
    if (s == STATUS_OK) {
        s = read_actions(&made, metadata, err);
    }
    if (s == STATUS_OK) {
        s = signature_check(&made, err);
    }
    if (s == STATUS_OK) {
        *signature = made;
    }
    return s;
}

/* ---- export ---- */

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

static status write_metadata(const char *path, const struct signature *signature, const char *id,
                             uint64_t episodes, uint64_t transitions, size_t bytes, struct err *err)
{
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

struct export
{
    const struct dataset *dataset;
    struct hdf5_writing writing;
    uint32_t reward_k;
    uint64_t episodes, transitions, bad;
    uint64_t bytes; /* of rows so far */
};

static status export_shard(struct export *to, size_t shard_i, struct episode *episode,
                           struct err *err)
{
    const struct signature *signature = dataset_signature(to->dataset);
    struct shard_reader *reader;
    struct err why = {0};
    if (shard_reader_open(&reader, to->dataset, shard_i, &why) != STATUS_OK) {
        log_warn("left out: %s", why.text);
        to->bad += dataset_shard(to->dataset, shard_i)->episodes;
        return STATUS_OK;
    }
    status s = STATUS_OK;
    for (uint64_t i = 0; i < shard_reader_episodes(reader) && s == STATUS_OK; i++) {
        if (shard_reader_read(reader, i, episode, &why) != STATUS_OK) {
            log_warn("left out: %s", why.text);
            to->bad++;
            continue;
        }
        to->bytes += ((uint64_t)episode->T + 1) * episode->W * sizeof(float);
        if (to->bytes > SHARD_BYTES_MAX) {
            s = err_set(err, STATUS_FULL,
                        "more than %llu bytes of rows: export a part of the shards",
                        SHARD_BYTES_MAX);
            break;
        }
        episode->identity = (struct episode_identity){0};
        hdf5_lock();
        s = shard_write_episode(&to->writing, signature, episode, to->episodes, to->reward_k, err);
        hdf5_unlock();
        to->episodes += s == STATUS_OK;
        to->transitions += episode->T;
    }
    shard_reader_close(reader);
    return s;
}

static status export_episodes(struct export *to, void **image, size_t *size, struct err *err)
{
    hdf5_lock();
    status s = hdf5_writing_begin(&to->writing, 0, err);
    hdf5_unlock();
    if (s != STATUS_OK) {
        return s;
    }
    struct episode episode;
    episode_init(&episode, signature_width(dataset_signature(to->dataset)));
    for (size_t i = 0; i < dataset_n_shards(to->dataset) && s == STATUS_OK; i++) {
        s = export_shard(to, i, &episode, err);
    }
    episode_fini(&episode);
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
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s/data/metadata.json", folder);
    if (length < 0 || (size_t)length + 1 >= sizeof path || !id_valid(id) ||
        (signature->K > 0 && reward_k >= signature->K)) {
        return err_set(err, STATUS_INVALID,
                       "export %s as \"%s\": path too long, bad name ([a-zA-Z0-9_/-]+), "
                       "or no reward %u",
                       folder, id, reward_k);
    }
    char *data_end = strrchr(path, '/');
    *data_end = 0;
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
    s = file_make_folders(path, err);
    if (s == STATUS_OK) {
        const struct file_part part = {.bytes = image, .size = size};
        memcpy(data_end, "/" MINARI_MAIN_FILE, sizeof "/" MINARI_MAIN_FILE);
        s = file_replace(path, &part, 1, err);
    }
    mem_free(image);
    if (s == STATUS_OK) {
        memcpy(data_end, "/metadata.json", sizeof "/metadata.json");
        s = write_metadata(path, signature, id, to.episodes, to.transitions, size, err);
    }
    if (s == STATUS_OK) {
        *n_bad = to.bad;
    }
    return s;
}
