/* Tables with their limits and records. See served_table.h. */
#include "replay_server/service/served_table.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/memory.h"

/* Places of the counters in store_history.counts; part of the format. */
enum history_place {
    EPISODES_INSERTED,
    TRANSITIONS_INSERTED,
    EPISODES_REMOVED,
    TRANSITIONS_REMOVED,
    EPISODES_DUPLICATE,
    EPISODES_CORRUPT,
    SNIPPETS_SAMPLED,
    TRANSITIONS_SAMPLED,
    FRESH_INSERTED,
    EVICTED,
    HISTORY_PLACES
};
_Static_assert(HISTORY_PLACES <= STORE_HISTORY, "the record has room for all counters");

static struct table_limits limits_of(const struct options *options)
{
    return (struct table_limits){
        .max_transitions = (uint64_t)options->max_transitions,
        .max_bytes = (uint64_t)options->max_bytes,
        .max_episodes = (uint64_t)options->max_episodes,
        .remover = strcmp(options->remover, "fifo") == 0   ? REMOVER_FIFO
                   : strcmp(options->remover, "lifo") == 0 ? REMOVER_LIFO
                                                           : REMOVER_NONE,
    };
}

status served_table_new(struct served_table **out, const struct store_table *record,
                        const struct options *options, struct err *err)
{
    struct served_table *table = mem_new(sizeof *table);
    if (table == NULL || table_new(&table->table) != STATUS_OK) {
        mem_free(table);
        return err_set(err, STATUS_NO_MEMORY, "table %s", record->name);
    }
    table->record = *record;
    table->W = signature_width(&record->signature);
    table->chunk_rows = store_chunk_rows(table->W);
    table->limiter.settings = options_limiter(options);
    table->limits = limits_of(options);
    *out = table;
    return STATUS_OK;
}

void served_table_free(struct served_table *table)
{
    if (table) {
        writers_fini(&table->writers);
        table_free(table->table);
        mem_free(table->owed);
        mem_free(table);
    }
}

void served_table_history(const struct served_table *table, struct store_history *history)
{
    const struct table_counts *c = table_counts(table->table);
    *history = (struct store_history){.table = table->record.number};
    history->counts[EPISODES_INSERTED] = c->episodes_inserted + c->pending_episodes;
    history->counts[TRANSITIONS_INSERTED] = c->transitions_inserted + c->pending_transitions;
    history->counts[EPISODES_REMOVED] = c->episodes_removed;
    history->counts[TRANSITIONS_REMOVED] = c->transitions_removed;
    history->counts[EPISODES_DUPLICATE] = c->episodes_duplicate;
    history->counts[EPISODES_CORRUPT] = c->episodes_corrupt;
    history->counts[SNIPPETS_SAMPLED] = c->snippets_sampled;
    history->counts[TRANSITIONS_SAMPLED] = table->limiter.sampled;
    history->counts[FRESH_INSERTED] = table->limiter.fresh_inserted;
    history->counts[EVICTED] = table->limiter.evicted;
}

void served_table_set_history(struct served_table *table, const struct store_history *history)
{
    const struct table_counts counts = {
        .episodes_inserted = history->counts[EPISODES_INSERTED],
        .transitions_inserted = history->counts[TRANSITIONS_INSERTED],
        .episodes_removed = history->counts[EPISODES_REMOVED],
        .transitions_removed = history->counts[TRANSITIONS_REMOVED],
        .episodes_duplicate = history->counts[EPISODES_DUPLICATE],
        .episodes_corrupt = history->counts[EPISODES_CORRUPT],
        .snippets_sampled = history->counts[SNIPPETS_SAMPLED],
    };
    table_set_history(table->table, &counts);
    table->limiter.sampled = history->counts[TRANSITIONS_SAMPLED];
    table->limiter.fresh_inserted = history->counts[FRESH_INSERTED];
    table->limiter.evicted = history->counts[EVICTED];
    table->saved_sampled = table->limiter.sampled;
}

void served_table_writer_record(const struct served_table *table, const struct writer *writer,
                                struct store_writer *record)
{
    record->table = table->record.number;
    strcpy(record->name, writer->name);
    record->done = writer->done;
    record->generation = writer->generation;
    record->last_sequence = writer->committed;
    record->cursor_size = writer->cursor_size;
    memcpy(record->cursor, writer->cursor, writer->cursor_size);
}

void served_table_owe(struct served_table *table, const uint64_t *ids, uint32_t n)
{
    if (n == 0) {
        return;
    }
    uint64_t *owed = mem_resize(table->owed, (size_t)table->n_owed + n, sizeof *owed);
    if (owed) {
        memcpy(owed + table->n_owed, ids, n * sizeof *ids);
        table->owed = owed;
        table->n_owed += n;
    }
}

/* ---- Room ---- */

static bool over(uint64_t have, uint64_t more, uint64_t limit)
{
    return limit > 0 && have + more > limit;
}

/* Does it fit beside what is left after `gone`? */
static bool fits(const struct served_table *table, const struct table_counts *left, uint32_t T,
                 uint64_t bytes)
{
    return !over(left->transitions + left->pending_transitions, T, table->limits.max_transitions) &&
           !over(left->bytes + left->pending_bytes, bytes, table->limits.max_bytes) &&
           !over(left->episodes + left->pending_episodes, 1, table->limits.max_episodes);
}

static status add_victim(struct room *room, uint32_t *capacity, const struct table_episode *victim)
{
    if (room->n == *capacity) {
        const uint32_t more = *capacity ? 2 * *capacity : 4;
        uint64_t *ids = mem_resize(room->ids, more, sizeof *ids);
        if (ids == NULL) {
            return STATUS_NO_MEMORY;
        }
        room->ids = ids;
        *capacity = more;
    }
    room->ids[room->n++] = victim->id;
    room->transitions += victim->n_rows - 1;
    return STATUS_OK;
}

status served_table_make_room(const struct served_table *table, uint32_t T, uint64_t bytes,
                              struct room *room, struct err *err)
{
    const struct table_limits *limits = &table->limits;
    if (over(0, T, limits->max_transitions) || over(0, bytes, limits->max_bytes)) {
        return err_set(err, STATUS_FULL,
                       "an episode of %u transitions (%" PRIu64
                       " bytes) is larger than the table may be: max_transitions %" PRIu64
                       ", max_bytes %" PRIu64,
                       T, bytes, limits->max_transitions, limits->max_bytes);
    }
    struct table_counts left = *table_counts(table->table);
    uint32_t capacity = 0;
    const struct table_episode *victim = NULL;
    *room = (struct room){0};
    while (!fits(table, &left, T, bytes)) {
        status s = STATUS_OK;
        if (limits->remover == REMOVER_NONE) {
            s = err_set(err, STATUS_FULL, "table %s is full and its remover is none",
                        table->record.name);
        } else {
            victim = limits->remover == REMOVER_FIFO ? table_newer(table->table, victim)
                                                     : table_older(table->table, victim);
            s = victim ? add_victim(room, &capacity, victim)
                       : err_set(err, STATUS_RETRY, "room: what must go is still on its way in");
        }
        if (s != STATUS_OK) {
            mem_free(room->ids);
            *room = (struct room){0};
            return s;
        }
        left.transitions -= victim->n_rows - 1;
        left.bytes -= victim->bytes;
        left.episodes--;
    }
    return STATUS_OK;
}
