/* Brings a copy of the store (store_copy.h) up to date with the store, which goes on meanwhile: what was
 * added since goes into the copy, what was removed leaves it. A pass costs a walk over all keys, of
 * which rows are no part, and what has changed. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_STORE_MERGE_H
#define HINDCAST_REPLAY_SERVER_STORE_STORE_MERGE_H

#include "replay_server/store/store.h"

struct store_merge;

/* Opens the copy in `folder`. No other process may have it. */
status store_merge_open(struct store_merge **merge, struct store *store, const char *folder,
                        struct err *err) MUST_CHECK;
/* After it the copy holds what the store held when the pass began, and is on the disk. *changed: bytes
 * of what had to be added. CLOSED: *stop became true; FULL; CORRUPT; IO: the copy is of no use. Any
 * thread; on the writing thread, between transactions, the copy then is what the store is. */
status store_merge_pass(struct store_merge *merge, const atomic_bool *stop, uint64_t *changed,
                        struct err *err) MUST_CHECK;
void store_merge_close(struct store_merge *merge); /* NULL is fine */

#endif
