/* What a power cut leaves of an environment that is not synced with every commit: the file
 * `unclean` in its folder, and the snapshot that LMDB may not touch.
 *
 * Without a sync for each commit any of their pages may be missing after a power cut. What was
 * synced last stays whole all the same: a read transaction holds that snapshot, so that LMDB uses
 * none of its pages for anything else, and its header page, which LMDB does overwrite, is kept in
 * `unclean`. When another boot of the machine finds that file, it puts the header back, and the
 * environment is what it was when it was synced last.
 *
 *     unclean      0   n  id of the boot of the machine during which it was written
 *                  n   1  '\n'                                        | from here on only
 *                n+1 152  header page of the snapshot (lmdb_format.h) | where there is a
 *              n+153   8  XXH3-64 of these 152 bytes                  | snapshot
 *
 * As long as the boot is the same only a process died: the kernel has everything, and the newest
 * commit counts. One thread at a time: the writing one, or the one that opens or closes. */
#ifndef HINDCAST_REPLAY_SERVER_LMDB_LMDB_SNAPSHOT_H
#define HINDCAST_REPLAY_SERVER_LMDB_LMDB_SNAPSHOT_H

#include <lmdb.h>
#include <stdint.h>

#include "common/base/status.h"

struct lmdb_snapshot {
    const char *folder; /* the environment's; borrowed */
    MDB_env *env;
    MDB_txn *txns[2]; /* they take turns: one holds the snapshot, the other will hold the next */
    int held_i;       /* the one that holds it, .. */
    bool held;        /* .. if there is one */
    bool distrusted;  /* a sync failed: what the disk has is not known until a new opening */
};

/* Before LMDB opens the folder: makes the data file where there is none, whole and durable with its
 * name, and puts the snapshot back after a power cut. *scan: there was a power cut while commits
 * were not synced, and there is no snapshot. IO; FULL; INVALID. */
status lmdb_snapshot_prepare(const char *folder, uint64_t map_bytes, bool *scan,
                             struct err *err) MUST_CHECK;

/* Nothing is held yet. `folder` and `env` outlive the snapshot. */
void lmdb_snapshot_init(struct lmdb_snapshot *snapshot, const char *folder, MDB_env *env);
/* Makes the newest commit durable and holds it: a power cut leaves this one. First before the first
 * commit that is not synced, then for every sync. After an error the one before is still held;
 * where the disk itself failed, `distrusted` is set and the next opening begins from that one. */
status lmdb_snapshot_take(struct lmdb_snapshot *snapshot, struct err *err) MUST_CHECK;
/* Is there a commit that is newer than the snapshot? */
bool lmdb_snapshot_is_old(const struct lmdb_snapshot *snapshot);
/* Lets go of it; `unclean` stays. */
void lmdb_snapshot_close(struct lmdb_snapshot *snapshot);

/* Without a snapshot: from now on a power cut may take anything. */
status lmdb_mark_unsynced(const char *folder, struct err *err) MUST_CHECK;
/* All is synced, and will be: removes `unclean`, durably. */
status lmdb_mark_clean(const char *folder, struct err *err) MUST_CHECK;

#endif
