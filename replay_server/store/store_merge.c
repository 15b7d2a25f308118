/* Both sides are walked in the order of their keys, database by database. A key that only the store has
 * is put into the copy, one that only the copy has is deleted from it. Records that both have are
 * compared; chunks are not, for the key of a chunk that was committed is never used again.
 *
 * The copy is committed in pieces, so that a pass needs memory for one piece alone. In between it is
 * neither the old nor the new store, which nobody sees. */
#include "replay_server/store/store_merge.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/memory.h"
#include "replay_server/lmdb/lmdb_check.h"
#include "replay_server/lmdb/lmdb_error.h"
#include "replay_server/store/store_private.h"

#define PATH_SIZE   4096
#define PIECE_BYTES (32u << 20) /* put between two commits, about */
#define ROOM_BYTES  (64u << 20) /* of the copy's map, beyond what the two files take */
#define KEY_MAX     511u        /* of LMDB */
#define N_DATABASES 4

struct store_merge {
    struct store *store;
    char path[PATH_SIZE + 32];
    MDB_env *env;
    MDB_dbi to[N_DATABASES];
};

/* One pass, and its place in one database. */
struct pass {
    struct store_merge *merge;
    const atomic_bool *stop;
    MDB_txn *from_txn, *to_txn;
    MDB_dbi from_dbi, to_dbi;
    MDB_cursor *from, *to;
    bool compare;   /* values, where both sides have the key */
    uint64_t piece; /* bytes put since the last commit */
    uint64_t changed;
};

/* The order in which they are merged; `compare` as above. */
static const struct {
    const char *name;
    size_t dbi; /* place in struct store */
    bool compare;
} DATABASES[N_DATABASES] = {{"chunks", offsetof(struct store, chunks), false},
                            {"episodes", offsetof(struct store, episodes), true},
                            {"writers", offsetof(struct store, writers), true},
                            {"meta", offsetof(struct store, meta), true}};

static MDB_dbi store_dbi(const struct store *store, size_t i)
{
    return *(const MDB_dbi *)(const void *)((const char *)store + DATABASES[i].dbi);
}

/* ---- Opening ---- */

static int open_databases(struct store_merge *merge)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(merge->env, NULL, 0, &txn);
    if (rc != 0) {
        return rc;
    }
    /* What kind each one is LMDB knows from the file. */
    for (size_t i = 0; i < N_DATABASES && rc == 0; i++) {
        rc = mdb_dbi_open(txn, DATABASES[i].name, 0, &merge->to[i]);
    }
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

status store_merge_open(struct store_merge **out, struct store *store, const char *folder,
                        struct err *err)
{
    struct store_merge *merge = mem_new(sizeof *merge);
    struct stat copy;
    if (merge == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "compaction");
    }
    merge->store = store;
    snprintf(merge->path, sizeof merge->path, "%s", folder);
    char file[PATH_SIZE + 64];
    snprintf(file, sizeof file, "%s/data.mdb", folder);
    uint64_t used, bytes, map;
    store_sizes(store, &used, &bytes, &map);
    /* Addresses for what both hold, and not for all that the store may ever hold. */
    const uint64_t room =
        stat(file, &copy) == 0 ? (uint64_t)copy.st_size + bytes + ROOM_BYTES : map;
    int rc = mdb_env_create(&merge->env);
    /* No other process looks at it, and store_merge_pass syncs. */
    if (rc != 0 || (rc = mdb_env_set_maxdbs(merge->env, N_DATABASES)) != 0 ||
        (rc = mdb_env_set_mapsize(merge->env, (room + 4095) / 4096 * 4096)) != 0 ||
        (rc = mdb_env_open(merge->env, folder, MDB_NOTLS | MDB_NORDAHEAD | MDB_NOSYNC | MDB_NOLOCK,
                           0640)) != 0 ||
        (rc = open_databases(merge)) != 0) {
        const status s = lmdb_error(rc, merge->path, err, "open the copy");
        store_merge_close(merge);
        return s;
    }
    *out = merge;
    return STATUS_OK;
}

void store_merge_close(struct store_merge *merge)
{
    if (merge) {
        mdb_env_close(merge->env);
        mem_free(merge);
    }
}

/* ---- One database ---- */

/* A key that stays what it is when its page changes. */
struct kept_key {
    MDB_val val;
    _Alignas(8) uint8_t bytes[KEY_MAX];
};

static void keep_key(struct kept_key *kept, const MDB_val *key)
{
    ASSERT(key->mv_size <= KEY_MAX);
    memcpy(kept->bytes, key->mv_data, key->mv_size);
    kept->val = (MDB_val){key->mv_size, kept->bytes};
}

/* The copy's cursor at the first key that is not below this one. */
static int seek(struct pass *pass, const MDB_val *key, MDB_val *found)
{
    *found = *key;
    return mdb_cursor_get(pass->to, found, NULL, MDB_SET_RANGE);
}

static int open_cursor(struct pass *pass)
{
    return mdb_cursor_open(pass->to_txn, pass->to_dbi, &pass->to);
}

/* Commits the piece and goes on with the next. */
static int next_piece(struct pass *pass)
{
    mdb_cursor_close(pass->to);
    pass->to = NULL;
    int rc = mdb_txn_commit(pass->to_txn);
    pass->to_txn = NULL;
    pass->piece = 0;
    if (rc == 0) {
        rc = mdb_txn_begin(pass->merge->env, NULL, 0, &pass->to_txn);
    }
    return rc == 0 ? open_cursor(pass) : rc;
}

/* Deletes the key from the copy, whose cursor then is at the next one. */
static int take_away(struct pass *pass, MDB_val *key)
{
    struct kept_key kept;
    MDB_val value;
    keep_key(&kept, key);
    int rc = mdb_cursor_get(pass->to, key, &value, MDB_GET_CURRENT);
    /* LMDB frees as many pages as a value's first page says: see store_remove_episode. */
    if (rc == 0 && !lmdb_check_value(value.mv_data, value.mv_size)) {
        return MDB_CORRUPTED;
    }
    rc = rc == 0 ? mdb_del(pass->to_txn, pass->to_dbi, &kept.val, NULL) : rc;
    return rc == 0 ? seek(pass, &kept.val, key) : rc;
}

/* Puts the store's record into the copy, whose cursor then is at the first key behind it. */
static int put(struct pass *pass, MDB_val *from_key, MDB_val *to_key)
{
    MDB_val value;
    struct kept_key kept;
    keep_key(&kept, from_key);
    int rc = mdb_cursor_get(pass->from, from_key, &value, MDB_GET_CURRENT);
    if (rc == 0) {
        rc = mdb_put(pass->to_txn, pass->to_dbi, &kept.val, &value, 0);
        pass->piece += value.mv_size;
        pass->changed += value.mv_size;
    }
    if (rc == 0 && pass->piece > PIECE_BYTES) {
        rc = next_piece(pass);
    }
    rc = rc == 0 ? seek(pass, &kept.val, to_key) : rc;
    return rc == 0 ? mdb_cursor_get(pass->to, to_key, NULL, MDB_NEXT) : rc;
}

/* Both cursors are at the same key: are their values the same? */
static int same_value(struct pass *pass, bool *same)
{
    MDB_val key, ours, theirs;
    int rc = mdb_cursor_get(pass->from, &key, &ours, MDB_GET_CURRENT);
    rc = rc == 0 ? mdb_cursor_get(pass->to, &key, &theirs, MDB_GET_CURRENT) : rc;
    *same = rc == 0 && ours.mv_size == theirs.mv_size &&
            memcmp(ours.mv_data, theirs.mv_data, ours.mv_size) == 0;
    return rc;
}

/* NOTFOUND is the end of a side; everything else that is not 0 is an error. */
static bool failed(int rc)
{
    return rc != 0 && rc != MDB_NOTFOUND;
}

/* From the first key to the last of either side. */
static int merge_keys(struct pass *pass)
{
    MDB_val from_key, to_key;
    int from_rc = mdb_cursor_get(pass->from, &from_key, NULL, MDB_FIRST);
    int to_rc = mdb_cursor_get(pass->to, &to_key, NULL, MDB_FIRST);
    while (!failed(from_rc) && !failed(to_rc) && (from_rc == 0 || to_rc == 0)) {
        const int order = from_rc != 0 ? 1
                          : to_rc != 0 ? -1
                                       : mdb_cmp(pass->to_txn, pass->to_dbi, &from_key, &to_key);
        bool same = true;
        if (order > 0) {
            to_rc = take_away(pass, &to_key);
            continue;
        }
        if (order == 0 && pass->compare && (to_rc = same_value(pass, &same)) != 0) {
            break;
        }
        to_rc = order < 0 || !same ? put(pass, &from_key, &to_key)
                                   : mdb_cursor_get(pass->to, &to_key, NULL, MDB_NEXT);
        from_rc = mdb_cursor_get(pass->from, &from_key, NULL, MDB_NEXT);
        if (atomic_load_explicit(pass->stop, memory_order_relaxed)) {
            return 0; /* merge_all looks at it too */
        }
    }
    return failed(from_rc) ? from_rc : failed(to_rc) ? to_rc : 0;
}

static int merge_database(struct pass *pass, size_t i)
{
    pass->from_dbi = store_dbi(pass->merge->store, i);
    pass->to_dbi = pass->merge->to[i];
    pass->compare = DATABASES[i].compare;
    int rc = mdb_cursor_open(pass->from_txn, pass->from_dbi, &pass->from);
    if (rc != 0) {
        return rc;
    }
    rc = open_cursor(pass);
    rc = rc == 0 ? merge_keys(pass) : rc;
    mdb_cursor_close(pass->from);
    /* A cursor of a write transaction goes with it, or before. */
    if (pass->to != NULL && pass->to_txn != NULL) {
        mdb_cursor_close(pass->to);
    }
    pass->to = NULL;
    return rc;
}

/* ---- A pass ---- */

static int merge_all(struct pass *pass)
{
    struct store_merge *merge = pass->merge;
    int rc = mdb_txn_begin(merge->store->env, NULL, MDB_RDONLY, &pass->from_txn);
    if (rc != 0) {
        return rc;
    }
    rc = mdb_txn_begin(merge->env, NULL, 0, &pass->to_txn);
    for (size_t i = 0; i < N_DATABASES && rc == 0; i++) {
        rc = merge_database(pass, i);
    }
    mdb_txn_abort(pass->from_txn);
    if (rc != 0 || atomic_load(pass->stop)) {
        mdb_txn_abort(pass->to_txn); /* NULL is fine */
        return rc;
    }
    rc = mdb_txn_commit(pass->to_txn);
    return rc == 0 ? mdb_env_sync(merge->env, 1) : rc;
}

status store_merge_pass(struct store_merge *merge, const atomic_bool *stop, uint64_t *changed,
                        struct err *err)
{
    struct pass pass = {.merge = merge, .stop = stop};
    const int rc = merge_all(&pass);
    if (rc == 0 && atomic_load(stop)) {
        return err_set(err, STATUS_CLOSED, "the server ends");
    }
    *changed = pass.changed;
    return lmdb_error(rc, merge->path, err, "bring the copy up to date");
}
