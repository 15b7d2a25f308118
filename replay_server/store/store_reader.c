/* Reading rows: a read transaction that is renewed only when something was committed, with pointers
 * to recently used chunks kept as long as it lives. Random snippets out of a warm store then cost a
 * look into a small table instead of a walk down the tree.
 *
 * A pointer into the map is good only within the snapshot in which it was got: the cache carries
 * the number of its snapshot, so that renewing empties it at no cost. Checksums are compared once
 * per chunk and process; `verified` in struct store, shared by all readers, remembers which.
 *
 * The store may be larger than memory. The map is opened without the kernel's read-ahead, which would
 * bring 128 KiB for each snippet; instead a reader says which pages it is about to read.
 *
 * A reader belongs to one thread at a time. While it is active LMDB cannot use the pages of removed
 * episodes again, which is why idle readers rest. */
#include <string.h>
#include <sys/mman.h>

#include "common/base/memory.h"
#include "replay_server/store/store_private.h"
#include "replay_server/store/store_record.h"

#define CACHED_CHUNKS 8192u /* 192 KiB a reader */
#define PAGE          ((uintptr_t)4096)
#define CHUNK_PAGES   (STORE_CHUNK_BYTES / 4096u + 2) /* that a chunk touches, at most */

struct cached_chunk {
    uint64_t key;
    uint64_t snapshot; /* valid while this is the reader's */
    const uint8_t *bytes;
    size_t size;
};

struct store_reader {
    struct store *store;
    struct store_reader *next, *previous; /* of the store */
    MDB_txn *txn;                         /* NULL: the environment was exchanged since */
    bool active;                          /* holds a snapshot */
    uint64_t commits;                     /* that the snapshot has seen, at least */
    uint64_t snapshot;                    /* number of the snapshot: rises with each */
    struct cached_chunk cached[CACHED_CHUNKS];
};

/* ---- The gate ---- */

/* Every reader that holds a snapshot is within the gate. The environment is exchanged when none is. */
static void gate_enter(struct store *store)
{
    pthread_mutex_lock(&store->gate);
    while (store->gate_closed) {
        pthread_cond_wait(&store->gate_changed, &store->gate);
    }
    store->n_reading++;
    pthread_mutex_unlock(&store->gate);
}

static void gate_leave(struct store *store)
{
    pthread_mutex_lock(&store->gate);
    ASSERT(store->n_reading > 0);
    store->n_reading--;
    if (store->gate_closed) {
        pthread_cond_broadcast(&store->gate_changed);
    }
    pthread_mutex_unlock(&store->gate);
}

void gate_close(struct store *store)
{
    atomic_store(&store->exchanging, true);
    pthread_mutex_lock(&store->gate);
    store->gate_closed = true;
    while (store->n_reading > 0) {
        pthread_cond_wait(&store->gate_changed, &store->gate);
    }
    /* LMDB closes an environment only when it has no transactions. */
    for (struct store_reader *reader = store->readers; reader; reader = reader->next) {
        mdb_txn_abort(reader->txn);
        reader->txn = NULL;
    }
    pthread_mutex_unlock(&store->gate);
}

void gate_open(struct store *store)
{
    pthread_mutex_lock(&store->gate);
    store->gate_closed = false;
    atomic_store(&store->exchanging, false);
    pthread_cond_broadcast(&store->gate_changed);
    pthread_mutex_unlock(&store->gate);
}

/* ---- Life ---- */

/* A snapshot of the newest commit, within the gate. LMDB hands out a slot of its reader table with the
 * first one; renewing then costs no system call. */
static status begin(struct store_reader *reader, struct err *err)
{
    struct store *store = reader->store;
    gate_enter(store);
    int rc = store->env == NULL    ? MDB_PANIC
             : reader->txn == NULL ? mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader->txn)
                                   : mdb_txn_renew(reader->txn);
    if (rc != 0) {
        gate_leave(store);
        return store_error(store, rc, err, "begin read");
    }
    reader->active = true;
    return STATUS_OK;
}

status store_reader_open(struct store_reader **out, struct store *store, struct err *err)
{
    struct store_reader *reader = mem_new(sizeof *reader);
    if (reader == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "store reader");
    }
    reader->store = store;
    /* Begun once, so that a lack of slots is told here. */
    status s = begin(reader, err);
    if (s != STATUS_OK) {
        mem_free(reader);
        return s;
    }
    store_reader_rest(reader);
    pthread_mutex_lock(&store->gate);
    reader->next = store->readers;
    if (reader->next) {
        reader->next->previous = reader;
    }
    store->readers = reader;
    pthread_mutex_unlock(&store->gate);
    *out = reader;
    return STATUS_OK;
}

void store_reader_close(struct store_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    struct store *store = reader->store;
    store_reader_rest(reader);
    pthread_mutex_lock(&store->gate);
    *(reader->previous ? &reader->previous->next : &store->readers) = reader->next;
    if (reader->next) {
        reader->next->previous = reader->previous;
    }
    mdb_txn_abort(reader->txn);
    pthread_mutex_unlock(&store->gate);
    mem_free(reader);
}

void store_reader_rest(struct store_reader *reader)
{
    /* Reset gives up the snapshot and keeps the slot. */
    if (reader->active) {
        mdb_txn_reset(reader->txn);
        reader->active = false;
        gate_leave(reader->store);
    }
}

status store_reader_refresh(struct store_reader *reader, struct err *err)
{
    /* Read before the renewal: the snapshot has at least these. */
    const uint64_t commits = store_commits(reader->store);
    if (reader->active && reader->commits == commits &&
        !atomic_load_explicit(&reader->store->exchanging, memory_order_relaxed)) {
        return STATUS_OK;
    }
    store_reader_rest(reader);
    status s = begin(reader, err);
    /* A new snapshot: pointers into the old one are not good any more. */
    if (s == STATUS_OK) {
        reader->commits = commits;
        reader->snapshot++;
    }
    return s;
}

/* The chunk's bytes in the map, from the cache or the tree. */
static status find_chunk(struct store_reader *reader, uint64_t key,
                         const struct cached_chunk **chunk)
{
    /* One place for each key: two chunks that share it only cost a walk. */
    struct cached_chunk *entry = &reader->cached[key % CACHED_CHUNKS];
    if (entry->key != key || entry->snapshot != reader->snapshot) {
        MDB_val k = {sizeof key, &key};
        MDB_val v;
        int rc = mdb_get(reader->txn, reader->store->chunks, &k, &v);
        if (rc != 0) {
            return rc == MDB_NOTFOUND ? STATUS_NOT_FOUND : STATUS_CORRUPT;
        }
        *entry = (struct cached_chunk){
            .key = key, .snapshot = reader->snapshot, .bytes = v.mv_data, .size = v.mv_size};
    }
    *chunk = entry;
    return STATUS_OK;
}

status store_reader_chunk(struct store_reader *reader, uint64_t key, uint32_t n_rows, uint32_t W,
                          const uint8_t **rows)
{
    ASSERT(reader->active);
    const struct cached_chunk *chunk;
    /* Where the episode was removed since the draw, the chunk is missing: the caller draws
     * again. */
    status s = find_chunk(reader, key, &chunk);
    if (s != STATUS_OK) {
        return s;
    }
    _Atomic uint64_t *verified = &reader->store->verified[key % STORE_VERIFIED];
    /* The checksum only the first time: two readers may both do it, which does no harm. */
    const bool full = atomic_load_explicit(verified, memory_order_relaxed) != key;
    /* Sizes are compared every time: they bound what the caller copies. */
    if (full || chunk->size != STORE_CHUNK_HEADER + (size_t)n_rows * W * 4) {
        if (!chunk_header_check(chunk->bytes, chunk->size, key, n_rows, W, full)) {
            return STATUS_CORRUPT;
        }
        atomic_store_explicit(verified, key, memory_order_relaxed);
    }
    *rows = chunk->bytes + STORE_CHUNK_HEADER;
    return STATUS_OK;
}

/* The whole pages that hold these rows, or all of a chunk whose checksum is still to be compared.
 * False: the chunk is not there, or the rows are not within it. */
static bool pages_of(struct store_reader *reader, uint64_t key, uint32_t first, uint32_t n,
                     uint32_t W, uintptr_t *begin, size_t *size)
{
    const struct cached_chunk *chunk;
    if (find_chunk(reader, key, &chunk) != STATUS_OK) {
        return false;
    }
    const bool checked = atomic_load_explicit(&reader->store->verified[key % STORE_VERIFIED],
                                              memory_order_relaxed) == key;
    size_t from = 0, to = chunk->size;
    if (checked) {
        from = STORE_CHUNK_HEADER + (size_t)first * W * 4;
        to = from + (size_t)n * W * 4;
    }
    const uintptr_t bytes = (uintptr_t)chunk->bytes;
    *begin = (bytes + from) & ~(PAGE - 1);
    *size = (bytes + to - *begin + PAGE - 1) & ~(PAGE - 1);
    return to <= chunk->size && *size <= CHUNK_PAGES * PAGE;
}

bool store_reader_resident(struct store_reader *reader, uint64_t key, uint32_t first, uint32_t n,
                           uint32_t W)
{
    uintptr_t begin;
    size_t size;
    unsigned char pages[CHUNK_PAGES];
    ASSERT(reader->active);
    /* Where the kernel does not say, the rows are read as if they were there. */
    if (!pages_of(reader, key, first, n, W, &begin, &size) ||
        mincore((void *)begin, size, pages) != 0) {
        return true;
    }
    bool resident = true;
    for (size_t i = 0; i < size / PAGE; i++) {
        resident = resident && (pages[i] & 1);
    }
    return resident;
}

void store_reader_ask(struct store_reader *reader, uint64_t key, uint32_t first, uint32_t n,
                      uint32_t W)
{
    uintptr_t begin;
    size_t size;
    ASSERT(reader->active);
    /* Only a hint: what is not brought in is read when it is touched. */
    if (pages_of(reader, key, first, n, W, &begin, &size)) {
        (void)madvise((void *)begin, size, MADV_WILLNEED);
    }
}

/* Used by the scrubber; a cursor for each step costs little beside the rows. */
status store_reader_next_episode(struct store_reader *reader, uint64_t after,
                                 struct store_episode *episode)
{
    ASSERT(reader->active);
    /* A cursor, because the id that follows is not known: SET_RANGE finds the first key that is not
     * smaller. */
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(reader->txn, reader->store->episodes, &cursor);
    if (rc != 0) {
        return STATUS_NO_MEMORY;
    }
    uint64_t id = after + 1;
    MDB_val key = {sizeof id, &id};
    MDB_val value;
    status s = STATUS_NOT_FOUND;
    /* Records that fail their check are passed over, as at open: no table knows of them. */
    for (rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); rc == 0 && s != STATUS_OK;
         rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        memcpy(&id, key.mv_data, sizeof id);
        if (episode_record_read(episode, id, value.mv_data, value.mv_size)) {
            s = STATUS_OK;
        }
    }
    mdb_cursor_close(cursor);
    return s;
}
