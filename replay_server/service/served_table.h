/* A table as it is served: index, rates, writers and settings together, and its records in the
 * store. */
#ifndef HINDCAST_REPLAY_SERVER_SERVICE_SERVED_TABLE_H
#define HINDCAST_REPLAY_SERVER_SERVICE_SERVED_TABLE_H

#include "replay_server/service/options.h"
#include "replay_server/store/store.h"
#include "replay_server/table/limiter.h"
#include "replay_server/table/table.h"
#include "replay_server/table/writers.h"

enum remover { REMOVER_FIFO, REMOVER_LIFO, REMOVER_NONE };

struct table_limits {
    uint64_t max_transitions, max_bytes, max_episodes; /* 0: none */
    enum remover remover;
};

struct served_table {
    struct served_table *next;
    struct store_table record; /* name, number, signature */
    uint32_t W;
    uint32_t chunk_rows;
    bool stored;  /* its record is committed */
    bool sealing; /* the seal is on its way to the store: nothing new is taken */
    struct table *table;
    struct limiter limiter;
    struct table_limits limits;
    struct writers writers;
    uint64_t saved_sampled; /* limiter.sampled when the history was last handed to the store */
    /* Episodes that are out of the index and still in the store: the transaction that was to remove
     * them failed, or has yet to begin. */
    uint64_t *owed;
    uint32_t n_owed;
    bool removing; /* some are on their way out */
};

status served_table_new(struct served_table **table, const struct store_table *record,
                        const struct options *options, struct err *err) MUST_CHECK;
void served_table_free(struct served_table *table);

/* The counters as the store keeps them: those of episodes on their way are counted in, as they are
 * written together with their episode. */
void served_table_history(const struct served_table *table, struct store_history *history);
void served_table_set_history(struct served_table *table, const struct store_history *history);
/* The writer's record with `sequence` as its last. */
void served_table_writer_record(const struct served_table *table, const struct writer *writer,
                                struct store_writer *record);

/* Notes that these are still to be removed from the store. Without memory they stay there until the
 * next start, which finds them again. */
void served_table_owe(struct served_table *table, const uint64_t *ids, uint32_t n);

/* What must go before an episode of T transitions and `bytes` fits. */
struct room {
    uint64_t *ids; /* of the episodes to remove; mem_free; NULL when n is 0 */
    uint32_t n;
    uint64_t transitions; /* theirs */
};
/* OK: `room` says what to remove. RETRY: what would have to go is still on its way in. FULL: it
 * never fits, or the remover may not remove. NO_MEMORY. */
status served_table_make_room(const struct served_table *table, uint32_t T, uint64_t bytes,
                              struct room *room, struct err *err) MUST_CHECK;

#endif
