/* A dataset or logs, behind one list of shards.
 *
 * A source is one of two kinds, and every function here asks which one it is; the kinds share no
 * more than the list of shards and the digests of their rules. Logs are opened, mapped and indexed
 * when the source is opened, so that a mapping that does not fit is found before anything is
 * inserted; the values of an episode are read when it is asked for. */
#include "common/logs/source/source.h"

#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/logs/files/rosbag_metadata.h"
#include "common/logs/source/source_location.h"
#include "common/logs/source/source_mapping.h"
#include "common/logs/source/source_parts.h"

/* ---- opening ---- */

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
        s = source_mapping_check(source->path, notes, err);
    }
    return s == STATUS_OK ? use_mapping(source, proposed, notes, err) : s;
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
