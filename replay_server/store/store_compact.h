/* Writes the store's file anew without its free pages, while the store is in use. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_STORE_COMPACT_H
#define HINDCAST_REPLAY_SERVER_STORE_STORE_COMPACT_H

#include "replay_server/store/store.h"

struct compaction;

/* Begins to copy, on a thread of its own. Meanwhile the store is read and written as always, but for a
 * store_copy or another compaction; pages of removed episodes are not used again, so that the store
 * grows by what is inserted. The writing thread's. */
status compaction_begin(struct compaction **compaction, struct store *store,
                        struct err *err) MUST_CHECK;
/* Is there nothing left but what compaction_finish does? Any thread. */
bool compaction_is_ready(const struct compaction *compaction);
/* Gives up: compaction_finish then has CLOSED, soon. */
void compaction_stop(struct compaction *compaction);
/* Waits until it is ready; then the new file takes the place of the old one. Frees the compaction.
 * Readers go on, but for milliseconds. *pause_s: how long the writing thread was kept, after the wait.
 * The writing thread's, between transactions. CLOSED; FULL: no room for a second file; IO; CORRUPT.
 * After an error the store is what it was, or broken. */
status compaction_finish(struct compaction *compaction, double *pause_s,
                         struct err *err) MUST_CHECK;

#endif
