/* What the store's files share. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_STORE_PRIVATE_H
#define HINDCAST_REPLAY_SERVER_STORE_STORE_PRIVATE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "replay_server/lmdb/lmdb_snapshot.h"
#include "replay_server/store/store.h"
#include "replay_server/store/writeback.h"

#define STORE_VERIFIED (1u << 20) /* entries of `verified`: 8 MiB */

#define HISTORY_KEY_SIZE 12 /* "history:" and the table's number, u32 */

struct store {
    char *path;
    MDB_env *env;
    MDB_dbi chunks, episodes, writers, meta;
    enum store_durability durability;
    uint64_t map_bytes;
    int lock_fd;  /* holds the lock on the file `lock` */
    int data_fd;  /* holds the lock on data.mdb */
    bool unclean; /* opened after a power cut with nothing to go back to, and not scanned yet */
    bool marked;  /* store_mark has been called: the marker, or its absence, is ours */
    /* The writing thread's: */
    MDB_txn *txn; /* NULL: none open */
    uint64_t next_chunk;
    uint64_t staged_next_chunk;    /* of the open transaction */
    struct lmdb_snapshot snapshot; /* `interval`: what a power cut leaves */
    uint64_t snapshot_idle_bytes;  /* store_idle_bytes when it was taken */
    struct writeback *writeback;   /* `each`: starts the disk while a commit is copied; else NULL */
    pthread_mutex_t gate;          /* guards the next five, and data_fd */
    pthread_cond_t gate_changed;
    bool gate_closed;             /* the environment is about to be exchanged, or is */
    uint32_t n_reading;           /* readers that hold a snapshot */
    struct store_reader *readers; /* all that are open */
    /* Any thread's: */
    atomic_bool exchanging; /* the gate closes: readers let go of their snapshots */
    atomic_bool broken;     /* nothing is taken any more: store_broken */
    _Atomic uint64_t commits;
    _Atomic uint64_t used_bytes;
    _Atomic uint64_t file_bytes;
    /* verified[key % STORE_VERIFIED] == key: that chunk's rows have been checked since open.
     * Collisions only cost another check. */
    _Atomic uint64_t *verified;
};

/* Translates an LMDB code: "store PATH: what: text". */
status store_error(struct store *store, int rc, struct err *err, const char *what);
void store_measure(struct store *store);
/* LMDB on the file that is there and has been checked: its environment, databases and mark. After an
 * error there is none (`env` is NULL). */
status store_open_environment(struct store *store, struct err *err) MUST_CHECK;
void store_close_environment(struct store *store);

/* Removes what a compaction that was interrupted has left. At open, and before another one. */
void store_clear_compaction(const struct store *store);

/* ---- The gate (store_reader.c) ---- */
/* The writing thread's: waits until no reader holds a snapshot, takes their transactions from them, and
 * keeps them out; and lets them in again. */
void gate_close(struct store *store);
void gate_open(struct store *store);
/* Makes the newest commit the one that a power cut leaves. Between transactions. */
status store_take_snapshot(struct store *store, struct err *err) MUST_CHECK;

#endif
