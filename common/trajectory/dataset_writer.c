/* Shards and metadata.json on their way to disk. The order is the whole idea: shard first, list
 * second.
 *
 * A crash between the two leaves a whole shard that is not listed; the next opening finds and lists
 * it. A crash within a write leaves a temporary file, which the next opening removes. So a listed
 * shard is always there and whole, and no episode that was written is lost.
 *
 * The folder is locked as long as the writer is open: there is one writer per folder. One
 * thread. */
#include "common/trajectory/dataset_writer.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define LOG_MODULE "dataset_writer"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/shard_survey.h"
#include "common/trajectory/shard_writer.h"

/* Longer paths are refused. */
#define PATH_SIZE 4096
/* What the metadata says of itself. */
#define FORMAT         "hindcast-dataset"
#define FORMAT_VERSION 1

/* The open folder, and what it needs to know to continue. */
struct dataset_writer {
    /* The folder as it was given; messages name it. */
    char *folder;
    struct signature signature;
    cJSON *metadata; /* what metadata.json holds, or will hold after the next shard */
    uint64_t next;   /* number of the next shard */
    /* 0 to 9, as deflate has it; 0: none. */
    int compression;
    /* Holds the lock as long as it is open; -1: not locked. */
    int lock_fd;
    size_t n_last; /* identities in the last shard, for dataset_writer_last_has */
    struct episode_identity *last;
};

/* The path of a file in the folder. INVALID: too long. */
static status make_path(const struct dataset_writer *writer, const char *name, char path[PATH_SIZE],
                        struct err *err)
{
    int length = snprintf(path, PATH_SIZE, "%s/%s", writer->folder, name);
    if (length < 0 || length >= PATH_SIZE) {
        return err_set(err, STATUS_INVALID, "%s: path too long", writer->folder);
    }
    return STATUS_OK;
}

/* Five digits at least, so that names sort as numbers as long as there are fewer than 100000. */
static void shard_name(uint64_t number, char name[64])
{
    snprintf(name, 64, "shard-%05" PRIu64 ".hdf5", number);
}

/* In the metadata, where new shards are appended. */
static cJSON *shard_list(const struct dataset_writer *writer)
{
    return cJSON_GetObjectItemCaseSensitive(writer->metadata, "shards");
}

/* Those that are listed: what readers see. */
uint64_t dataset_writer_shards(const struct dataset_writer *writer)
{
    return (uint64_t)cJSON_GetArraySize(shard_list(writer));
}

void dataset_writer_set_compression(struct dataset_writer *writer, int level)
{
    ASSERT(level >= 0 && level <= 9);
    writer->compression = level;
}

bool dataset_writer_last_has(const struct dataset_writer *writer,
                             const struct episode_identity *identity)
{
    /* A linear search: the journal asks for a shard's worth of episodes, once per opening. */
    for (size_t i = 0; i < writer->n_last; i++) {
        if (episode_identity_compare(&writer->last[i], identity) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- one shard ---- */

/* Appends a shard to the list in memory; the entry, or NULL when out of memory. */
static cJSON *list_shard(struct dataset_writer *writer, const char *file, uint64_t episodes,
                         uint64_t transitions, uint64_t bytes, uint64_t checksum)
{
    char text[24];
    /* As text, since a JSON number holds 53 bits only. */
    snprintf(text, sizeof text, "%016" PRIx64, checksum);
    /* The members that dataset.c expects of an entry. A failed cJSON_Add.. leaves the entry as it
     * was, so the chain needs one check. */
    cJSON *entry = cJSON_CreateObject();
    if (cJSON_AddStringToObject(entry, "file", file) == NULL ||
        cJSON_AddNumberToObject(entry, "episodes", (double)episodes) == NULL ||
        cJSON_AddNumberToObject(entry, "transitions", (double)transitions) == NULL ||
        cJSON_AddNumberToObject(entry, "bytes", (double)bytes) == NULL ||
        cJSON_AddStringToObject(entry, "xxh64", text) == NULL ||
        !cJSON_AddItemToArray(shard_list(writer), entry)) {
        cJSON_Delete(entry);
        return NULL;
    }
    return entry;
}

/* Lists a shard that lies in the folder, here and in metadata.json: both or neither. */
static status commit_shard(struct dataset_writer *writer, const char *file, uint64_t episodes,
                           uint64_t transitions, uint64_t bytes, uint64_t checksum, struct err *err)
{
    char path[PATH_SIZE];
    status s = make_path(writer, "metadata.json", path, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* In memory first, since that is what is written. */
    if (list_shard(writer, file, episodes, transitions, bytes, checksum) == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: list %s", path, file);
    }
    /* json_write replaces the file atomically: readers see the old list or the new one. */
    s = json_write(path, writer->metadata, err);
    /* The list must not have what the file does not have. */
    if (s != STATUS_OK) {
        cJSON_DeleteItemFromArray(shard_list(writer), cJSON_GetArraySize(shard_list(writer)) - 1);
    }
    return s;
}

/* Do these episodes make a shard? *transitions: theirs together. INVALID: none, one without
 * transitions or of another signature, or too many bytes. */
static status check_episodes(const struct dataset_writer *writer,
                             const struct episode *const *episodes, size_t n, uint64_t *transitions,
                             struct err *err)
{
    uint32_t W = signature_width(&writer->signature);
    uint64_t bytes = 0;
    uint64_t T = 0;
    if (n < 1) {
        return err_set(err, STATUS_INVALID, "a shard of 0 episodes");
    }
    /* Sizes are added up as the rows have them, before compression. */
    for (size_t i = 0; i < n; i++) {
        if (episodes[i]->W != W || episodes[i]->T < 1) {
            return err_set(err, STATUS_INVALID,
                           "episode %zu: %u transitions, rows of %u floats; expected >= 1, %u", i,
                           episodes[i]->T, episodes[i]->W, W);
        }
        T += episodes[i]->T;
        bytes += ((uint64_t)episodes[i]->T + 1) * W * sizeof(float);
    }
    if (bytes > SHARD_BYTES_MAX) {
        return err_set(err, STATUS_INVALID, "a shard of %" PRIu64 " bytes, at most %llu: split it",
                       bytes, SHARD_BYTES_MAX);
    }
    *transitions = T;
    return STATUS_OK;
}

/* Builds the shard in memory, writes it and lists it. On an error it is not listed. */
static status write_shard(struct dataset_writer *writer, const char *path, const char *name,
                          const struct episode *const *episodes, size_t n, uint64_t transitions,
                          struct err *err)
{
    void *image;
    size_t size;
    /* The whole file in memory: so it can be checksummed and written at once. */
    status s =
        shard_image(&image, &size, &writer->signature, episodes, n, writer->compression, err);
    if (s != STATUS_OK) {
        return s;
    }
    const struct file_part part = {.bytes = image, .size = size};
    const uint64_t checksum = XXH64(image, size, 0);
    /* Atomically, and synced: when this returns OK the shard survives a power cut. */
    s = file_replace(path, &part, 1, err);
    mem_free(image);
    if (s != STATUS_OK) {
        return s;
    }
    /* Should this fail, the shard stays: the next attempt overwrites it, the next opening finds and
     * lists it. */
    return commit_shard(writer, name, n, transitions, size, checksum, err);
}

status dataset_writer_shard(struct dataset_writer *writer, const struct episode *const *episodes,
                            size_t n, struct err *err)
{
    char name[64];
    char path[PATH_SIZE];
    uint64_t transitions = 0;
    /* The number is used up only when the shard is listed. */
    shard_name(writer->next, name);
    status s = make_path(writer, name, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* All that may fail for lack of memory comes before the write. */
    s = check_episodes(writer, episodes, n, &transitions, err);
    struct episode_identity *last = s == STATUS_OK ? mem_array(n, sizeof *last) : NULL;
    if (s == STATUS_OK && last == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "%zu identities", n);
    }
    if (s == STATUS_OK) {
        s = write_shard(writer, path, name, episodes, n, transitions, err);
    }
    if (s != STATUS_OK) {
        mem_free(last);
        return err_context(err, s, "write %s", path);
    }
    /* From here on this is the last shard, whose episodes the journal may ask for. */
    for (size_t i = 0; i < n; i++) {
        last[i] = episodes[i]->identity;
    }
    mem_free(writer->last);
    writer->last = last;
    writer->n_last = n;
    writer->next++;
    return STATUS_OK;
}

/* ---- opening a folder ---- */

/* The metadata of a new folder. `made_by` is JSON text of the caller, or NULL. INVALID: it is not
 * an object. */
static status new_metadata(struct dataset_writer *writer, const char *made_by, struct err *err)
{
    /* What made the dataset is kept as it is, for people who wonder later. */
    cJSON *made = NULL;
    if (made_by == NULL) {
        made = cJSON_CreateObject();
    } else if (json_parse(made_by, strlen(made_by) + 1, false, &made, NULL) == STATUS_CORRUPT ||
               (made != NULL && !cJSON_IsObject(made))) {
        cJSON_Delete(made);
        return err_set(err, STATUS_INVALID, "made_by: expected a JSON object");
    }
    /* The signature as JSON, in the form that signature_json.c writes. */
    char *text = signature_to_json(&writer->signature);
    cJSON *signature = text != NULL ? cJSON_Parse(text) : NULL;
    mem_free(text);
    cJSON *json = cJSON_CreateObject();
    bool good = cJSON_AddStringToObject(json, "format", FORMAT) != NULL &&
                cJSON_AddNumberToObject(json, "version", FORMAT_VERSION) != NULL;
    /* What could be added belongs to `json` from there on. */
    good = json_put(json, "signature", signature) && good;
    good = json_put(json, "made_by", made) && good;
    if (!good || cJSON_AddArrayToObject(json, "shards") == NULL) {
        cJSON_Delete(json);
        return err_set(err, STATUS_NO_MEMORY, "metadata.json");
    }
    writer->metadata = json;
    return STATUS_OK;
}

/* The metadata of a folder that is continued, with its list of shards. MISMATCH: of another
 * signature. */
static status read_metadata(struct dataset_writer *writer, const char *path, struct err *err)
{
    cJSON *json;
    status s = json_read(path, DATASET_METADATA_MAX, &json, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Printed and parsed again, since the parser takes text. */
    char *text = cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(json, "signature"));
    struct signature there;
    if (text == NULL || !cJSON_IsArray(cJSON_GetObjectItemCaseSensitive(json, "shards"))) {
        s = err_set(err, STATUS_INVALID,
                    "no dataset written by Hindcast: \"signature\" or \"shards\" "
                    "is missing");
    } else {
        s = signature_from_json(&there, text, err);
    }
    /* One folder has rows of one kind only. */
    if (s == STATUS_OK) {
        s = signature_same(&there, &writer->signature, err);
    }
    cJSON_free(text);
    if (s != STATUS_OK) {
        cJSON_Delete(json);
        return err_context(err, s, "%s", path);
    }
    writer->metadata = json;
    return STATUS_OK;
}

/* Remembers the identities of the shard at `path`; what it holds goes to *survey, whose origins are
 * ours now. */
static status remember_last(struct dataset_writer *writer, const char *path,
                            struct shard_survey *survey, struct err *err)
{
    /* The survey reads attributes only, so this is cheap for a shard of any size. */
    status s = shard_survey(survey, path, err);
    if (s == STATUS_OK) {
        mem_free(writer->last);
        writer->last = survey->origins;
        writer->n_last = (size_t)survey->episodes;
    }
    return s;
}

/* A linear search: this is asked once per file when a folder is opened. */
static bool is_listed(const struct dataset_writer *writer, const char *file)
{
    const cJSON *entry;
    cJSON_ArrayForEach(entry, shard_list(writer))
    {
        const char *listed = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "file"));
        if (listed != NULL && strcmp(listed, file) == 0) {
            return true;
        }
    }
    return false;
}

/* Lists a shard that a crash kept from being listed. One that cannot be read is left alone: its
 * number is taken. */
static status adopt(struct dataset_writer *writer, const char *file, struct err *err)
{
    char path[PATH_SIZE];
    void *bytes;
    size_t size;
    struct shard_survey survey;
    status s = make_path(writer, file, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Its errors are warnings here: an unlisted file that cannot be read must not stop the
     * collector. */
    struct err why = {0};
    /* Read as a whole for its checksum, which the list has to have. */
    s = file_read(path, 2 * SHARD_BYTES_MAX, &bytes, &size, &why);
    if (s != STATUS_OK) {
        log_warn("a shard that is not listed cannot be read, left as it is: %s", why.text);
        return STATUS_OK;
    }
    const uint64_t checksum = XXH64(bytes, size, 0);
    mem_free(bytes);
    /* It is the newest shard so far, so its identities replace those of the one before. */
    if (remember_last(writer, path, &survey, &why) != STATUS_OK) {
        log_warn("a shard that is not listed cannot be read, left as it is: %s", why.text);
        return STATUS_OK;
    }
    log_info("listing a shard that an interrupted run left file=%s episodes=%" PRIu64, path,
             survey.episodes);
    return commit_shard(writer, file, survey.episodes, survey.transitions, size, checksum, err);
}

/* Shards, and what a crash may have left of one. */
static int is_ours(const struct dirent *entry)
{
    /* Other files in the folder are not ours, and are neither listed nor removed. 18 digits fit 64
     * bits. */
    const char *name = entry->d_name;
    size_t digits = strncmp(name, "shard-", 6) == 0 ? strspn(name + 6, "0123456789") : 0;
    const char *rest = name + 6 + digits;
    return digits >= 5 && digits <= 18 &&
           (strcmp(rest, ".hdf5") == 0 || strcmp(rest, ".hdf5.tmp") == 0);
}

/* Goes through the shards in the folder in order: removes halves, lists the whole, finds the next
 * number. */
static status scan_folder(struct dataset_writer *writer, struct err *err)
{
    struct dirent **entries = NULL;
    /* versionsort, so that numbers sort as numbers. */
    int n = scandir(writer->folder, &entries, is_ours, versionsort);
    if (n < 0) {
        return err_errno(err, errno, "%s", writer->folder);
    }
    status s = STATUS_OK;
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        char path[PATH_SIZE];
        /* Half a shard, from a crash while it was written. */
        if (s == STATUS_OK && strstr(name, ".tmp") != NULL) {
            s = make_path(writer, name, path, err);
            if (s == STATUS_OK) {
                unlink(path); /* what stays is overwritten later */
            }
        } else if (s == STATUS_OK) {
            /* Its number is taken, listed or not. */
            uint64_t number = strtoull(name + 6, NULL, 10);
            writer->next = number + 1 > writer->next ? number + 1 : writer->next;
            s = is_listed(writer, name) ? STATUS_OK : adopt(writer, name, err);
        }
        free(entries[i]);
    }
    free(entries);
    return s;
}

/* The last listed shard's identities, before unlisted ones follow. */
static void survey_last_listed(struct dataset_writer *writer)
{
    /* The last entry of the list is the shard that was written last. */
    int n = cJSON_GetArraySize(shard_list(writer));
    const cJSON *entry = n > 0 ? cJSON_GetArrayItem(shard_list(writer), n - 1) : NULL;
    const char *file = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "file"));
    /* Failing is no error: the folder can be continued without these identities. */
    char path[PATH_SIZE];
    struct shard_survey survey;
    struct err why = {0};
    if (file != NULL && make_path(writer, file, path, &why) == STATUS_OK &&
        remember_last(writer, path, &survey, &why) != STATUS_OK) {
        log_warn("the last shard listed cannot be read: %s", why.text);
    }
}

/* Locks the folder, reads or makes the metadata, and brings both in line with the files. On an
 * error dataset_writer_close ends what was begun. */
static status open_folder(struct dataset_writer *writer, const char *made_by, struct err *err)
{
    char path[PATH_SIZE];
    status s = file_make_folders(writer->folder, err);
    if (s == STATUS_OK) {
        /* The lock comes before anything is read or changed. */
        s = make_path(writer, ".lock", path, err);
    }
    if (s == STATUS_OK) {
        s = file_lock(path, &writer->lock_fd, err);
    }
    if (s == STATUS_OK) {
        s = make_path(writer, "metadata.json", path, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* A folder with metadata is continued, any other one becomes a dataset. */
    if (access(path, F_OK) == 0) {
        s = read_metadata(writer, path, err);
    } else {
        s = new_metadata(writer, made_by, err);
        if (s == STATUS_OK) {
            s = json_write(path, writer->metadata, err);
        }
    }
    /* The listed ones first, since those that are adopted are newer. */
    if (s == STATUS_OK) {
        survey_last_listed(writer);
        s = scan_folder(writer, err);
    }
    return s;
}

status dataset_writer_open(struct dataset_writer **writer, const char *folder,
                           const struct signature *signature, const char *made_by, struct err *err)
{
    /* A signature that breaks the rules must not get into a file. */
    status s = signature_check(signature, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct dataset_writer *made = mem_new(sizeof *made);
    if (made == NULL || (made->folder = mem_text(folder)) == NULL) {
        mem_free(made);
        return err_set(err, STATUS_NO_MEMORY, "%s: open for writing", folder);
    }
    /* 0 is a file descriptor, so "not open" has to be said. */
    made->lock_fd = -1;
    made->signature = *signature;
    s = open_folder(made, made_by, err);
    if (s != STATUS_OK) {
        dataset_writer_close(made);
        return s;
    }
    *writer = made;
    return STATUS_OK;
}

void dataset_writer_close(struct dataset_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    /* Closing the file ends the lock. */
    if (writer->lock_fd >= 0) {
        close(writer->lock_fd);
    }
    cJSON_Delete(writer->metadata);
    mem_free(writer->last);
    mem_free(writer->folder);
    mem_free(writer);
}
