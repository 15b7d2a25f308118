/* Restoring: the thread that takes episodes read prefetch and inserts them, from opening the writer
 * to sealing the table.
 *
 *     once   insert all, flush, seal, write restorer.json, end with exit code 0
 *     loop   insert all again and again; the server makes us wait; ends only when stopped
 *
 * A restart goes on behind the last committed episode: the cursor that the server gives back is the
 * position. When that belongs to other logs it starts over; what is resident already is not stored
 * twice. Bad episodes are skipped, counted and told.
 *
 * Exit code 1: the server stayed away, refused, all episodes were bad, or more than max_bad
 * were. */
#ifndef HINDCAST_RESTORER_RESTORE_H
#define HINDCAST_RESTORER_RESTORE_H

#include "common/base/process.h"
#include "restorer/options.h"
#include "restorer/relabel.h"
#include "restorer/sources.h"

struct restore;

struct restore_parts {
    struct process *process; /* all borrowed until restore_join */
    const struct experiment *experiment;
    const struct restorer_options *options;
    const struct sources *sources;
    struct relabel *relabel;
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
