/* The write transaction: chunks and episodes by appending, records, removal, commit, sync. All of
 * it runs on the one writing thread, which is the inserter's once it is open.
 *
 * `staged_next_chunk` is the next chunk key as the open transaction has it; it becomes `next_chunk`
 * when the transaction is committed, and is forgotten when it is aborted. So keys of an aborted
 * insert may be used by another one, and those of a committed one never are.
 *
 * After a put that failed, other than with NOT_FOUND, the transaction can only be aborted. */
#define LOG_MODULE "store"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/lmdb/lmdb_check.h"
#include "replay_server/store/store_private.h"
#include "replay_server/store/store_record.h"

#define WRITER_KEY_MAX (4 + WRITER_NAME_SIZE)
#define IDLE_SHARE     32 /* of the map: what may wait for a sync before it can be used again */

/* LMDB's lock of writers is free here: no other thread or process writes to this environment. Keys
 * that an aborted transaction had staged are forgotten. */
status store_begin(struct store *store, struct err *err)
{
    ASSERT(store->txn == NULL);
    store->staged_next_chunk = store->next_chunk;
    if (store->env == NULL) {
        return err_set(err, STATUS_IO, "store %s: could not be opened again", store->path);
    }
    return store_error(store, mdb_txn_begin(store->env, NULL, 0, &store->txn), err, "begin");
}

void store_seal_chunk(void *chunk, uint64_t key, uint32_t n_rows, uint32_t W)
{
    ASSERT(n_rows >= 1 && n_rows <= store_chunk_rows(W));
    chunk_header_write(chunk, key, n_rows, W);
}

/* MDB_APPEND: keys rise, so LMDB fills pages without splitting them. */
status store_put_sealed_chunk(struct store *store, uint64_t key, void *chunk, uint32_t n_rows,
                              uint32_t W, struct err *err)
{
    /* A key below would be out of order, and MDB_APPEND would refuse it. */
    ASSERT(key >= store->staged_next_chunk);
    const size_t size = STORE_CHUNK_HEADER + (size_t)n_rows * W * 4;
    /* A chunk with another header would be found damaged when it is read. */
    ASSERT(chunk_header_check(chunk, size, key, n_rows, W, false));
    MDB_val k = {sizeof key, &key};
    MDB_val v = {size, chunk};
    store->staged_next_chunk = key + 1;
    return store_error(store, mdb_put(store->txn, store->chunks, &k, &v, MDB_APPEND), err,
                       "put chunk");
}

status store_put_chunk(struct store *store, uint64_t key, void *chunk, uint32_t n_rows, uint32_t W,
                       struct err *err)
{
    store_seal_chunk(chunk, key, n_rows, W);
    return store_put_sealed_chunk(store, key, chunk, n_rows, W, err);
}

/* Ids rise as chunk keys do, so this appends too. */
status store_put_episode(struct store *store, const struct store_episode *episode, struct err *err)
{
    uint8_t bytes[EPISODE_RECORD_SIZE];
    episode_record_write(bytes, episode);
    uint64_t id = episode->id;
    MDB_val k = {sizeof id, &id};
    MDB_val v = {sizeof bytes, bytes};
    return store_error(store, mdb_put(store->txn, store->episodes, &k, &v, MDB_APPEND), err,
                       "put episode");
}

/* The episode as this transaction sees it. */
static status get_episode(struct store *store, uint64_t id, struct store_episode *episode,
                          struct err *err)
{
    MDB_val k = {sizeof id, &id};
    MDB_val v;
    status s = store_error(store, mdb_get(store->txn, store->episodes, &k, &v), err, "get episode");
    if (s == STATUS_OK && !episode_record_read(episode, id, v.mv_data, v.mv_size)) {
        s = err_set(err, STATUS_CORRUPT, "store %s: episode %" PRIu64 ": bad checksum", store->path,
                    id);
    }
    return s;
}

/* The record says how many chunks there are. LMDB frees as many pages as a value's first page says,
 * so that number is checked first: a damaged one would free pages in use. */
status store_remove_episode(struct store *store, uint64_t id, struct err *err)
{
    struct store_episode episode;
    status s = get_episode(store, id, &episode, err);
    if (s != STATUS_OK) {
        return s;
    }
    const uint32_t n_chunks = store_n_chunks(episode.n_rows, episode.W);
    /* Chunks that are missing are passed over: an earlier attempt may have stopped halfway, and
     * what counts is that the record goes last. */
    for (uint32_t i = 0; i < n_chunks; i++) {
        uint64_t key = id + i;
        MDB_val k = {sizeof key, &key}, v;
        int rc = mdb_get(store->txn, store->chunks, &k, &v);
        if (rc == 0 && !lmdb_check_value(v.mv_data, v.mv_size)) {
            return err_set(err, STATUS_CORRUPT,
                           "store %s: chunk %" PRIu64 " of episode %" PRIu64
                           ": the pages it takes are not known",
                           store->path, key, id);
        }
        rc = rc == 0 ? mdb_del(store->txn, store->chunks, &k, NULL) : rc;
        if (rc != 0 && rc != MDB_NOTFOUND) {
            return store_error(store, rc, err, "remove chunk");
        }
    }
    /* With the record gone, the episode is no more; its chunks cannot be reached without it. */
    MDB_val k = {sizeof id, &id};
    return store_error(store, mdb_del(store->txn, store->episodes, &k, NULL), err,
                       "remove episode");
}

/* Writes the record of an episode that is there. */
static status replace_episode(struct store *store, const struct store_episode *episode,
                              struct err *err)
{
    uint8_t bytes[EPISODE_RECORD_SIZE];
    episode_record_write(bytes, episode);
    uint64_t id = episode->id;
    MDB_val k = {sizeof id, &id};
    MDB_val v = {sizeof bytes, bytes};
    return store_error(store, mdb_put(store->txn, store->episodes, &k, &v, 0), err,
                       "replace episode");
}

status store_put_priority(struct store *store, uint64_t id, double priority, struct err *err)
{
    struct store_episode episode;
    status s = get_episode(store, id, &episode, err);
    if (s == STATUS_OK) {
        episode.priority = priority;
        s = replace_episode(store, &episode, err);
    }
    return s;
}

status store_put_times_sampled(struct store *store, uint64_t id, uint32_t times, struct err *err)
{
    struct store_episode episode;
    status s = get_episode(store, id, &episode, err);
    if (s == STATUS_OK) {
        episode.times_sampled = times;
        s = replace_episode(store, &episode, err);
    }
    return s;
}

/* The key is the table's number and the writer's name. */
status store_put_writer(struct store *store, const struct store_writer *writer, bool keep_position,
                        struct err *err)
{
    uint8_t name[WRITER_KEY_MAX];
    /* The name was checked when the writer was opened. */
    const size_t length = strlen(writer->name);
    ASSERT(length >= 1 && length < WRITER_NAME_SIZE);
    memcpy(name, &writer->table, 4);
    memcpy(name + 4, writer->name, length);
    MDB_val k = {4 + length, name};
    MDB_val v;
    struct store_writer record = *writer;
    /* OpenInsert and Seal must not move a position that an insert on its way is about to move. */
    if (keep_position) {
        struct store_writer had = {0};
        int rc = mdb_get(store->txn, store->writers, &k, &v);
        if (rc != 0 && rc != MDB_NOTFOUND) {
            return store_error(store, rc, err, "get writer");
        }
        if (rc == 0 && !writer_record_read(&had, v.mv_data, v.mv_size)) {
            return err_set(err, STATUS_CORRUPT, "store %s: writer %s: bad checksum", store->path,
                           writer->name);
        }
        record.last_sequence = had.last_sequence;
        record.cursor_size = had.cursor_size;
        memcpy(record.cursor, had.cursor, had.cursor_size);
    }
    /* One put replaces the record, whether there was one or not. */
    uint8_t bytes[WRITER_RECORD_MAX];
    v = (MDB_val){writer_record_write(bytes, &record), bytes};
    return store_error(store, mdb_put(store->txn, store->writers, &k, &v, 0), err, "put writer");
}

/* Under "table:NAME" in meta. */
status store_put_table(struct store *store, const struct store_table *table, struct err *err)
{
    char name[6 + STORE_TABLE_NAME_SIZE];
    void *bytes;
    size_t size;
    /* The record holds a JSON text and therefore has no fixed size. */
    status s = table_record_write(&bytes, &size, table, err);
    if (s != STATUS_OK) {
        return s;
    }
    MDB_val k = {(size_t)snprintf(name, sizeof name, "table:%s", table->name), name};
    MDB_val v = {size, bytes};
    s = store_error(store, mdb_put(store->txn, store->meta, &k, &v, 0), err, "put table");
    mem_free(bytes);
    return s;
}

/* Under "history:NUMBER" in meta. */
status store_put_history(struct store *store, const struct store_history *history, struct err *err)
{
    char name[HISTORY_KEY_SIZE + 1] = "history:";
    /* The number is binary: the key has a fixed size, and may contain bytes that are 0. */
    memcpy(name + 8, &history->table, 4);
    uint8_t bytes[HISTORY_RECORD_SIZE];
    history_record_write(bytes, history);
    MDB_val k = {HISTORY_KEY_SIZE, name};
    MDB_val v = {sizeof bytes, bytes};
    return store_error(store, mdb_put(store->txn, store->meta, &k, &v, 0), err, "put history");
}

/* Pages in use by our databases, as the open transaction sees them. */
static uint64_t pages_used(struct store *store)
{
    /* LMDB counts pages by database; free pages are in none. */
    const MDB_dbi all[] = {store->chunks, store->episodes, store->writers, store->meta};
    uint64_t pages = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        MDB_stat stat;
        if (mdb_stat(store->txn, all[i], &stat) == 0) {
            pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
        }
    }
    return pages;
}

/* The record is written even where it has not changed: that is the change. */
status store_touch(struct store *store, struct err *err)
{
    uint8_t bytes[STORE_RECORD_SIZE];
    store_record_write(bytes, store->staged_next_chunk);
    MDB_val k = {5, (void *)"store"};
    MDB_val v = {sizeof bytes, bytes};
    return store_error(store, mdb_put(store->txn, store->meta, &k, &v, 0), err, "put store");
}

status store_commit(struct store *store, struct err *err)
{
    ASSERT(store->txn != NULL);
    /* LMDB writes just as well into a file that has no name any more, which nobody will ever read.
     */
    status s = store_check_present(store, err);
    /* The next chunk key becomes durable together with the chunks that used the keys below it. */
    if (s == STATUS_OK && store->staged_next_chunk != store->next_chunk) {
        s = store_touch(store, err);
    }
    if (s != STATUS_OK) {
        store_abort(store);
        return s;
    }
    /* Counted while the transaction is open, since afterwards its view of the databases is gone. */
    atomic_store_explicit(&store->used_bytes, pages_used(store) * 4096, memory_order_relaxed);
    /* With durability `each` this returns when the disk has it. */
    if (store->writeback) {
        writeback_begin(store->writeback);
    }
    int rc = mdb_txn_commit(store->txn);
    store->txn = NULL;
    if (store->writeback) {
        writeback_end(store->writeback);
    }
    if (rc != 0) {
        store->staged_next_chunk = store->next_chunk;
        return store_error(store, rc, err, "commit");
    }
    store->next_chunk = store->staged_next_chunk;
    store_measure(store);
    /* Readers compare `commits` to find out whether their snapshot is old, so it rises only when
     * the commit can be seen. */
    atomic_fetch_add_explicit(&store->commits, 1, memory_order_release);
    return STATUS_OK;
}

/* Nothing of the transaction has happened. */
void store_abort(struct store *store)
{
    if (store->txn) {
        mdb_txn_abort(store->txn);
        store->txn = NULL;
        store->staged_next_chunk = store->next_chunk;
    }
}

/* ---- Syncing ---- */

/* Pages in the file that nothing uses, or the snapshot alone, as of the newest commit. */
static uint64_t idle_bytes(const struct store *store)
{
    const uint64_t file = atomic_load_explicit(&store->file_bytes, memory_order_relaxed);
    const uint64_t used = atomic_load_explicit(&store->used_bytes, memory_order_relaxed);
    return file > used ? file - used : 0;
}

status store_take_snapshot(struct store *store, struct err *err)
{
    ASSERT(store->txn == NULL);
    status s = lmdb_snapshot_take(&store->snapshot, err);
    /* Once LMDB's pages are not known to have reached the disk, no later sync can make up for
     * it. */
    if (store->snapshot.distrusted) {
        atomic_store(&store->broken, true);
    }
    /* What is idle now is free: from here on only what comes on top of it waits for a sync. */
    if (s == STATUS_OK) {
        store->snapshot_idle_bytes = idle_bytes(store);
    }
    return s;
}

status store_sync(struct store *store, struct err *err)
{
    if (store->env == NULL) {
        return err_set(err, STATUS_IO, "store %s: could not be opened again", store->path);
    }
    /* Before the mark is set a plain sync is enough: there is no snapshot to move on. */
    if (store->durability == STORE_INTERVAL && store->marked) {
        return store_take_snapshot(store, err);
    }
    return store_error(store, mdb_env_sync(store->env, 1), err, "sync");
}

bool store_wants_sync(const struct store *store)
{
    /* A share of the map and not a number of bytes: a small map runs full sooner. */
    return store->snapshot.held &&
           idle_bytes(store) > store->snapshot_idle_bytes + store->map_bytes / IDLE_SHARE;
}

bool store_release(struct store *store)
{
    struct err err;
    /* Where there is no snapshot, or it is of the newest commit, a sync frees nothing. */
    if (!lmdb_snapshot_is_old(&store->snapshot)) {
        return false;
    }
    if (store_sync(store, &err) != STATUS_OK) {
        log_error("%s", err.text);
        return false;
    }
    return true;
}
