/* Restoring: the thread that takes prefetched episodes and inserts them, from opening the writer to
 * sealing the table.
 *
 *     once   insert everything, flush, seal, write restorer.json, end with exit code 0
 *     loop   insert everything again and again at the pace of the server; ends only when stopped
 *
 * A restart continues behind the last committed episode: the cursor that the server returns is the
 * position. A cursor of another plan starts over, and episodes that the table has already are not
 * stored twice. Bad episodes are left out, counted and logged.
 *
 * Exit code 2: restoring again cannot help. All episodes were bad, or more than max_bad; the
 * table has another signature; in mode `once` it was made of other logs, cannot hold all of
 * these, or has removed some of them; where episodes are held out, none or all of them are. Exit code 1: everything else, such as a server that stays
 * away. */
#ifndef HINDCAST_RESTORER_RESTORE_H
#define HINDCAST_RESTORER_RESTORE_H

#include "common/base/process.h"
#include "common/logs/source/sources.h"
#include "common/relabel/relabel.h"
#include "restorer/options.h"

struct restore;

struct restore_parts {
    struct process *process; /* all borrowed until restore_join */
    const struct experiment *experiment;
    const struct restorer_options *options;
    const struct sources *sources;
    struct relabel *relabel;
    const struct selection *selection; /* what the rules about episodes have done */
};

/* Starts the thread; it calls process_stop when it is done. */
status restore_start(struct restore **restore, const struct restore_parts *parts,
                     struct err *err) MUST_CHECK;

/* Says where it is (process_report) and brings the metrics up to date. Loop thread, now and then.
 */
void restore_tick(void *restore);

/* Waits for the thread's end: soon, once the process is stopping. NULL is fine. */
void restore_join(struct restore *restore);

#endif
