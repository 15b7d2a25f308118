/* Combines a journal and a dataset into one store of episodes numbered 1, 2, ..
 *
 * The journal takes each episode at once, with a sync; from time to time its episodes become a
 * shard of the dataset and leave it. A crash in between leaves episodes in both: journal_open drops
 * those that the last shard has. The formats are common/trajectory's.
 *
 * Sequences only grow, and the journal always holds higher ones than the shards; both the search
 * for the last episode and the walk over all of them rely on it. One thread at a time. */
#include "common/trajectory/log_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/journal.h"
#include "common/trajectory/shard_reader.h"

#define LOG_MODULE "log_store"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/trajectory/shard_survey.h"

#define PATH_SIZE    1024
#define IDENTITY_MAX (64u << 10) /* bytes of collector.json */
/* A shard is built in memory, so one is written long before the journal is full. */
#define COMPACT_AT_BYTES (JOURNAL_BYTES_MAX / 4)

/* Both stores, and the numbers that tie them together. */
struct log_store {
    struct log_store_settings settings;
    char folder[PATH_SIZE];
    struct signature signature;
    struct dataset_writer *writer;
    struct journal *journal;
    /* The identity of all episodes of this folder */
    uint64_t source;
    /* Wall clock of the first start */
    uint64_t started_ns;
    /* Sequence of the last episode kept; 0: none */
    uint64_t last;
};

/* ---- collector.json ---- */

/* Do the logs in the folder belong to this environment and seed? Takes over their identity. */
static status check_identity(struct log_store *store, const cJSON *json, const char *path,
                             struct err *err)
{
    /* The texts belong to `json`. */
    const char *environment, *source, *started;
    double seed;
    status s = json_text(json, "environment", &environment, path, err);
    s = s != STATUS_OK ? s : json_number(json, "seed", &seed, path, err);
    s = s != STATUS_OK ? s : json_text(json, "source", &source, path, err);
    s = s != STATUS_OK ? s : json_text(json, "started_ns", &started, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* A folder holds the episodes of one environment and one seed. */
    if (strcmp(environment, store->settings.environment) != 0 ||
        (uint64_t)seed != store->settings.seed) {
        return err_set(err, STATUS_MISMATCH,
                       "%s: these logs are of environment %s, seed %.0f; configured is "
                       "%s, seed %" PRIu64,
                       path, environment, seed, store->settings.environment, store->settings.seed);
    }
    /* As texts, since a JSON number holds 53 bits only. */
    store->source = strtoull(source, NULL, 16);
    store->started_ns = strtoull(started, NULL, 10);
    if (store->source == 0) {
        return err_set(err, STATUS_CORRUPT, "%s: source: expected a hexadecimal number", path);
    }
    return STATUS_OK;
}

/* Draws the identity of a new folder and writes it. */
static status make_identity(struct log_store *store, const char *path, struct err *err)
{
    char source[32], started[32];
    /* Random, so that logs of two folders never share an identity. */
    if (getrandom(&store->source, sizeof store->source, 0) != sizeof store->source) {
        return err_errno(err, errno, "getrandom");
    }
    store->source |= 1; /* never 0 */
    store->started_ns = clock_wall_ns();
    snprintf(source, sizeof source, "%016" PRIx64, store->source);
    snprintf(started, sizeof started, "%" PRIu64, store->started_ns);
    /* The file is for programs and for people; only what check_identity reads matters. */
    cJSON *json = cJSON_CreateObject();
    bool ok = cJSON_AddStringToObject(json, "writer", store->settings.writer) &&
              cJSON_AddStringToObject(json, "environment", store->settings.environment) &&
              cJSON_AddNumberToObject(json, "seed", (double)store->settings.seed) &&
              cJSON_AddStringToObject(json, "source", source) &&
              cJSON_AddStringToObject(json, "started_ns", started);
    status s = ok ? json_write(path, json, err)
                  : err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    cJSON_Delete(json);
    return s;
}

/* Reads the folder's identity, or draws one for a new folder. */
static status open_identity(struct log_store *store, struct err *err)
{
    char path[PATH_SIZE + 32];
    cJSON *json;
    /* The file is there from the first start on, so its absence marks a new folder. */
    snprintf(path, sizeof path, "%s/collector.json", store->folder);
    status s = json_read(path, IDENTITY_MAX, &json, err);
    if (s == STATUS_NOT_FOUND) {
        return make_identity(store, path, err);
    }
    if (s == STATUS_OK) {
        s = check_identity(store, json, path, err);
        cJSON_Delete(json);
    }
    return s;
}

/* ---- Opening ---- */

/* Opens the dataset; what made it is recorded in its metadata. */
static status open_dataset(struct log_store *store, struct err *err)
{
    /* Text, since the dataset does not interpret what its makers say of themselves. */
    cJSON *made_by = cJSON_CreateObject();
    const char *program = store->settings.program;
    bool ok = cJSON_AddStringToObject(made_by, "program",
                                      program != NULL ? program : "hindcast-collector") &&
              cJSON_AddStringToObject(made_by, "version", HINDCAST_VERSION) &&
              cJSON_AddStringToObject(made_by, "environment", store->settings.environment) &&
              cJSON_AddNumberToObject(made_by, "seed", (double)store->settings.seed) &&
              cJSON_AddStringToObject(made_by, "writer", store->settings.writer);
    char *text = ok ? cJSON_PrintUnformatted(made_by) : NULL;
    cJSON_Delete(made_by);
    if (text == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", store->folder);
    }
    status s = dataset_writer_open(&store->writer, store->folder, &store->signature, text, err);
    cJSON_free(text);
    return s;
}

/* Opens the journal; episodes that the last shard has are dropped from it. */
static status open_journal(struct log_store *store, struct err *err)
{
    char path[PATH_SIZE + 32];
    struct journal_found found;
    /* The journal asks the dataset which of its episodes are in the last shard already. */
    snprintf(path, sizeof path, "%s/journal", store->folder);
    status s = journal_open(&store->journal, path, &store->signature, store->writer, &found, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* What is damaged is lost; what is behind it is not. */
    if (found.corrupt > 0) {
        log_error("the journal was damaged; the episodes affected are lost path=%s places=%" PRIu64,
                  path, found.corrupt);
    }
    /* What was found is logged even where all is well: after a crash these numbers tell what
     * happened. */
    log_info("journal opened episodes=%" PRIu64 " in_last_shard=%" PRIu64 " torn_bytes=%" PRIu64,
             found.episodes, found.dropped, found.torn_bytes);
    return STATUS_OK;
}

/* Sequence of the last episode of a shard; 0 if a collector did not write it. */
static status last_of_shard(const struct dataset *dataset, size_t shard_i, uint64_t *last,
                            struct err *err)
{
    /* The survey reads the identities only, not the rows. */
    struct shard_survey survey;
    status s = shard_survey(&survey, dataset_shard(dataset, shard_i)->path, err);
    if (s == STATUS_OK) {
        *last = survey.episodes == 0 ? 0 : survey.origins[survey.episodes - 1].episode;
        mem_free(survey.origins);
    }
    return s;
}

/* The newest shard has the highest sequences. In a folder without shards `last` stays 0. */
static status find_last_in_shards(struct log_store *store, struct err *err)
{
    struct dataset *dataset;
    if (dataset_writer_shards(store->writer) == 0) {
        return STATUS_OK;
    }
    status s = dataset_open(&dataset, store->folder, err);
    if (s == STATUS_OK) {
        s = last_of_shard(dataset, dataset_n_shards(dataset) - 1, &store->last, err);
        dataset_close(dataset);
    }
    return s;
}

/* Sequence of the last episode on disk. The journal is newer than all shards. */
static status find_last(struct log_store *store, struct err *err)
{
    uint64_t n = journal_episodes(store->journal);
    /* After a compaction, or in a new folder. */
    if (n == 0) {
        return find_last_in_shards(store, err);
    }
    /* The last record of the journal. */
    struct episode episode;
    episode_init(&episode, signature_width(&store->signature));
    status s = journal_read(store->journal, n - 1, &episode, err);
    store->last = episode.identity.episode;
    episode_fini(&episode);
    return s;
}

status log_store_open(struct log_store **store, const struct log_store_settings *settings,
                      const struct signature *signature, struct err *err)
{
    struct log_store *opened = mem_new(sizeof *opened);
    if (opened == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", settings->folder);
    }
    /* The settings' texts are borrowed; only the folder is copied. */
    opened->settings = *settings;
    opened->signature = *signature;
    snprintf(opened->folder, sizeof opened->folder, "%s", settings->folder);
    status s = file_make_folders(opened->folder, err);
    /* The identity comes first: a folder of another run must not be touched. */
    s = s != STATUS_OK ? s : open_identity(opened, err);
    s = s != STATUS_OK ? s : open_dataset(opened, err);
    s = s != STATUS_OK ? s : open_journal(opened, err);
    s = s != STATUS_OK ? s : find_last(opened, err);
    /* log_store_close takes what was opened so far. */
    if (s != STATUS_OK) {
        log_store_close(opened);
        return s;
    }
    *store = opened;
    return STATUS_OK;
}

void log_store_close(struct log_store *store)
{
    if (store != NULL) {
        journal_close(store->journal);
        dataset_writer_close(store->writer);
        mem_free(store);
    }
}

uint64_t log_store_last(const struct log_store *store)
{
    return store->last;
}

uint64_t log_store_source(const struct log_store *store)
{
    return store->source;
}

uint64_t log_store_started_ns(const struct log_store *store)
{
    return store->started_ns;
}

/* ---- Keeping ---- */

status log_store_compact(struct log_store *store, struct err *err)
{
    /* An empty journal makes no shard, and is no error. */
    status s = journal_compact(store->journal, store->writer, err);
    return s == STATUS_OK ? s : err_context(err, s, "write a shard in %s", store->folder);
}

status log_store_append(struct log_store *store, struct episode *episode, struct err *err)
{
    struct err why;
    /* The next number, which a failed append does not use up. */
    episode->identity =
        (struct episode_identity){.source = store->source, .episode = store->last + 1};
    status s = journal_append(store->journal, episode, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "journal in %s", store->folder);
    }
    store->last++;
    /* A shard is due when there are enough episodes, or bytes. */
    if (journal_episodes(store->journal) < store->settings.shard_episodes &&
        journal_bytes(store->journal) < COMPACT_AT_BYTES) {
        return STATUS_OK;
    }
    /* The episode is safe in the journal: a failing shard is no error of this append. */
    if (log_store_compact(store, &why) != STATUS_OK) {
        log_error("the shard cannot be written; its episodes stay in the journal: %s", why.text);
    }
    return STATUS_OK;
}

/* ---- Reading back ---- */

/* A walk over the kept episodes. */
struct walk {
    uint64_t after;
    log_store_visit *visit;
    void *arg;
    struct episode episode; /* reused */
};

/* The episodes of one shard. */
static status walk_reader(struct walk *walk, struct shard_reader *reader,
                          const struct shard_survey *survey, struct err *err)
{
    status s = STATUS_OK;
    for (uint64_t i = 0; s == STATUS_OK && i < survey->episodes; i++) {
        /* The caller has these already. */
        if (survey->origins[i].episode <= walk->after) {
            continue;
        }
        /* A damaged episode costs itself only; the walk goes on with the next. */
        if (shard_reader_read(reader, i, &walk->episode, err) != STATUS_OK) {
            log_error("an episode cannot be read and is skipped: %s", err->text);
            continue;
        }
        /* A shard holds the identities beside the rows. */
        walk->episode.identity = survey->origins[i];
        s = walk->visit(walk->arg, &walk->episode, err);
    }
    return s;
}

/* One shard; one that is damaged costs its own episodes only. */
static status walk_shard(struct walk *walk, const struct dataset *dataset, size_t shard_i,
                         struct err *err)
{
    struct shard_reader *reader;
    struct shard_survey survey;
    /* The survey first: it tells which episodes the shard holds. */
    status s = shard_survey(&survey, dataset_shard(dataset, shard_i)->path, err);
    if (s != STATUS_OK) {
        log_error("a shard cannot be read and is skipped: %s", err->text);
        return STATUS_OK;
    }
    s = shard_reader_open(&reader, dataset, shard_i, err);
    if (s == STATUS_OK) {
        s = walk_reader(walk, reader, &survey, err);
        shard_reader_close(reader);
    } else {
        log_error("a shard cannot be read and is skipped: %s", err->text);
        s = STATUS_OK;
    }
    mem_free(survey.origins);
    return s;
}

/* All shards, oldest first. */
static status walk_shards(struct walk *walk, const struct log_store *store, struct err *err)
{
    struct dataset *dataset;
    if (dataset_writer_shards(store->writer) == 0) {
        return STATUS_OK;
    }
    /* Opened for this walk only: a dataset that is open does not see shards written later. */
    status s = dataset_open(&dataset, store->folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    for (size_t shard_i = 0; s == STATUS_OK && shard_i < dataset_n_shards(dataset); shard_i++) {
        s = walk_shard(walk, dataset, shard_i, err);
    }
    dataset_close(dataset);
    return s;
}

/* The episodes that are not in a shard yet. */
static status walk_journal(struct walk *walk, const struct log_store *store, struct err *err)
{
    status s = STATUS_OK;
    for (uint64_t i = 0; s == STATUS_OK && i < journal_episodes(store->journal); i++) {
        if (journal_read(store->journal, i, &walk->episode, err) != STATUS_OK) {
            log_error("an episode of the journal cannot be read and is skipped: %s", err->text);
        } else if (walk->episode.identity.episode > walk->after) {
            s = walk->visit(walk->arg, &walk->episode, err);
        }
    }
    return s;
}

status log_store_each(struct log_store *store, uint64_t after, log_store_visit *visit, void *arg,
                      struct err *err)
{
    struct err own;
    struct walk walk = {.after = after, .visit = visit, .arg = arg};
    err = err == NULL ? &own : err; /* its text is logged for episodes that are skipped */
    episode_init(&walk.episode, signature_width(&store->signature));
    /* Shards are older than the journal, so the order is that of the sequences. */
    status s = walk_shards(&walk, store, err);
    if (s == STATUS_OK) {
        s = walk_journal(&walk, store, err);
    }
    episode_fini(&walk.episode);
    return s;
}
