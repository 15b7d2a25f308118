/* The episode writer: takes finished episodes from the worker pool, in order, and stores each of
 * them in returns.csv, the journal, the replay server and shards. One thread, which is also the only
 * one that uses the replay writer, the log store and the returns file.
 *
 * At start it inserts the episodes that the logs hold and the replay server does not: after a crash
 * of either. While the replay server makes writers wait, this thread waits, the pool's window fills,
 * and acting pauses. */
#ifndef HINDCAST_COLLECTOR_EPISODE_WRITER_H
#define HINDCAST_COLLECTOR_EPISODE_WRITER_H

#include "collector/options.h"
#include "collector/worker_pool.h"
#include "common/base/process.h"
#include "common/trajectory/log_store.h"

struct episode_writer;

struct episode_writer_parts {
    struct process *process;
    const struct experiment *experiment;
    const struct collector_options *options;
    const struct environment_description *environment;
    struct log_store *store;
    struct worker_pool *pool;
    struct policy_cache *policies;    /* NULL: no learner to follow */
    struct parameters_client *client; /* that `policies` uses; NULL: no learner to follow */
};

/* Starts the thread; it stops the process when there is nothing more to write. All parts are
 * borrowed until episode_writer_join. */
status episode_writer_start(struct episode_writer **writer,
                            const struct episode_writer_parts *parts, struct err *err) MUST_CHECK;
/* Waits for the thread, which ends soon after worker_pool_stop and process_stop, and frees. NULL is
 * fine. */
void episode_writer_join(struct episode_writer *writer);

#endif
