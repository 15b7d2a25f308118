/* A dataset or logs, behind one list of shards.
 *
 * A source is one of two kinds, and every function here asks which one it is; the kinds share no
 * more than the list of shards and the digests of their rules. Logs are opened, mapped and indexed
 * when the source is opened, so that a mapping that does not fit is found before anything is
 * inserted; the values of an episode are read when it is asked for. */
#include "common/logs/source.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/logs/logs.h"
#include "common/logs/propose.h"
#include "common/trajectory/file_digest.h"
#include "common/trajectory/shard_reader.h"

#define PATH_SIZE 4096

struct source {
    char *path, *mapping_path;
    struct dataset *dataset; /* NULL: logs of another format, which have all that follows */
    struct logs *logs;
    struct mapping mapping;
    uint64_t digest; /* of the mapping */
    size_t n_shards;
    struct dataset_shard *shards; /* (n_shards), one for each file */
    struct file_digest *digests;  /* (n_shards) */
};

struct source_reader {
    struct source *source;
    struct shard_reader *shard; /* of a dataset */
    uint64_t first, n;          /* of logs: the episodes of the file */
    uint64_t identity;          /* of logs: digest of file and mapping */
};

/* ---- the mapping ---- */

/* Is there such a file or folder? Its path goes to `path`, which is valid only then. */
static bool is_there(const char *folder, const char *name, char path[PATH_SIZE])
{
    struct stat info;
    const int length = snprintf(path, PATH_SIZE, "%s/%s", folder, name);
    return length > 0 && length < PATH_SIZE && stat(path, &info) == 0;
}

status source_find_mapping(struct logs *logs, const char *path, const char *given,
                           struct mapping *mapping, bool *proposed, struct text *notes,
                           struct err *err)
{
    char beside[PATH_SIZE];
    *proposed = false;
    if (given != NULL && given[0] != '\0') {
        return mapping_read(mapping, given, err);
    }
    /* A mapping.yaml in the folder of logs needs no option. Where `path` is a file there is none. */
    if (is_there(path, "mapping.yaml", beside)) {
        return mapping_read(mapping, beside, err);
    }
    *proposed = true;
    return propose_mapping(logs, mapping, notes, err);
}

/* Refuses a proposal that the user has to confirm, with the commands for that. */
static status check_certain(const char *path, const struct text *notes, struct err *err)
{
    char guess[192];
    struct stat info;
    if (propose_is_certain(notes, guess, sizeof guess)) {
        return STATUS_OK;
    }
    /* A mapping beside the logs is found; one elsewhere has to be named. */
    const bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    return err_set(
        err, STATUS_INVALID,
        "%.400s: there is no mapping, and the proposed one has to be confirmed (%s). Run "
        "hindcast dataset map %.400s > %.400s%smapping.yaml, check that file, and try "
        "again%s",
        path, guess, path, folder ? path : "", folder ? "/" : "",
        folder ? "" : " with restorer.mapping: mapping.yaml");
}

/* Reads or proposes the mapping and finds the episodes. */
static status map_logs(struct source *source, struct text *notes, struct err *err)
{
    bool proposed;
    status s = source_find_mapping(source->logs, source->path, source->mapping_path,
                                   &source->mapping, &proposed, notes, err);
    if (s == STATUS_OK && proposed) {
        s = check_certain(source->path, notes, err);
    }
    /* The digest is that of the mapping as we would write it, so comments in a file do not count. */
    struct text yaml = {0};
    mapping_write(&source->mapping, &yaml);
    if (s == STATUS_OK && yaml.failed) {
        s = err_set(err, STATUS_NO_MEMORY, "%s: mapping", source->path);
    }
    if (s == STATUS_OK) {
        source->digest = XXH64(yaml.bytes, yaml.size, 0);
        if (proposed) {
            text_add(notes, yaml.bytes);
        }
        s = logs_map(source->logs, &source->mapping, err);
    }
    text_fini(&yaml);
    return s;
}

/* ---- opening ---- */

bool source_is_dataset(const char *path)
{
    char found[PATH_SIZE];
    return is_there(path, "metadata.json", found) || is_there(path, "data/metadata.json", found);
}

/* One shard for each file. */
static status list_shards(struct source *source, struct err *err)
{
    const size_t n = logs_n_files(source->logs);
    source->shards = mem_array(n, sizeof *source->shards);
    source->digests = mem_array(n, sizeof *source->digests);
    if (source->shards == NULL || source->digests == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: list of %zu files", source->path, n);
    }
    source->n_shards = n;
    for (size_t i = 0; i < n; i++) {
        struct dataset_shard *shard = &source->shards[i];
        struct stat info;
        uint64_t first;
        *shard = (struct dataset_shard){.path = logs_path(source->logs, i), .number = i};
        logs_file_episodes(source->logs, i, &first, &shard->episodes, &shard->transitions);
        /* Name, size and mapping tell the file from others; its contents count when it is read. */
        const char *name = strrchr(shard->path, '/');
        name = name != NULL ? name + 1 : shard->path;
        const uint64_t size = stat(shard->path, &info) == 0 ? (uint64_t)info.st_size : 0;
        shard->source = XXH64(name, strlen(name), source->digest + size);
    }
    return STATUS_OK;
}

static status open_logs(struct source *source, struct text *notes, struct err *err)
{
    status s = logs_open(&source->logs, source->path, err);
    if (s == STATUS_OK) {
        s = map_logs(source, notes, err);
    }
    return s == STATUS_OK ? list_shards(source, err) : s;
}

status source_open(struct source **source, const char *path, const char *mapping,
                   struct text *notes, struct err *err)
{
    struct source *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    mapping_init(&made->mapping);
    made->path = mem_text(path);
    made->mapping_path = mem_text(mapping != NULL ? mapping : "");
    status s = STATUS_OK;
    if (made->path == NULL || made->mapping_path == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "%s", path);
    } else if (!source_is_dataset(path)) {
        s = open_logs(made, notes, err);
    } else if (made->mapping_path[0] != '\0') {
        s = err_set(err, STATUS_INVALID,
                    "%s: is a dataset, which its metadata.json describes; the mapping %s is for "
                    "logs of other formats",
                    path, mapping);
    } else {
        s = dataset_open(&made->dataset, path, err);
    }
    if (s != STATUS_OK) {
        source_close(made);
        return s;
    }
    *source = made;
    return STATUS_OK;
}

void source_close(struct source *source)
{
    if (source == NULL) {
        return;
    }
    dataset_close(source->dataset);
    logs_close(source->logs);
    mapping_fini(&source->mapping);
    mem_free(source->shards);
    mem_free(source->digests);
    mem_free(source->mapping_path);
    mem_free(source->path);
    mem_free(source);
}

/* ---- asking ---- */

const char *source_path(const struct source *source)
{
    return source->path;
}

const char *source_mapping(const struct source *source)
{
    return source->mapping_path;
}

const char *source_rules(const struct source *source)
{
    return source->dataset != NULL ? "metadata.json" : "mapping";
}

uint64_t source_digest(const struct source *source)
{
    return source->dataset != NULL ? dataset_digest(source->dataset) : source->digest;
}

const struct signature *source_signature(const struct source *source)
{
    return source->dataset != NULL ? dataset_signature(source->dataset)
                                   : logs_signature(source->logs);
}

size_t source_n_shards(const struct source *source)
{
    return source->dataset != NULL ? dataset_n_shards(source->dataset) : source->n_shards;
}

const struct dataset_shard *source_shard(const struct source *source, size_t shard_i)
{
    ASSERT(shard_i < source_n_shards(source));
    return source->dataset != NULL ? dataset_shard(source->dataset, shard_i)
                                   : &source->shards[shard_i];
}

status source_shard_digest(const struct source *source, size_t shard_i, uint64_t *digest,
                           struct err *err)
{
    if (source->dataset != NULL) {
        return dataset_shard_digest(source->dataset, shard_i, digest, err);
    }
    ASSERT(shard_i < source->n_shards);
    return file_digest_get(&source->digests[shard_i], source->shards[shard_i].path, digest, err);
}

uint64_t source_episodes(const struct source *source)
{
    uint64_t n = 0;
    for (size_t i = 0; i < source_n_shards(source); i++) {
        n += source_shard(source, i)->episodes;
    }
    return n;
}

uint64_t source_transitions(const struct source *source)
{
    uint64_t n = 0;
    for (size_t i = 0; i < source_n_shards(source); i++) {
        n += source_shard(source, i)->transitions;
    }
    return n;
}

/* ---- reading ---- */

/* The part of an identity that all episodes of a file share. */
static status identify_file(struct source_reader *reader, size_t shard_i, struct err *err)
{
    const struct source *source = reader->source;
    uint64_t digest;
    const status s = source_shard_digest(source, shard_i, &digest, err);
    if (s == STATUS_OK) {
        reader->identity = XXH64(&digest, sizeof digest, source->digest);
    }
    return s;
}

status source_reader_open(struct source_reader **reader, struct source *source, size_t shard_i,
                          struct err *err)
{
    struct source_reader *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "reader");
    }
    made->source = source;
    status s;
    if (source->dataset != NULL) {
        s = shard_reader_open(&made->shard, source->dataset, shard_i, err);
    } else {
        uint64_t transitions;
        logs_file_episodes(source->logs, shard_i, &made->first, &made->n, &transitions);
        s = identify_file(made, shard_i, err);
        if (s == STATUS_OK && made->n == 0) {
            s = err_set(err, STATUS_INVALID, "%s: there is no episode in it",
                        source->shards[shard_i].path);
        }
    }
    if (s != STATUS_OK) {
        mem_free(made);
        return s;
    }
    *reader = made;
    return STATUS_OK;
}

void source_reader_close(struct source_reader *reader)
{
    if (reader != NULL) {
        shard_reader_close(reader->shard);
        mem_free(reader);
    }
}

uint64_t source_reader_episodes(const struct source_reader *reader)
{
    return reader->shard != NULL ? shard_reader_episodes(reader->shard) : reader->n;
}

bool source_reader_is_as_listed(const struct source_reader *reader)
{
    return reader->shard == NULL || shard_reader_is_as_listed(reader->shard);
}

status source_reader_read(struct source_reader *reader, uint64_t i, struct episode *episode,
                          struct err *err)
{
    ASSERT(i < source_reader_episodes(reader));
    if (reader->shard != NULL) {
        return shard_reader_read(reader->shard, i, episode, err);
    }
    const status s = logs_read(reader->source->logs, reader->first + i, episode, err);
    if (s == STATUS_OK) {
        episode->identity = (struct episode_identity){.source = reader->identity, .episode = i};
    }
    return s;
}

void source_reader_set_clip(struct source_reader *reader, bool clip)
{
    if (reader->shard != NULL) {
        shard_reader_set_clip(reader->shard, clip);
    } else {
        logs_set_clip(reader->source->logs, clip);
    }
}

uint64_t source_reader_clipped(const struct source_reader *reader)
{
    return reader->shard != NULL ? shard_reader_clipped(reader->shard)
                                 : logs_clipped(reader->source->logs);
}
