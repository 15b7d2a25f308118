/* A table as it is served: index, rate limits, writers and settings together, and its records in
 * the store. */
#ifndef HINDCAST_REPLAY_SERVER_SERVICE_SERVED_TABLE_H
#define HINDCAST_REPLAY_SERVER_SERVICE_SERVED_TABLE_H

#include "replay_server/service/options.h"
#include "replay_server/store/store.h"
#include "replay_server/table/limiter.h"
#include "replay_server/table/table.h"
#include "replay_server/table/writers.h"

struct served_table {
    struct served_table *next;
    struct store_table record; /* name, number, signature */
    uint32_t W;
    uint32_t chunk_rows;
    bool stored;                  /* its record is committed */
    bool sealing;                 /* the seal is on its way to the store: nothing new is taken */
    struct table_options options; /* as they are now: they may change while the table is served */
    struct table *table;
    struct limiter limiter;
    struct writers writers;
    uint32_t saving_times;      /* episodes whose times sampled are on their way to the store */
    uint64_t reserved_bytes;    /* of the insert pool, by the episodes of its writers */
    struct store_history saved; /* the history that was last handed to the store by itself */
};

/* The settings come from the options that the table's name selects. */
status served_table_new(struct served_table **table, const struct store_table *record,
                        const struct options *options, struct err *err) MUST_CHECK;
void served_table_free(struct served_table *table);

/* The counters as the store keeps them. Those of pending episodes are counted in, for they are
 * written together with their episode. */
void served_table_history(const struct served_table *table, struct store_history *history);
void served_table_set_history(struct served_table *table, const struct store_history *history);
/* The writer's record as the store keeps it. */
void served_table_writer_record(const struct served_table *table, const struct writer *writer,
                                struct store_writer *record);

#endif
