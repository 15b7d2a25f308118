/* Finding logs in a folder and numbering all their shards.
 *
 * Everything that concerns more than one dataset is checked here: signatures must be the same, and
 * shards listed as the same must be.
 *
 * Shards are numbered through, dataset after dataset, in the order of the subfolders' names; a plan
 * refers to them by these numbers. After sources_open nothing changes, so any thread may ask. */
#include "common/logs/source/sources.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "sources"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/logs/source/source_location.h"

/* Longer paths are passed over. */
#define PATH_SIZE 4096

/* All sources in the folder; n >= 1 once it is open. */
struct sources {
    size_t n;
    struct source *list[SOURCES_MAX];
    size_t n_shards;
};

size_t sources_n(const struct sources *sources)
{
    return sources->n;
}

/* The first one's; all others have the same. */
const struct signature *sources_signature(const struct sources *sources)
{
    return source_signature(sources->list[0]);
}

size_t sources_n_shards(const struct sources *sources)
{
    return sources->n_shards;
}

struct source *sources_at(const struct sources *sources, size_t i)
{
    ASSERT(i < sources->n);
    return sources->list[i];
}

/* From the metadata or the survey, without reading the episodes. */
uint64_t sources_transitions(const struct sources *sources)
{
    uint64_t n = 0;
    for (size_t i = 0; i < sources->n; i++) {
        n += source_transitions(sources->list[i]);
    }
    return n;
}

uint64_t sources_episodes(const struct sources *sources)
{
    uint64_t n = 0;
    for (size_t i = 0; i < sources->n; i++) {
        n += source_episodes(sources->list[i]);
    }
    return n;
}

struct source *sources_shard(const struct sources *sources, size_t i, size_t *shard_i)
{
    /* Passes over whole sources until the number lies within one. */
    for (size_t d = 0; d < sources->n; d++) {
        const size_t n = source_n_shards(sources->list[d]);
        if (i < n) {
            *shard_i = i;
            return sources->list[d];
        }
        i -= n;
    }
    UNREACHABLE("shard within the list");
    return NULL;
}

void sources_close(struct sources *sources)
{
    if (sources == NULL) {
        return;
    }
    for (size_t i = 0; i < sources->n; i++) {
        source_close(sources->list[i]);
    }
    mem_free(sources);
}

/* The rows must be exactly the same, including the rewards and their order. */
static status check_same(const struct sources *sources, const struct source *source,
                         struct err *err)
{
    status s = signature_same(sources_signature(sources), source_signature(source), err);
    return s == STATUS_OK ? s
                          : err_context(err, s, "%s (here) and %s (there) differ",
                                        source_path(sources->list[0]), source_path(source));
}

/* Opens a source and appends it. On an error it is not in the list. */
static status add(struct sources *sources, const char *folder, const char *mapping,
                  struct text *notes, struct err *err)
{
    struct source *source;
    if (sources->n == SOURCES_MAX) {
        return err_set(err, STATUS_INVALID, "%s: more than %d datasets", folder, SOURCES_MAX);
    }
    /* The first source is what the others are compared with. */
    status s = source_open(&source, folder, mapping, notes, err);
    if (s == STATUS_OK && sources->n > 0) {
        s = check_same(sources, source, err);
        if (s != STATUS_OK) {
            source_close(source);
        }
    }
    if (s == STATUS_OK) {
        sources->list[sources->n++] = source;
        sources->n_shards += source_n_shards(source);
    }
    return s;
}

/* For scandir: without "." and "..", and without hidden folders. */
static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Every subfolder that is a dataset, in order of name, with numbers in it compared as numbers. */
static status add_subfolders(struct sources *sources, const char *folder, struct err *err)
{
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, is_visible, versionsort);
    /* A file has no subfolders; whether it can be read is found when it is opened. */
    if (n < 0 && errno == ENOTDIR) {
        return STATUS_OK;
    }
    if (n < 0) {
        return err_errno(err, errno, "%s", folder);
    }
    status s = STATUS_OK;
    /* After an error the rest of the list is only freed. */
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        const int length = snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (s == STATUS_OK && length > 0 && (size_t)length < sizeof path &&
            source_is_dataset(path)) {
            s = add(sources, path, NULL, NULL, err);
        }
        free(entries[i]);
    }
    free(entries);
    return s;
}

/* Adds one source: the dataset or the logs in the folder, or the dataset further down in it. A mapping
 * says that these are logs, which are where it was given for. */
static status add_one(struct sources *sources, const char *folder, const char *mapping,
                      struct text *notes, struct err *err)
{
    char found[SOURCE_PATH_SIZE];
    if (mapping[0] != '\0') {
        return add(sources, folder, mapping, notes, err);
    }
    const status s = source_location(folder, found, err);
    return s == STATUS_OK ? add(sources, found, mapping, notes, err) : s;
}

/* ---- shards that are listed as the same ---- */

/* A shard whose checksum metadata.json lists. */
struct listed {
    const struct source *of;
    size_t shard_i;
    uint64_t source, number;
};

static int compare_listed(const void *a, const void *b)
{
    const struct listed *x = a;
    const struct listed *y = b;
    if (x->source != y->source) {
        return x->source < y->source ? -1 : 1;
    }
    return (x->number > y->number) - (x->number < y->number);
}

/* Two shards with one listed checksum and number: their episodes have the same identities, so
 * the table would keep those of one. Right for a copy, an error when the contents differ (a
 * metadata.json that was copied beside other files). */
static status check_pair(const struct listed *a, const struct listed *b, struct err *err)
{
    /* Their digests are computed here, which costs time only where two shards are listed as the
     * same. */
    const char *one = source_shard(a->of, a->shard_i)->path;
    const char *other = source_shard(b->of, b->shard_i)->path;
    uint64_t first;
    uint64_t second;
    if (source_shard_digest(a->of, a->shard_i, &first, NULL) != STATUS_OK ||
        source_shard_digest(b->of, b->shard_i, &second, NULL) != STATUS_OK) {
        return STATUS_OK; /* reading it gives the reason */
    }
    if (first != second) {
        return err_set(err, STATUS_INVALID,
                       "%s and %s are listed with the same xxh64 but have other contents: one of "
                       "their metadata.json is not its own",
                       one, other);
    }
    log_warn("%s is a copy of %s; its episodes count once", other, one);
    return STATUS_OK;
}

/* Sorts the listed shards by checksum and number, so that those listed as the same are
 * neighbours. */
static status check_copies(const struct sources *sources, struct err *err)
{
    struct listed *all = mem_array(sources->n_shards + 1, sizeof *all);
    if (all == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "list of %zu shards", sources->n_shards);
    }
    size_t n = 0;
    /* Shards without a listed checksum have identities from their contents, and need no check. */
    for (size_t i = 0; i < sources->n_shards; i++) {
        size_t shard_i;
        const struct source *source = sources_shard(sources, i, &shard_i);
        const struct dataset_shard *shard = source_shard(source, shard_i);
        if (shard->listed) {
            all[n++] = (struct listed){source, shard_i, shard->source, shard->number};
        }
    }
    /* The sort brings equal ones together; each is compared with the one before it. */
    qsort(all, n, sizeof *all, compare_listed);
    status s = STATUS_OK;
    for (size_t i = 1; i < n && s == STATUS_OK; i++) {
        if (compare_listed(&all[i - 1], &all[i]) == 0) {
            s = check_pair(&all[i - 1], &all[i], err);
        }
    }
    mem_free(all);
    return s;
}

status sources_open(struct sources **sources, const char *folder, const char *mapping,
                    struct text *notes, struct err *err)
{
    struct sources *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", folder);
    }
    /* A folder of datasets, or else one source: a dataset, or logs of another format. */
    status s = source_is_dataset(folder) ? STATUS_OK : add_subfolders(made, folder, err);
    if (s == STATUS_OK && made->n == 0) {
        s = add_one(made, folder, mapping, notes, err);
    } else if (s == STATUS_OK && mapping[0] != '\0') {
        s = err_set(err, STATUS_INVALID,
                    "%s: holds datasets, which their metadata.json describe; the mapping %s is for "
                    "logs of other formats",
                    folder, mapping);
    }
    if (s == STATUS_OK) {
        s = check_copies(made, err);
    }
    if (s != STATUS_OK) {
        sources_close(made);
        return s;
    }
    *sources = made;
    return STATUS_OK;
}

status sources_set_history(struct sources *sources, const struct episode_history *history,
                           struct err *err)
{
    status s = STATUS_OK;
    for (size_t i = 0; i < sources->n && s == STATUS_OK; i++) {
        s = source_set_history(sources->list[i], history, err);
    }
    return s;
}

status sources_select(struct sources *sources, struct selection *selection,
                      const struct episode_rules *rules, bool clip, selection_progress progress,
                      struct err *err)
{
    for (size_t i = 0; i < sources->n; i++) {
        source_set_clip(sources->list[i], clip);
    }
    return selection_make(selection, sources->list, sources->n, rules, progress, NULL, err);
}
