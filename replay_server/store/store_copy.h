/* A copy of the store as it is at one moment, made while the store is in use. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_STORE_COPY_H
#define HINDCAST_REPLAY_SERVER_STORE_STORE_COPY_H

#include <stdatomic.h>

#include "replay_server/store/store.h"

/* Makes the folder `to` with a data.mdb that holds all that is committed now and no free pages, so
 * that it may be opened like the store itself. It is made as `to`.tmp, checked as store_open checks
 * it, synced, and renamed; after an error there is nothing. While it is made, pages of removed
 * episodes are not used again: the store grows by what is inserted meanwhile. *bytes: its size.
 *
 * EXISTS: there is something at `to`; FULL: the disk has no room for it; CLOSED: *stop became true;
 * IO; CORRUPT. Any thread, one copy at a time. */
status store_copy(struct store *store, const char *to, const atomic_bool *stop, uint64_t *bytes,
                  struct err *err) MUST_CHECK;

#endif
