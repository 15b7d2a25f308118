/* The collector's logs on disk: finished episodes go to a checksummed journal at once, and from
 * there, many at a time, into shards.
 *
 *     FOLDER/collector.json     who collects here: writer, source (identity), first start
 *     FOLDER/journal            episodes not yet in a shard (common/trajectory/journal.h)
 *     FOLDER/metadata.json, shard-00000.hdf5, ..     the dataset (common/trajectory/dataset.h)
 *
 * Episodes are appended in order of their sequence 1, 2, ..., which their identity carries into
 * journal and shards; the last one on disk says where to go on. One thread. */
#ifndef HINDCAST_COLLECTOR_LOG_STORE_H
#define HINDCAST_COLLECTOR_LOG_STORE_H

#include "common/trajectory/episode.h"

struct log_store;

/* Borrowed, texts too, until log_store_close. */
struct log_store_settings {
    const char *folder;
    const char *writer;      /* "collector-0" */
    const char *environment; /* name; kept in collector.json and metadata.json */
    uint64_t seed;
    size_t shard_episodes; /* >= 1 */
};

/* Makes FOLDER, or goes on in it. MISMATCH where another environment, seed or writer collected
 * there; EXISTS where another process does; CORRUPT, IO. */
status log_store_open(struct log_store **store, const struct log_store_settings *settings,
                      const struct signature *signature, struct err *err) MUST_CHECK;

uint64_t
log_store_last(const struct log_store *store); /* sequence of the last episode kept; 0: none */
uint64_t log_store_source(
    const struct log_store *store); /* identity's source: random, made with the folder */
uint64_t log_store_started_ns(const struct log_store *store); /* wall clock of the first start */

/* Keeps the episode with sequence log_store_last() + 1: sets its identity; when OK returns, it is
 * in the journal, synced. When there are enough for a shard it is written; if that fails the
 * episode is kept all the same, the failure is logged and the next append tries again. */
status log_store_append(struct log_store *store, struct episode *episode,
                        struct err *err) MUST_CHECK;
/* Writes what the journal holds as a (smaller) shard: the end of a run. OK when it is empty. */
status log_store_compact(struct log_store *store, struct err *err) MUST_CHECK;

/* Calls `visit` for the kept episodes with sequence > after, in order, until it says something
 * other than OK; that is returned. An episode that cannot be read is logged and left out. */
typedef status log_store_visit(void *arg, const struct episode *episode, struct err *err);
status log_store_each(struct log_store *store, uint64_t after, log_store_visit *visit, void *arg,
                      struct err *err) MUST_CHECK;

void log_store_close(struct log_store *store); /* NULL is fine */

#endif
