/* `hindcast dataset map` and `hindcast dataset import`.
 *
 * Episodes are read through the mapping one after another, collected until they make a shard, and
 * written by the same writer that collectors use. So everything behind it (the restorer, inspect,
 * export) knows one format only. */
#include "deploy/local/log_import.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/logs/episodes/logs.h"
#include "common/logs/propose/propose.h"
#include "common/logs/source/selection.h"
#include "common/logs/source/source.h"
#include "common/logs/source/source_location.h"
#include "common/logs/source/source_mapping.h"
#include "common/logs/source/source_reader.h"
#include "common/trajectory/dataset_writer.h"

#define SHARD_EPISODES_MAX 1024
#define SHARD_ROWS_BYTES   (64ull << 20) /* a shard is written once it holds this much */
#define PATH_SIZE          4096

/* ---- map ---- */

status log_import_map(const char *path, FILE *out, struct err *err)
{
    char found[SOURCE_PATH_SIZE];
    struct logs *logs;
    status s = source_location(path, found, err);
    if (s == STATUS_OK && source_location_is_hdf5(found)) {
        s = err_set(err, STATUS_INVALID,
                    "%s: is a dataset, which its metadata.json describes: it needs no mapping",
                    found);
    }
    if (s == STATUS_OK) {
        s = logs_open(&logs, found, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* The proposal and the reasons for it are made as texts first, so that an error prints
     * nothing. */
    struct mapping mapping;
    struct text notes = {0}, yaml = {0};
    s = propose_mapping(logs, &mapping, &notes, err);
    if (s == STATUS_OK) {
        mapping_write(&mapping, &yaml);
        mapping_fini(&mapping);
        if (notes.failed || yaml.failed) {
            s = err_set(err, STATUS_NO_MEMORY, "%s: mapping", path);
        }
    }
    /* The reasons stand as comments above the YAML: the output is a mapping file as it is. */
    if (s == STATUS_OK) {
        fprintf(out, "# How the logs in %s are read, proposed from what they hold. Please check:\n",
                found);
        char *line = notes.bytes;
        for (char *end; line != NULL && (end = strchr(line, '\n')) != NULL; line = end + 1) {
            fprintf(out, "#   %.*s\n", (int)(end - line), line);
        }
        fputs(yaml.bytes, out);
    }
    text_fini(&notes);
    text_fini(&yaml);
    logs_close(logs);
    return s;
}

/* ---- import ---- */

/* All state of one import. Zero is a valid beginning: what was not opened is closed as NULL. */
struct import {
    const struct log_import_options *options;
    FILE *out;
    struct source *source;
    struct selection selection;
    struct dataset_writer *writer;
    struct episode *waiting[SHARD_EPISODES_MAX]; /* for the next shard */
    size_t n_waiting;
    uint64_t waiting_bytes;
    uint64_t episodes, transitions, bad;
};

/* The mapping that the user gave, or lies beside the logs, or is proposed. */
static status find_mapping(struct import *import, struct logs *logs, struct mapping *mapping,
                           struct err *err)
{
    const struct log_import_options *options = import->options;
    struct text notes = {0};
    bool proposed;
    const status s =
        source_find_mapping(logs, options->from, options->mapping, mapping, &proposed, &notes, err);
    /* The user is told what was assumed, with the command that shows it. */
    if (s == STATUS_OK && proposed && notes.bytes != NULL) {
        fprintf(import->out,
                "no mapping was given; the proposed one is used (hindcast dataset map %s):\n%s",
                options->from, notes.bytes);
    }
    text_fini(&notes);
    return s;
}

/* Frees the episodes that wait; after an error these are ones that were never written. */
static void free_waiting(struct import *import)
{
    for (size_t i = 0; i < import->n_waiting; i++) {
        episode_fini(import->waiting[i]);
        mem_free(import->waiting[i]);
    }
    /* The array is used again for the next shard. */
    import->n_waiting = 0;
    import->waiting_bytes = 0;
}

/* Writes what waits as one shard. The episodes are freed whether or not this succeeds. */
static status write_shard(struct import *import, struct err *err)
{
    status s = STATUS_OK;
    /* Nothing may wait: at the end of the logs, for example. */
    if (import->n_waiting > 0) {
        s = dataset_writer_shard(import->writer, (const struct episode *const *)import->waiting,
                                 import->n_waiting, err);
        free_waiting(import);
    }
    return s;
}

/* Keeps the episode for the next shard: takes its rows. */
static status keep(struct import *import, struct episode *episode, struct err *err)
{
    struct episode *kept = mem_new(sizeof *kept);
    if (kept == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "episode %" PRIu64, import->episodes);
    }
    /* The rows change their owner; `episode` is left empty, ready for the next read. */
    *kept = *episode;
    episode_init(episode, kept->W);
    import->waiting[import->n_waiting++] = kept;
    import->waiting_bytes += (kept->T + 1ull) * kept->W * sizeof *kept->rows;
    import->episodes++;
    import->transitions += kept->T;
    /* A shard is limited in episodes and in bytes, so that memory does not depend on the logs. */
    const bool full =
        import->n_waiting == SHARD_EPISODES_MAX || import->waiting_bytes >= SHARD_ROWS_BYTES;
    return full ? write_shard(import, err) : STATUS_OK;
}

/* Prints what the logs hold besides episodes: clocks, and what is missing. */
static status print_findings(const struct import *import, struct err *err)
{
    struct text text = {0};
    source_findings(import->source, &text);
    const bool failed = text.failed;
    fputs(text.bytes != NULL ? text.bytes : "", import->out);
    text_fini(&text);
    return failed ? err_set(err, STATUS_NO_MEMORY, "%s", import->options->from) : STATUS_OK;
}

/* Opens the logs and chooses the episodes by the rules of the mapping. Appends what the metadata say
 * of the import to `made_by`. */
static status open_source(struct import *import, struct text *made_by, struct err *err)
{
    struct logs *logs;
    struct mapping mapping;
    struct episode_rules rules;
    status s = logs_open(&logs, import->options->from, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = find_mapping(import, logs, &mapping, err);
    if (s != STATUS_OK) {
        logs_close(logs);
        return s;
    }
    /* The metadata record the format and the whole mapping, so that the import can be repeated. */
    struct text yaml = {0};
    mapping_write(&mapping, &yaml);
    text_add(made_by, "{\"program\": \"hindcast dataset import\", \"format\": ");
    text_add_quoted(made_by, logs_format(logs)->name);
    text_add(made_by, ", \"mapping\": ");
    text_add_quoted(made_by, yaml.bytes != NULL ? yaml.bytes : "");
    text_add(made_by, "}");
    made_by->failed |= yaml.failed;
    text_fini(&yaml);

    s = source_of_logs(&import->source, import->options->from, logs, &mapping, err);
    if (s == STATUS_OK) {
        s = print_findings(import, err);
    }
    if (s == STATUS_OK) {
        episode_rules_init(&rules);
        s = source_set_history(import->source, &rules.history, err);
    }
    if (s == STATUS_OK) {
        s = selection_make(&import->selection, &import->source, 1, &rules, NULL, NULL, err);
        selection_print(&import->selection, import->out);
    }
    return s;
}

/* Opens the new dataset. EXISTS where there is one: two imports are never mixed. */
static status open_writer(struct import *import, const struct text *made_by, struct err *err)
{
    const char *to = import->options->to;
    char metadata[PATH_SIZE];
    const int length = snprintf(metadata, sizeof metadata, "%s/metadata.json", to);
    if (length < 0 || (size_t)length >= sizeof metadata) {
        return err_set(err, STATUS_INVALID, "%s: the path is too long", to);
    }
    if (access(metadata, F_OK) == 0) {
        return err_set(err, STATUS_EXISTS, "%s: holds a dataset already", to);
    }
    /* A text remembers that memory ran out, so it is asked once, at the end. */
    return made_by->failed
               ? err_set(err, STATUS_NO_MEMORY, "%s", to)
               : dataset_writer_open(&import->writer, to, source_signature(import->source),
                                     made_by->bytes, err);
}

/* Reads every episode of one file. A bad one is named and counted; any other error ends the
 * import. */
static status import_shard(struct import *import, size_t shard_i, struct episode *episode,
                           struct err *err)
{
    struct source_reader *reader;
    if (source_shard(import->source, shard_i)->episodes == 0) {
        return STATUS_OK;
    }
    status s = source_reader_open(&reader, import->source, shard_i, err);
    if (s != STATUS_OK) {
        return s;
    }
    for (uint64_t i = 0; s == STATUS_OK && i < source_reader_episodes(reader); i++) {
        /* The reason of a bad episode goes to `out`, and leaves the caller's `err` alone. */
        struct err why = {0};
        s = source_reader_read(reader, i, episode, &why);
        if (s == STATUS_OK) {
            /* The writer's own numbers become the episode's identity when it is read again. */
            episode->identity = (struct episode_identity){.episode = import->episodes};
            s = keep(import, episode, err);
        } else if (s == STATUS_INVALID || s == STATUS_CORRUPT) {
            fprintf(import->out, "left out: %s\n", why.text);
            import->bad++;
            s = STATUS_OK;
        } else if (err != NULL) {
            *err = why;
        }
    }
    source_reader_close(reader);
    return s;
}

/* Reads all files in order; the last shard may be shorter than the others. */
static status import_all(struct import *import, struct err *err)
{
    struct episode episode;
    episode_init(&episode, signature_width(source_signature(import->source)));
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < source_n_shards(import->source); i++) {
        s = import_shard(import, i, &episode, err);
    }
    episode_fini(&episode);
    return s == STATUS_OK ? write_shard(import, err) : s;
}

/* The steps of an import, in order. */
static status run_import(struct import *import, struct err *err)
{
    struct text made_by = {0};
    status s = open_source(import, &made_by, err);
    if (s == STATUS_OK) {
        s = open_writer(import, &made_by, err);
    }
    text_fini(&made_by);
    if (s == STATUS_OK) {
        s = import_all(import, err);
    }
    /* A dataset without episodes would fail much later, in the restorer. */
    if (s == STATUS_OK && import->episodes == 0) {
        s = err_set(err, STATUS_INVALID, "%s: none of %" PRIu64 " episodes is good",
                    import->options->from, import->bad);
    }
    if (s == STATUS_OK) {
        fprintf(import->out,
                "%s: %" PRIu64 " episodes, %" PRIu64 " transitions; %" PRIu64
                " bad episodes left out\n",
                import->options->to, import->episodes, import->transitions, import->bad);
    }
    return s;
}

status log_import(const struct log_import_options *options, FILE *out, uint64_t *n_bad,
                  struct err *err)
{
    struct import *import = mem_new(sizeof *import);
    if (import == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "import");
    }
    /* The struct is large because of the list of episodes, so it is on the heap. */
    import->options = options;
    import->out = out;
    const status s = run_import(import, err);
    *n_bad = import->bad;
    free_waiting(import);
    dataset_writer_close(import->writer);
    selection_fini(&import->selection);
    source_close(import->source);
    mem_free(import);
    return s;
}
