/* An episode is read as it was logged; then its part is cut out, if the source has units, and its
 * history is stacked. */
#include "common/logs/source/source_reader.h"

#include <xxhash.h>

#include "common/base/memory.h"
#include "common/logs/source/source_parts.h"
#include "common/trajectory/episode_pieces.h"
#include "common/trajectory/shard_reader.h"

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
