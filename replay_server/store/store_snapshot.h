/* What a stop of the machine leaves of a store: the file `unclean` in its folder, and the snapshot
 * that LMDB may not touch.
 *
 * With `interval` commits are not synced one by one, so that after a power cut any of their pages
 * may be missing. What was synced last stays whole all the same: a read transaction holds that
 * snapshot, so that LMDB uses none of its pages for anything else, and its header page, which LMDB
 * does overwrite, is kept in `unclean`. When another boot of the machine finds that file, it puts
 * the header back, and the store is what it was when it was synced last.
 *
 *     unclean      0   n  id of the boot of the machine during which it was written
 *                  n   1  '\n'                                        | from here on
 *                n+1 152  header page of the snapshot (lmdb_format.h) | with `interval`
 *              n+153   8  XXH3-64 of these 152 bytes                  | alone
 *
 * As long as the boot is the same only a process died, the kernel has everything, and the newest
 * commit counts. Private to the store. The writing thread's, or whoever opens or closes. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_STORE_SNAPSHOT_H
#define HINDCAST_REPLAY_SERVER_STORE_STORE_SNAPSHOT_H

#include "replay_server/store/store_private.h"

/* Before LMDB opens what is in store->path: makes the data file where there is none, whole and
 * durable with its name, and puts the snapshot back after a stop of the machine. *scan: it stopped
 * while commits were not synced, and there is no snapshot. IO; FULL; INVALID. */
status snapshot_prepare(struct store *store, bool *scan, struct err *err) MUST_CHECK;

/* Makes the newest commit durable, and with it the one that a stop of the machine leaves. Before
 * the first commit with `interval`, then for every sync. After an error the one before still is;
 * where the disk itself failed the store is broken: the next opening begins from that one. */
status snapshot_take(struct store *store, struct err *err) MUST_CHECK;
/* Is there a commit that is newer than the snapshot? */
bool snapshot_is_old(struct store *store);
/* Pages in the file that nothing uses, or the snapshot alone, as of the newest commit. */
uint64_t snapshot_idle_bytes(const struct store *store);
/* Lets go of it; `unclean` stays. */
void snapshot_close(struct store *store);

/* `none`: commits may get lost from now on, and nothing is kept. */
status snapshot_none(struct store *store, struct err *err) MUST_CHECK;
/* All is synced, and will be: away with `unclean`, durably. */
status snapshot_clean(struct store *store, struct err *err) MUST_CHECK;

#endif
