/* The logs of what acts, on disk: finished episodes go to a checksummed journal at once, and from
 * there, many at a time, into shards.
 *
 *     FOLDER/collector.json     writer, source (identity), time of the first start
 *     FOLDER/journal            episodes not yet in a shard (common/trajectory/journal.h)
 *     FOLDER/metadata.json, shard-00000.hdf5, ..     the dataset (common/trajectory/dataset.h)
 *
 * Episodes are appended in order of their sequence 1, 2, ..., which their identity carries into
 * journal and shards; a restart continues after the last one on disk. One thread. */
#ifndef HINDCAST_TRAJECTORY_LOG_STORE_H
#define HINDCAST_TRAJECTORY_LOG_STORE_H

#include "common/trajectory/episode.h"

struct log_store;

/* Borrowed, texts too, until log_store_close. */
struct log_store_settings {
    const char *folder;
    const char *writer;      /* "collector-0" */
    const char *environment; /* name; kept in collector.json and metadata.json */
    uint64_t seed;
    size_t shard_episodes; /* >= 1 */
    const char *program;   /* kept in metadata.json; NULL: hindcast-collector */
};

/* Creates FOLDER, or continues in it. MISMATCH: its logs are of another environment or seed; EXISTS:
 * another process has it open; CORRUPT, IO. */
status log_store_open(struct log_store **store, const struct log_store_settings *settings,
                      const struct signature *signature, struct err *err) MUST_CHECK;

/* Sequence of the last episode kept; 0: none. */
uint64_t log_store_last(const struct log_store *store);
/* The source in the identities of its episodes: drawn at random when the folder was created. */
uint64_t log_store_source(const struct log_store *store);
/* Wall clock at the first start. */
uint64_t log_store_started_ns(const struct log_store *store);

/* Keeps the episode with sequence log_store_last() + 1: sets its identity; when OK returns, it is
 * in the journal, synced. When there are enough for a shard the shard is written; a failure of that
 * is logged, the episodes stay in the journal, and the next append tries again. */
status log_store_append(struct log_store *store, struct episode *episode,
                        struct err *err) MUST_CHECK;
/* Writes the journal's episodes as a (smaller) shard, at the end of a run. OK when there are none. */
status log_store_compact(struct log_store *store, struct err *err) MUST_CHECK;

/* Calls `visit` for the kept episodes with sequence > after, in order, until it returns something
 * other than OK, which is returned. An episode that cannot be read is logged and skipped. */
typedef status log_store_visit(void *arg, const struct episode *episode, struct err *err);
status log_store_each(struct log_store *store, uint64_t after, log_store_visit *visit, void *arg,
                      struct err *err) MUST_CHECK;

void log_store_close(struct log_store *store); /* NULL is fine */

#endif
