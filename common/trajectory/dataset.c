/* Opening a folder of logs: which kind it is, its signature, its shards.
 *
 * metadata.json decides. Ours lists the shards with counts and checksums, or gives a signature
 * alone; then the shards are the .hdf5 files of the folder, or Minari's one file. Minari's own
 * metadata gives the signature by its spaces. No episode is read here: shards that nobody lists are
 * surveyed for their number of episodes only.
 *
 * The folder may come from anyone. Counts and names in metadata.json are checked for what they may
 * be, and what they claim about a file is checked by whoever reads it. A dataset that is open does
 * not change but for the digests, which any thread may ask for. */
#include "common/trajectory/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/trajectory/file_digest.h"
#include "common/trajectory/minari_metadata.h"
#include "common/trajectory/shard_survey.h"

/* Longer paths are refused. */
#define PATH_SIZE 4096

/* An open folder. Shards keep the order of the list, or of their names. */
struct dataset {
    char *folder;
    struct signature signature;
    /* Of the bytes of metadata.json. */
    uint64_t digest;
    size_t n_shards;
    struct dataset_shard *shards; /* paths are ours */
    struct file_digest *digests;  /* (n_shards), filled by dataset_shard_digest */
};

const char *dataset_folder(const struct dataset *dataset)
{
    return dataset->folder;
}

const struct signature *dataset_signature(const struct dataset *dataset)
{
    return &dataset->signature;
}

uint64_t dataset_digest(const struct dataset *dataset)
{
    return dataset->digest;
}

size_t dataset_n_shards(const struct dataset *dataset)
{
    return dataset->n_shards;
}

/* Valid until dataset_close. */
const struct dataset_shard *dataset_shard(const struct dataset *dataset, size_t shard_i)
{
    ASSERT(shard_i < dataset->n_shards);
    return &dataset->shards[shard_i];
}

/* As listed or surveyed; bad episodes are among them. */
uint64_t dataset_episodes(const struct dataset *dataset)
{
    uint64_t n = 0;
    for (size_t i = 0; i < dataset->n_shards; i++) {
        n += dataset->shards[i].episodes;
    }
    return n;
}

/* Of shards that could not be surveyed nothing is counted. */
uint64_t dataset_transitions(const struct dataset *dataset)
{
    uint64_t n = 0;
    for (size_t i = 0; i < dataset->n_shards; i++) {
        n += dataset->shards[i].transitions;
    }
    return n;
}

/* Also for a dataset whose opening failed half-way. */
void dataset_close(struct dataset *dataset)
{
    if (dataset == NULL) {
        return;
    }
    for (size_t i = 0; i < dataset->n_shards; i++) {
        /* The paths are const for readers, and ours to free. */
        mem_free((void *)(uintptr_t)dataset->shards[i].path);
    }
    mem_free(dataset->digests);
    mem_free(dataset->shards);
    mem_free(dataset->folder);
    mem_free(dataset);
}

/* ---- shards ---- */

/* Room for one more; its path is `folder`/`file`. */
static status add_shard(struct dataset *dataset, const char *folder, const char *file,
                        struct dataset_shard **shard, struct err *err)
{
    /* A metadata.json that lists millions of files is a mistake, or hostile. */
    if (dataset->n_shards >= DATASET_SHARDS_MAX) {
        return err_set(err, STATUS_INVALID, "%s: more than %u shards", folder, DATASET_SHARDS_MAX);
    }
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s/%s", folder, file);
    if (length < 0 || (size_t)length >= sizeof path) {
        return err_set(err, STATUS_INVALID, "%s: path too long", folder);
    }
    /* One more place. The list is short, and made once. */
    struct dataset_shard *shards =
        mem_resize(dataset->shards, dataset->n_shards + 1, sizeof *shards);
    if (shards == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: list of shards", folder);
    }
    dataset->shards = shards;
    char *copy = mem_text(path);
    if (copy == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: list of shards", folder);
    }
    /* Counted only now, so that dataset_close frees what is there and nothing else. */
    *shard = &shards[dataset->n_shards++];
    **shard = (struct dataset_shard){.path = copy, .number = dataset->n_shards - 1};
    return STATUS_OK;
}

/* An integer >= 0 in a shard's entry. */
static status entry_number(const cJSON *entry, const char *key, uint64_t *value, const char *where,
                           struct err *err)
{
    /* Numbers in JSON are doubles; above 9e15 they are no longer exact. */
    double number;
    status s = json_number(entry, key, &number, where, err);
    if (s == STATUS_OK && !(number >= 0 && number < 9e15 && number == (double)(uint64_t)number)) {
        s = err_set(err, STATUS_INVALID, "%s: %s: expected a whole number >= 0", where, key);
    }
    if (s == STATUS_OK) {
        *value = (uint64_t)number;
    }
    return s;
}

/* 16 hexadecimal digits. */
static bool parse_hex(const char *text, uint64_t *value)
{
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) {
        return false;
    }
    *value = strtoull(text, NULL, 16);
    return true;
}

/* Adds a shard that metadata.json lists. */
static status add_listed(struct dataset *dataset, const cJSON *entry, const char *where,
                         struct err *err)
{
    const char *file;
    const char *checksum;
    struct dataset_shard *shard;
    uint64_t number;
    status s = json_text(entry, "file", &file, where, err);
    /* Only a plain name: no path may lead out of the folder, and no hidden file is a shard. */
    if (s == STATUS_OK && (file[0] == 0 || file[0] == '.' || strchr(file, '/') != NULL)) {
        s = err_set(err, STATUS_INVALID, "%s: file: expected a name in this folder, not \"%s\"",
                    where, file);
    }
    if (s == STATUS_OK) {
        s = add_shard(dataset, dataset->folder, file, &shard, err);
    }
    /* The counts are needed to plan the reading; the size, where it is listed, finds a file that
     * was cut. */
    if (s == STATUS_OK) {
        s = entry_number(entry, "episodes", &shard->episodes, where, err);
    }
    if (s == STATUS_OK) {
        s = entry_number(entry, "transitions", &shard->transitions, where, err);
    }
    if (s == STATUS_OK && cJSON_HasObjectItem(entry, "bytes")) {
        s = entry_number(entry, "bytes", &shard->bytes, where, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* Our own names carry the number, which is part of an episode's identity. */
    if (sscanf(file, "shard-%5lu.hdf5", &number) == 1) {
        shard->number = number;
    }
    /* Without a checksum the shard is identified by its name, its size and the metadata. */
    if (!cJSON_HasObjectItem(entry, "xxh64")) {
        shard->source = XXH64(file, strlen(file), dataset->digest + shard->bytes);
        return STATUS_OK;
    }
    /* Listed with a checksum: that is its identity, and it is compared when the shard is opened. */
    shard->listed = true;
    s = json_text(entry, "xxh64", &checksum, where, err);
    if (s == STATUS_OK && !parse_hex(checksum, &shard->source)) {
        s = err_set(err, STATUS_INVALID, "%s: xxh64: expected 16 hexadecimal digits", where);
    }
    return s;
}

/* Adds all shards of the list, in its order. `path` is for messages. */
static status list_from_metadata(struct dataset *dataset, const cJSON *shards, const char *path,
                                 struct err *err)
{
    if (!cJSON_IsArray(shards)) {
        return err_set(err, STATUS_INVALID, "%s: shards: expected an array", path);
    }
    size_t i = 0;
    /* An error names the entry, since one of thousands may be wrong. */
    for (const cJSON *entry = shards->child; entry != NULL; entry = entry->next, i++) {
        char where[PATH_SIZE + 40];
        snprintf(where, sizeof where, "%s: shards[%zu]", path, i);
        status s = add_listed(dataset, entry, where, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* Adds a file that is not listed; its episodes are counted. One that cannot be opened stays in the
 * list, so that reading it gives the reason. */
static status add_plain(struct dataset *dataset, const char *folder, const char *file,
                        struct err *err)
{
    struct dataset_shard *shard;
    status s = add_shard(dataset, folder, file, &shard, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Name, size and metadata identify it, as above: reading the whole file would take too long. */
    struct stat info;
    const uint64_t size = stat(shard->path, &info) == 0 ? (uint64_t)info.st_size : 0;
    shard->source = XXH64(file, strlen(file), dataset->digest + size);
    /* A file that cannot be surveyed has 0 episodes here, and an error when it is read. */
    struct shard_survey survey;
    if (shard_survey(&survey, shard->path, NULL) == STATUS_OK) {
        shard->episodes = survey.episodes;
        shard->transitions = survey.transitions;
        mem_free(survey.origins);
    }
    return STATUS_OK;
}

/* For scandir: visible files whose name ends in .hdf5. */
static int is_hdf5(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return entry->d_name[0] != '.' && length > 5 &&
           strcmp(entry->d_name + length - 5, ".hdf5") == 0;
}

/* All .hdf5 files of the folder in order of name. */
static status list_from_folder(struct dataset *dataset, struct err *err)
{
    struct dirent **entries = NULL;
    int n = scandir(dataset->folder, &entries, is_hdf5, alphasort);
    if (n < 0) {
        return err_errno(err, errno, "%s", dataset->folder);
    }
    status s = STATUS_OK;
    /* After an error the rest of the list is only freed. */
    for (int i = 0; i < n; i++) {
        if (s == STATUS_OK) {
            s = add_plain(dataset, dataset->folder, entries[i]->d_name, err);
        }
        free(entries[i]);
    }
    free(entries);
    if (s == STATUS_OK && dataset->n_shards == 0) {
        s = err_set(err, STATUS_NOT_FOUND, "%s: no .hdf5 files", dataset->folder);
    }
    return s;
}

status dataset_shard_digest(const struct dataset *dataset, size_t shard_i, uint64_t *digest,
                            struct err *err)
{
    ASSERT(shard_i < dataset->n_shards);
    return file_digest_get(&dataset->digests[shard_i], dataset->shards[shard_i].path, digest, err);
}

/* ---- metadata ---- */

/* Is there such a file or folder? Its path goes to `path`, which is valid only then. */
static bool is_there(const char *folder, const char *name, char path[PATH_SIZE])
{
    struct stat info;
    int length = snprintf(path, PATH_SIZE, "%s/%s", folder, name);
    return length > 0 && length < PATH_SIZE && stat(path, &info) == 0;
}

/* The parsed metadata.json, for cJSON_Delete, and the digest of its bytes. CORRUPT: no JSON
 * object. */
static status read_metadata(const char *path, cJSON **json, uint64_t *digest, struct err *err)
{
    void *bytes;
    size_t size;
    /* A FIFO (archives may contain them) would make us wait for ever. */
    status s = file_read_regular(path, DATASET_METADATA_MAX, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* What the values mean is checked where they are used. */
    cJSON *read = NULL;
    s = json_parse(bytes, size, false, &read, NULL);
    if (s == STATUS_NO_MEMORY) {
        err_set(err, s, "%s: out of memory", path);
    } else if (!cJSON_IsObject(read)) {
        s = err_set(err, STATUS_CORRUPT, "%s: not a JSON object", path);
        cJSON_Delete(read);
    } else {
        *json = read;
        *digest = XXH64(bytes, size, 0);
    }
    mem_free(bytes);
    return s;
}

/* The signature of our own metadata. It is parsed from text, since that is what the parser
 * takes. */
static status read_signature(struct signature *signature, const cJSON *json, const char *path,
                             struct err *err)
{
    char *text = cJSON_PrintUnformatted(json);
    if (text == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: signature", path);
    }
    status s = signature_from_json(signature, text, err);
    cJSON_free(text);
    return s == STATUS_OK ? s : err_context(err, s, "%s", path);
}

/* A Minari dataset: `data` is the folder with its main_data.hdf5. With `metadata` the signature is
 * Minari's, too. */
static status open_minari(struct dataset *dataset, const char *data, const cJSON *metadata,
                          const char *path, struct err *err)
{
    /* Beside a metadata.json of ours the signature has been read already. */
    status s = STATUS_OK;
    if (metadata != NULL) {
        s = minari_signature(&dataset->signature, metadata, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "%s", path);
        }
    }
    /* Minari keeps all episodes in one file. */
    char main_file[PATH_SIZE];
    if (!is_there(data, MINARI_MAIN_FILE, main_file)) {
        return err_set(err, STATUS_NOT_FOUND, "%s/%s: is not there", data, MINARI_MAIN_FILE);
    }
    return add_plain(dataset, data, MINARI_MAIN_FILE, err);
}

/* A folder with a metadata.json of ours. */
static status open_folder(struct dataset *dataset, const cJSON *metadata, const char *path,
                          struct err *err)
{
    /* The one thing that our metadata must have. */
    const cJSON *signature = cJSON_GetObjectItemCaseSensitive(metadata, "signature");
    if (signature == NULL) {
        return err_set(err, STATUS_INVALID, "%s: signature: is not there", path);
    }
    status s = read_signature(&dataset->signature, signature, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Three kinds, by what is there: a list of shards, Minari's file, or files in the folder. */
    const cJSON *shards = cJSON_GetObjectItemCaseSensitive(metadata, "shards");
    char data[PATH_SIZE];
    if (shards != NULL) {
        return list_from_metadata(dataset, shards, path, err);
    }
    if (is_there(dataset->folder, "data/" MINARI_MAIN_FILE, data)) {
        /* Cut down to the folder data/, where Minari's file is. */
        *strrchr(data, '/') = 0;
        return open_minari(dataset, data, NULL, path, err);
    }
    return list_from_folder(dataset, err);
}

/* Finds metadata.json in the folder or in data/, and opens what it describes. */
static status open_any(struct dataset *dataset, struct err *err)
{
    char path[PATH_SIZE];
    bool in_data = false;
    /* Minari keeps its metadata in data/, ours is in the folder itself. */
    if (!is_there(dataset->folder, "metadata.json", path)) {
        in_data = is_there(dataset->folder, "data/metadata.json", path);
        if (!in_data) {
            return err_set(
                err, STATUS_NOT_FOUND,
                "%s: is not a dataset: it has neither metadata.json nor data/metadata.json",
                dataset->folder);
        }
    }
    /* The digest is kept: it identifies shards that have no checksum. */
    cJSON *metadata = NULL;
    status s = read_metadata(path, &metadata, &dataset->digest, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Minari's metadata may lie in the folder itself, where that is the data/ folder. */
    if (in_data || minari_is_metadata(metadata)) {
        char data[PATH_SIZE];
        memcpy(data, path, sizeof data);
        *strrchr(data, '/') = 0;
        s = open_minari(dataset, data, metadata, path, err);
    } else {
        s = open_folder(dataset, metadata, path, err);
    }
    cJSON_Delete(metadata);
    return s;
}

status dataset_open(struct dataset **dataset, const char *folder, struct err *err)
{
    struct dataset *made = mem_new(sizeof *made);
    if (made == NULL || (made->folder = mem_text(folder)) == NULL) {
        mem_free(made);
        return err_set(err, STATUS_NO_MEMORY, "%s: open dataset", folder);
    }
    status s = open_any(made, err);
    if (s == STATUS_OK) {
        /* One place more than shards, so that an empty list is no special case. */
        made->digests = mem_array(made->n_shards + 1, sizeof *made->digests);
        s = made->digests != NULL ? s : err_set(err, STATUS_NO_MEMORY, "%s: open dataset", folder);
    }
    if (s != STATUS_OK) {
        dataset_close(made);
        return s;
    }
    *dataset = made;
    return STATUS_OK;
}
