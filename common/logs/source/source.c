/* A dataset or logs, behind one list of shards.
 *
 * A source is one of two kinds, and every function here asks which one it is; the kinds share no
 * more than the list of shards and the digests of their rules. Logs are opened, mapped and indexed
 * when the source is opened, so that a mapping that does not fit is found before anything is
 * inserted; the values of an episode are read when it is asked for. */
#include "common/logs/source/source.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/logs/episodes/logs.h"
#include "common/logs/files/rosbag_metadata.h"
#include "common/logs/propose/propose.h"
#include "common/trajectory/episode_pieces.h"
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

    /* What source_take_units gave; NULL: all episodes as they were logged. */
    struct source_unit *units;
    uint64_t *firsts;               /* (n_shards + 1) */
    struct dataset_shard *selected; /* (n_shards), with the numbers of the units */
    bool split;                     /* readers keep rows with bad values */
    uint64_t rules;                 /* digest of the rules */
    bool clip;                      /* of readers that are opened */
    struct episode_history history; /* steps > 1: stacked into `stacked` */
    struct signature stacked;
};

struct source_reader {
    struct source *source;
    size_t shard_i;
    struct episode_window window; /* of the history */
    struct episode plain;         /* an episode before its history is stacked */
    struct episode logged; /* of units: the episode that was read last, logged_i, if it is there */
    uint64_t logged_i;
    bool has_logged;
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

/* Finds the episodes by the mapping, whose text is appended to `notes` if it is a proposal. */
static status use_mapping(struct source *source, bool proposed, struct text *notes, struct err *err)
{
    /* The digest is that of the mapping as we would write it, so comments in a file do not count. */
    struct text yaml = {0};
    mapping_write(&source->mapping, &yaml);
    status s =
        yaml.failed ? err_set(err, STATUS_NO_MEMORY, "%s: mapping", source->path) : STATUS_OK;
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

/* Reads or proposes the mapping and finds the episodes. */
static status map_logs(struct source *source, struct text *notes, struct err *err)
{
    bool proposed;
    status s = source_find_mapping(source->logs, source->path, source->mapping_path,
                                   &source->mapping, &proposed, notes, err);
    if (s == STATUS_OK && proposed) {
        s = check_certain(source->path, notes, err);
    }
    return s == STATUS_OK ? use_mapping(source, proposed, notes, err) : s;
}

/* ---- opening ---- */

bool source_is_dataset(const char *path)
{
    char found[PATH_SIZE];
    return (is_there(path, "metadata.json", found) ||
            is_there(path, "data/metadata.json", found)) &&
           !minari_logs_is(path);
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
        /* All bags have a metadata.yaml, so the whole path tells them apart. */
        name = rosbag_metadata_is(shard->path) ? shard->path : name;
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

status source_of_logs(struct source **source, const char *path, struct logs *logs,
                      struct mapping *mapping, struct err *err)
{
    struct source *made = mem_new(sizeof *made);
    if (made == NULL) {
        logs_close(logs);
        mapping_fini(mapping);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    made->logs = logs;
    made->mapping = *mapping;
    mapping_init(mapping);
    made->path = mem_text(path);
    made->mapping_path = mem_text("");
    status s = made->path == NULL || made->mapping_path == NULL
                   ? err_set(err, STATUS_NO_MEMORY, "%s", path)
                   : use_mapping(made, false, NULL, err);
    if (s == STATUS_OK) {
        s = list_shards(made, err);
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
    mem_free(source->units);
    mem_free(source->firsts);
    mem_free(source->selected);
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

void source_findings(const struct source *source, struct text *text)
{
    if (source->dataset == NULL) {
        logs_findings(source->logs, text);
    }
}

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
    return source->history.steps > 1 ? &source->stacked : source_logged_signature(source);
}

const struct signature *source_logged_signature(const struct source *source)
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
    if (source->selected != NULL) {
        return &source->selected[shard_i];
    }
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
    struct file_digest *known = &source->digests[shard_i];
    const char *path = source->shards[shard_i].path;
    if (!rosbag_metadata_is(path) || known->known) {
        return file_digest_get(known, path, digest, err);
    }
    /* A bag is its metadata and the files that these name. */
    const status s = rosbag_metadata_digest(path, digest, err);
    if (s == STATUS_OK) {
        known->value = *digest;
        known->known = true;
    }
    return s;
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

/* ---- rules ---- */

void source_set_clip(struct source *source, bool clip)
{
    source->clip = clip;
}

status source_set_history(struct source *source, const struct episode_history *history,
                          struct err *err)
{
    struct episode_history used = *history;
    if (used.steps <= 1 && source->logs != NULL) {
        used = source->mapping.rules.history;
    }
    if (used.steps <= 1) {
        return STATUS_OK;
    }
    const status s =
        episode_history_signature(&used, source_logged_signature(source), &source->stacked, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "%s", source->path);
    }
    source->history = used;
    return s;
}

void source_add_rules(const struct source *source, struct episode_rules *rules)
{
    rules->history = source->history.steps > 1 ? source->history : rules->history;
    if (source->dataset != NULL) {
        return;
    }
    const struct episode_rules *own = &source->mapping.rules;
    rules->split_bad_rows |= own->split_bad_rows;
    rules->split_gaps |= own->split_gaps;
    rules->min_piece = own->min_piece > rules->min_piece ? own->min_piece : rules->min_piece;
    if (episode_filter_keeps_all(&rules->filter)) {
        rules->filter = own->filter;
    }
}

void source_set_rules(struct source *source, const struct episode_rules *rules)
{
    struct text text = {0};
    episode_rules_write(rules, &text);
    source->rules = XXH64(text.bytes, text.size, 0);
    text_fini(&text);
    source->split = episode_rules_split(rules);
    if (source->logs != NULL) {
        logs_set_keep_bad(source->logs, rules->split_bad_rows);
    }
}

status source_take_units(struct source *source, struct source_unit *units, uint64_t *firsts,
                         struct err *err)
{
    const size_t n = source_n_shards(source);
    struct dataset_shard *selected = mem_array(n, sizeof *selected);
    if (selected == NULL) {
        mem_free(units);
        mem_free(firsts);
        return err_set(err, STATUS_NO_MEMORY, "%s: list of %zu files", source->path, n);
    }
    /* The shards as they are, but with other episodes. Their number tells plans of other rules
     * apart. */
    for (size_t i = 0; i < n; i++) {
        selected[i] = *source_shard(source, i);
        selected[i].source = XXH64(&selected[i].source, sizeof selected[i].source, source->rules);
        selected[i].episodes = firsts[i + 1] - firsts[i];
        selected[i].transitions = 0;
        for (uint64_t j = firsts[i]; j < firsts[i + 1]; j++) {
            selected[i].transitions += units[j].T;
        }
    }
    ASSERT(source->units == NULL);
    source->selected = selected;
    source->units = units;
    source->firsts = firsts;
    return STATUS_OK;
}

const struct logs_gaps *source_gaps(const struct source *source)
{
    return source->logs != NULL ? logs_gaps(source->logs) : NULL;
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
    made->shard_i = shard_i;
    const struct signature *logged = source_logged_signature(source);
    episode_init(&made->logged, signature_width(logged));
    episode_init(&made->plain, signature_width(logged));
    status s = source->history.steps > 1
                   ? episode_window_init(&made->window, &source->history, logged, err)
                   : STATUS_OK;
    if (s != STATUS_OK) {
        mem_free(made);
        return s;
    }
    if (source->dataset != NULL) {
        s = shard_reader_open(&made->shard, source->dataset, shard_i, err);
        if (s == STATUS_OK) {
            shard_reader_set_keep_bad(made->shard, source->split);
        }
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
        episode_window_fini(&made->window);
        mem_free(made);
        return s;
    }
    source_reader_set_clip(made, source->clip);
    *reader = made;
    return STATUS_OK;
}

void source_reader_close(struct source_reader *reader)
{
    if (reader != NULL) {
        shard_reader_close(reader->shard);
        episode_fini(&reader->logged);
        episode_fini(&reader->plain);
        episode_window_fini(&reader->window);
        mem_free(reader);
    }
}

/* Episodes of the shard as they were logged. */
static uint64_t logged_episodes(const struct source_reader *reader)
{
    return reader->shard != NULL ? shard_reader_episodes(reader->shard) : reader->n;
}

uint64_t source_reader_episodes(const struct source_reader *reader)
{
    const struct source *source = reader->source;
    return source->units != NULL
               ? source->firsts[reader->shard_i + 1] - source->firsts[reader->shard_i]
               : logged_episodes(reader);
}

bool source_reader_is_as_listed(const struct source_reader *reader)
{
    return reader->shard == NULL || shard_reader_is_as_listed(reader->shard);
}

/* Reads an episode as it was logged. */
static status read_logged(struct source_reader *reader, uint64_t i, struct episode *episode,
                          struct err *err)
{
    if (reader->shard != NULL) {
        return shard_reader_read(reader->shard, i, episode, err);
    }
    const status s = logs_read(reader->source->logs, reader->first + i, episode, err);
    if (s == STATUS_OK) {
        episode->identity = (struct episode_identity){.source = reader->identity, .episode = i};
    }
    return s;
}

/* Reads the episode that a unit is part of into reader->logged, unless it is there. */
static status read_whole(struct source_reader *reader, const struct source_unit *unit,
                         struct err *err)
{
    const struct dataset_shard *shard = source_shard(reader->source, reader->shard_i);
    if (reader->has_logged && reader->logged_i == unit->episode_i) {
        return STATUS_OK;
    }
    /* metadata.json may list more episodes than the file has. */
    const uint64_t n = logged_episodes(reader);
    reader->has_logged = false;
    if (unit->episode_i >= n) {
        return err_set(err, STATUS_CORRUPT, "%s: %llu episodes, metadata.json lists more",
                       shard->path, (unsigned long long)n);
    }
    const status s = read_logged(reader, unit->episode_i, &reader->logged, err);
    reader->has_logged = s == STATUS_OK;
    reader->logged_i = unit->episode_i;
    return s;
}

/* Cuts a unit out of its episode. */
static status read_unit(struct source_reader *reader, const struct source_unit *unit,
                        struct episode *episode, struct err *err)
{
    const struct signature *signature = source_logged_signature(reader->source);
    status s = read_whole(reader, unit, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* What could not be read before, or has another length now, was changed meanwhile. */
    const struct episode_piece piece = {unit->first, unit->T};
    if (unit->T == 0 || unit->first + unit->T > reader->logged.T) {
        s = err_set(err, STATUS_CORRUPT, "the file was changed while it was in use");
    }
    if (s == STATUS_OK) {
        s = episode_piece_copy(episode, &reader->logged, signature, piece, err);
    }
    if (s == STATUS_OK && reader->source->split) {
        s = episode_check(episode, signature, err);
    }
    return s == STATUS_OK ? s
                          : err_context(err, s, "%s: episode %llu, row %u",
                                        source_shard(reader->source, reader->shard_i)->path,
                                        (unsigned long long)unit->episode_i, unit->first);
}

status source_reader_read(struct source_reader *reader, uint64_t i, struct episode *episode,
                          struct err *err)
{
    const struct source *source = reader->source;
    ASSERT(i < source_reader_episodes(reader));
    /* History is stacked from an episode of its own; otherwise the rows are read where they are
     * wanted. */
    const bool stack = source->history.steps > 1;
    struct episode *plain = stack ? &reader->plain : episode;
    const status s =
        source->units != NULL
            ? read_unit(reader, &source->units[source->firsts[reader->shard_i] + i], plain, err)
            : read_logged(reader, i, plain, err);
    return s == STATUS_OK && stack
               ? episode_history_stack(&reader->window, source_logged_signature(source), plain,
                                       episode, err)
               : s;
}

status source_reader_read_logged(struct source_reader *reader, uint64_t i, struct episode *episode,
                                 struct err *err)
{
    ASSERT(reader->source->units == NULL && i < logged_episodes(reader));
    return read_logged(reader, i, episode, err);
}

status source_reader_tag(struct source_reader *reader, uint64_t i, const char *name, char *value,
                         size_t size)
{
    ASSERT(reader->source->units == NULL && i < logged_episodes(reader));
    return reader->shard != NULL
               ? shard_reader_tag(reader->shard, i, name, value, size)
               : logs_tag(reader->source->logs, reader->first + i, name, value, size);
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
