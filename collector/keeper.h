/* The keeper: takes finished episodes from the crew, in order, and sees to it that none is lost:
 * returns.csv, journal, replay, shards. One thread, which is also the only one that the replay
 * writer, log store and returns file know.
 *
 * At start it inserts what the logs hold and the replay server does not: after a crash of either.
 * When the replay makes writers wait, the keeper waits, the crew's window fills, and acting
 * pauses. */
#ifndef HINDCAST_COLLECTOR_KEEPER_H
#define HINDCAST_COLLECTOR_KEEPER_H

#include "collector/crew.h"
#include "collector/log_store.h"
#include "collector/options.h"
#include "common/base/process.h"

struct keeper;

struct keeper_parts {
    struct process *process;
    const struct experiment *experiment;
    const struct collector_options *options;
    const struct signature *signature;
    struct log_store *store;
    struct crew *crew;
    struct policy_source *policies;   /* NULL: no learner to listen to */
    struct parameters_client *client; /* for finish_run; NULL otherwise */
};

/* Starts the thread; it stops the process when there is nothing more to keep. All parts are
 * borrowed until keeper_join. */
status keeper_start(struct keeper **keeper, const struct keeper_parts *parts,
                    struct err *err) MUST_CHECK;
/* Waits for the thread, which ends soon after crew_stop and process_stop, and frees. NULL is fine.
 * */
void keeper_join(struct keeper *keeper);

#endif
