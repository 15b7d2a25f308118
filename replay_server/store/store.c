/* The LMDB environment: opening and closing, sizes, errors, and the records as they are loaded at
 * open. Writing is in store_write.c, reading rows in store_reader.c, the bytes of records in
 * store_record.c; what LMDB itself does not do is in replay_server/lmdb.
 *
 * Opening has an order: lock the folder; put back the snapshot of a power cut, or make the file;
 * lock and check the file; only then let LMDB open it; and before the first commit leave the mark
 * that says what a power cut would mean.
 *
 * Opening, loading and closing run on one thread, while no other uses the store. What store.h
 * promises to any thread (errors, commits, sizes) is kept in atomics. */
#define LOG_MODULE "store"
#include "replay_server/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/lmdb/lmdb_check.h"
#include "replay_server/lmdb/lmdb_error.h"
#include "replay_server/store/store_private.h"
#include "replay_server/store/store_record.h"

#define PATH_SIZE   4096
#define READERS_MAX 80 /* gatherers (64 at most), the service, the scrub, two snapshots */

/* ---- Sizes ---- */

uint32_t store_chunk_rows(uint32_t W)
{
    ASSERT(W >= 1 && W <= SIGNATURE_ROW_MAX);
    return (STORE_CHUNK_BYTES - STORE_CHUNK_HEADER) / (4 * W);
}

uint32_t store_n_chunks(uint32_t n_rows, uint32_t W)
{
    const uint32_t chunk_rows = store_chunk_rows(W);
    return (n_rows + chunk_rows - 1) / chunk_rows;
}

uint64_t store_episode_bytes(uint32_t n_rows, uint32_t W)
{
    /* Full chunks fill 16 pages. The last one shares a page with others where it is small and has
     * pages of its own where it is large. The record takes its bytes and about 32 more for its
     * place in the tree. */
    const uint32_t chunk_rows = store_chunk_rows(W);
    const uint64_t full = n_rows / chunk_rows;
    const uint64_t rest = (uint64_t)(n_rows % chunk_rows) * W * 4;
    uint64_t bytes = full * 65536 + EPISODE_RECORD_SIZE + 32;
    if (rest > 0) {
        /* What is larger than half a page gets pages of its own, with a header of 16 bytes. */
        const uint64_t value = rest + STORE_CHUNK_HEADER;
        bytes += value <= 2000 ? value + 24 : (value + 16 + 4095) / 4096 * 4096;
    }
    return bytes;
}

/* ---- Errors ---- */

status store_error(struct store *store, int rc, struct err *err, const char *what)
{
    if (rc == MDB_PANIC) { /* a header page could not be written: LMDB takes no more transactions */
        atomic_store(&store->broken, true);
    }
    return lmdb_error(rc, store->path, err, what);
}

bool store_broken(const struct store *store)
{
    return atomic_load(&store->broken);
}

/* Was this file, whose descriptor we hold, removed or replaced? LMDB goes on writing to the inode
 * that it opened, so a store that no path leads to any more would take inserts that nobody can ever
 * read. */
static bool is_gone(int fd, const char *path)
{
    struct stat held, named;
    return fstat(fd, &held) != 0 || held.st_nlink == 0 || stat(path, &named) != 0 ||
           named.st_dev != held.st_dev || named.st_ino != held.st_ino;
}

status store_check_present(struct store *store, struct err *err)
{
    static const char *const names[] = {"lock", "data.mdb"};
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_SIZE + 16];
        snprintf(path, sizeof path, "%s/%s", store->path, names[i]);
        /* Within the gate: compaction itself replaces the file. */
        pthread_mutex_lock(&store->gate);
        const bool gone = is_gone(i == 0 ? store->lock_fd : store->data_fd, path);
        pthread_mutex_unlock(&store->gate);
        if (gone) {
            /* Logged once, by whichever thread finds it first; every caller gets the error. */
            if (!atomic_exchange(&store->broken, true)) {
                log_error("the store was removed or replaced under the server, which takes nothing "
                          "more file=%s",
                          path);
            }
            return err_set(err, STATUS_IO, "store %s: %s was removed or replaced under the server",
                           store->path, names[i]);
        }
    }
    return STATUS_OK;
}

/* ---- Opening ---- */

/* Locks data.mdb itself, beside the file `lock`: should that be removed, another server would find
 * no lock there, but this one it finds. */
static status lock_data(struct store *store, const char *path, struct err *err)
{
    store->data_fd = open(path, O_RDONLY | O_CLOEXEC);
    /* The lock lasts as long as this descriptor, which nothing is read through. */
    if (store->data_fd < 0) {
        return err_errno(err, errno, "open %s", path);
    }
    if (flock(store->data_fd, LOCK_EX | LOCK_NB) == 0) {
        return STATUS_OK;
    }
    /* close may change errno. */
    const int number = errno;
    close(store->data_fd);
    return number == EWOULDBLOCK
               ? err_set(err, STATUS_EXISTS,
                         "store %s: another process has it (data.mdb is locked)", store->path)
               : err_errno(err, number, "lock %s", path);
}

/* LMDB trusts what it reads from the file and follows page numbers without a check, so the file is
 * walked first. `true` marks the databases whose keys are integers. */
status store_check_file(const char *path, struct err *err)
{
    static const struct lmdb_named databases[] = {
        {"meta", false}, {"writers", false}, {"episodes", true}, {"chunks", true}};
    return lmdb_check_file(path, databases, sizeof databases / sizeof databases[0], err);
}

/* LMDB's lock and mmap need a file system of this machine. */
static status refuse_network(const char *path, struct err *err)
{
    static const struct {
        /* f_type of statfs, by the constants that Linux gives to these file systems. */
        uint32_t magic;
        const char *name;
    } network[] = {{0x6969, "NFS"},      {0x517B, "SMB"},      {0xFF534D42, "CIFS"},
                   {0xFE534D42, "SMB2"}, {0x00C36400, "Ceph"}, {0x0BD00BD0, "Lustre"},
                   {0x5346414F, "AFS"},  {0x47504653, "GPFS"}, {0x73757245, "Coda"}};
    struct statfs fs;
    if (statfs(path, &fs) != 0) {
        return err_errno(err, errno, "store %s", path);
    }
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++) {
        if ((uint32_t)fs.f_type == network[i].magic) {
            return err_set(err, STATUS_INVALID, "store %s: is on %s; a store needs a local disk",
                           path, network[i].name);
        }
    }
    return STATUS_OK;
}

/* LMDB's environment on a file that has been checked. */
static status open_environment(struct store *store, struct err *err)
{
    /* Without thread-local storage, since a reader belongs to a struct store_reader and not to a
     * thread. Without the kernel's read-ahead: who reads says what is needed (store_reader_ask). In
     * the modes `interval` and `none` a commit does not wait for the disk. */
    int rc = mdb_env_create(&store->env);
    if (rc != 0) {
        return store_error(store, rc, err, "create");
    }
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    if (store->durability != STORE_EACH) {
        flags |= MDB_NOSYNC;
    }
    /* Readers of a process that was killed are cleared: they would keep its pages from being used
     * again. */
    int dead = 0;
    if ((rc = mdb_env_set_maxdbs(store->env, 8)) != 0 ||
        (rc = mdb_env_set_maxreaders(store->env, READERS_MAX)) != 0 ||
        (rc = mdb_env_set_mapsize(store->env, store->map_bytes)) != 0 ||
        (rc = mdb_env_open(store->env, store->path, flags, 0640)) != 0 ||
        (rc = mdb_reader_check(store->env, &dead)) != 0) {
        mdb_env_close(store->env);
        store->env = NULL;
        return store_error(store, rc, err, "open");
    }
    return STATUS_OK;
}

/* The four databases, made where they are absent, and the store's own record: format and next chunk
 * key. */
static status open_databases(struct store *store, struct err *err)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc != 0) {
        return store_error(store, rc, err, "begin");
    }
    /* A write transaction even where all of them exist: a new store needs it, and an old one pays
     * once. */
    if ((rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &store->meta)) != 0 ||
        (rc = mdb_dbi_open(txn, "writers", MDB_CREATE, &store->writers)) != 0 ||
        (rc = mdb_dbi_open(txn, "episodes", MDB_CREATE | MDB_INTEGERKEY, &store->episodes)) != 0 ||
        (rc = mdb_dbi_open(txn, "chunks", MDB_CREATE | MDB_INTEGERKEY, &store->chunks)) != 0) {
        mdb_txn_abort(txn);
        return store_error(store, rc, err, "open databases");
    }
    /* A format that this program does not know is refused before anything is written. */
    MDB_val key = {5, (void *)"store"};
    MDB_val value;
    rc = mdb_get(txn, store->meta, &key, &value);
    status s = STATUS_OK;
    /* A new store begins with key 1; 0 means "none". */
    uint32_t format = 0;
    if (rc == MDB_NOTFOUND) {
        store->next_chunk = 1;
        rc = 0;
    } else if (rc == 0) {
        s = store_record_read(&store->next_chunk, &format, value.mv_data, value.mv_size, err);
        if (s != STATUS_OK) {
            err_context(err, s, "store %s", store->path);
        }
    }
    /* From here on records of today's format may come in: versions that do not know it must not open
     * the store any more. */
    if (rc == 0 && s == STATUS_OK && format != STORE_FORMAT) {
        uint8_t bytes[STORE_RECORD_SIZE];
        store_record_write(bytes, store->next_chunk);
        value = (MDB_val){sizeof bytes, bytes};
        rc = mdb_put(txn, store->meta, &key, &value, 0);
    }
    /* Nothing reaches the file where the format is unknown. */
    if (rc != 0 || s != STATUS_OK) {
        mdb_txn_abort(txn);
        return rc != 0 ? store_error(store, rc, err, "format") : s;
    }
    /* After the commit the handles are good for all transactions. */
    store->staged_next_chunk = store->next_chunk;
    s = store_error(store, mdb_txn_commit(txn), err, "commit");
    if (s == STATUS_OK && format != 0 && format != STORE_FORMAT) {
        log_warn("the store was of format %u and is of format %u now: versions of Hindcast that "
                 "know %u alone do not open it any more path=%s",
                 format, STORE_FORMAT, format, store->path);
    }
    return s;
}

/* Says on disk what the next power cut would leave, by durability. */
status store_mark(struct store *store, struct err *err)
{
    /* `marked` stays false when this fails, and then store_close does not claim that the store is
     * clean. */
    status s = STATUS_OK;
    switch (store->durability) {
    case STORE_EACH:
        /* What an earlier run left unsynced must be down before the mark goes. */
        s = store_sync(store, err);
        s = s == STATUS_OK ? lmdb_mark_clean(store->path, err) : s;
        break;
    case STORE_INTERVAL:
        s = store_take_snapshot(store, err);
        break;
    case STORE_NONE:
        s = lmdb_mark_unsynced(store->path, err);
        break;
    }
    store->marked = s == STATUS_OK;
    store->unclean = store->unclean && s != STATUS_OK;
    return s;
}

void store_close_environment(struct store *store)
{
    lmdb_snapshot_close(&store->snapshot);
    writeback_close(store->writeback);
    store->writeback = NULL;
    mdb_env_close(store->env);
    store->env = NULL;
}

status store_open_environment(struct store *store, struct err *err)
{
    status s = open_environment(store, err);
    if (s != STATUS_OK) {
        return s;
    }
    lmdb_snapshot_init(&store->snapshot, store->path, store->env);
    if (!store->unclean) { /* before the first commit, which may not be synced */
        s = store_mark(store, err);
    }
    if (s == STATUS_OK) {
        s = open_databases(store, err);
    }
    /* Only commits that wait for the disk have something to gain. */
    if (s == STATUS_OK && store->durability == STORE_EACH) {
        s = writeback_open(&store->writeback, store->data_fd, err);
    }
    if (s != STATUS_OK) {
        store_close_environment(store);
    }
    return s;
}

static void free_store(struct store *store)
{
    pthread_mutex_destroy(&store->gate);
    pthread_cond_destroy(&store->gate_changed);
    mem_free(store->path);
    mem_free(store->verified);
    mem_free(store);
}

/* A store in memory; nothing is opened yet. */
static status new_store(struct store **out, const struct store_settings *settings, struct err *err)
{
    struct store *store = mem_new(sizeof *store);
    if (store == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "store %s", settings->path);
    }
    pthread_mutex_init(&store->gate, NULL);
    pthread_cond_init(&store->gate_changed, NULL);
    /* One table of checked chunks for all readers, and a map that is a whole number of pages, as
     * LMDB demands. */
    store->path = mem_text(settings->path);
    store->verified = mem_array(STORE_VERIFIED, sizeof *store->verified);
    store->durability = settings->durability;
    store->map_bytes = (settings->map_bytes + 4095) / 4096 * 4096;
    if (store->path == NULL || store->verified == NULL) {
        free_store(store);
        return err_set(err, STATUS_NO_MEMORY, "store %s", settings->path);
    }
    *out = store;
    return STATUS_OK;
}

/* Locks the folder and the data file, which is then sound: put back after a power cut, made where
 * it is absent, checked before LMDB follows what is in there. *unclean: there was a power cut, and
 * nothing to go back to. */
static status open_files(struct store *store, bool *unclean, struct err *err)
{
    /* The lock file comes first. Only its holder may touch the snapshot or the data file. */
    char name[PATH_SIZE + 16];
    snprintf(name, sizeof name, "%s/lock", store->path);
    status s = file_lock(name, &store->lock_fd, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "store %s: another process has it", store->path);
    }
    store_clear_compaction(store);
    /* The data file exists after this: as it was, put back from the snapshot, or new. */
    snprintf(name, sizeof name, "%s/data.mdb", store->path);
    s = lmdb_snapshot_prepare(store->path, store->map_bytes, unclean, err);
    if (s == STATUS_OK) {
        s = lock_data(store, name, err);
    }
    if (s != STATUS_OK) {
        close(store->lock_fd);
        return s;
    }
    /* Both locks are held. No other server changes the file while it is checked. */
    s = store_check_file(name, err);
    if (s != STATUS_OK) {
        close(store->data_fd);
        close(store->lock_fd);
        return err_context(err, s,
                           "the store is damaged (remove its folder, and logs are restored anew)");
    }
    return STATUS_OK;
}

status store_open(struct store **out, const struct store_settings *settings, bool *scan,
                  struct err *err)
{
    /* A path that is too long would be cut off by snprintf below. */
    if (strlen(settings->path) >= PATH_SIZE) {
        return err_set(err, STATUS_INVALID, "store path: %zu characters, expected at most %d",
                       strlen(settings->path), PATH_SIZE - 1);
    }
    /* The folder has to exist before its file system can be asked for. */
    status s = file_make_folders(settings->path, err);
    if (s != STATUS_OK || (s = refuse_network(settings->path, err)) != STATUS_OK) {
        return s;
    }
    struct store *store = NULL;
    s = new_store(&store, settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The file first, LMDB's environment second: see the top of this file. */
    s = open_files(store, &store->unclean, err);
    if (s != STATUS_OK) {
        goto free_store;
    }
    s = store_open_environment(store, err);
    if (s != STATUS_OK) {
        goto close_files;
    }
    /* The file's size for Info, before anything is written. */
    store_measure(store);
    *scan = store->unclean;
    *out = store;
    return STATUS_OK;
close_files:
    close(store->data_fd);
    close(store->lock_fd);
free_store:
    free_store(store);
    return s;
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    ASSERT(store->txn == NULL);
    /* `interval`: what is committed becomes durable, and with it the mark goes. */
    struct err err;
    if (store->marked && store->durability == STORE_INTERVAL && !store_broken(store) &&
        (store_sync(store, &err) != STATUS_OK || lmdb_mark_clean(store->path, &err) != STATUS_OK)) {
        log_error("%s", err.text);
    }
    store_close_environment(store);
    close(store->data_fd);
    close(store->lock_fd);
    free_store(store);
}

/* ---- State ---- */

uint64_t store_next_chunk(const struct store *store)
{
    return store->next_chunk;
}

uint64_t store_commits(const struct store *store)
{
    return atomic_load_explicit(&store->commits, memory_order_acquire);
}

void store_measure(struct store *store)
{
    /* The file's size as LMDB sees it: it ends behind the last page that was ever used. */
    MDB_envinfo info;
    if (store->env && mdb_env_info(store->env, &info) == 0) {
        atomic_store_explicit(&store->file_bytes, ((uint64_t)info.me_last_pgno + 1) * 4096,
                              memory_order_relaxed);
    }
}

void store_sizes(const struct store *store, uint64_t *used_bytes, uint64_t *file_bytes,
                 uint64_t *map_bytes)
{
    *used_bytes = atomic_load_explicit(&store->used_bytes, memory_order_relaxed);
    *file_bytes = atomic_load_explicit(&store->file_bytes, memory_order_relaxed);
    *map_bytes = store->map_bytes;
}

/* ---- Loading ---- */

/* Walks a database in key order and hands every pair to `take`, within one read transaction. An
 * error of `take` ends the walk and is returned with the store's path before it. The pointers of a
 * pair are into the map and good only during the call. */
static status walk(struct store *store, MDB_dbi dbi, const char *what,
                   status (*take)(void *arg, const MDB_val *key, const MDB_val *value,
                                  struct err *err),
                   void *arg, struct err *err)
{
    /* A read transaction of its own: at open no store_reader exists yet. */
    MDB_txn *txn;
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0) {
        return store_error(store, rc, err, what);
    }
    MDB_cursor *cursor;
    rc = mdb_cursor_open(txn, dbi, &cursor);
    status s = STATUS_OK;
    if (rc == 0) {
        MDB_val key, value;
        while (s == STATUS_OK && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
            s = take(arg, &key, &value, err);
        }
        mdb_cursor_close(cursor);
    }
    /* Aborting is how a read transaction ends in either case. */
    mdb_txn_abort(txn);
    if (s != STATUS_OK) {
        return err_context(err, s, "store %s: %s", store->path, what);
    }
    return rc == MDB_NOTFOUND ? STATUS_OK : store_error(store, rc, err, what);
}

/* The caller's function, handed through walk to take_table; likewise for the three structs
 * below. */
struct table_walk {
    status (*visit)(void *arg, const struct store_table *table, struct err *err);
    void *arg;
};

/* A record of `meta` that is a table. */
static status take_table(void *arg, const MDB_val *key, const MDB_val *value, struct err *err)
{
    const struct table_walk *w = arg;
    const char *name = key->mv_data;
    if (key->mv_size < 6 || memcmp(name, "table:", 6) != 0) {
        return STATUS_OK; /* another kind of record */
    }
    struct store_table table = {0};
    if (key->mv_size - 6 >= sizeof table.name) {
        return err_set(err, STATUS_CORRUPT, "table name of %zu characters", key->mv_size - 6);
    }
    /* The name is the rest of the key, and carries no terminating 0 there. */
    memcpy(table.name, name + 6, key->mv_size - 6);
    status s = table_record_read(&table, value->mv_data, value->mv_size, err);
    return s == STATUS_OK ? w->visit(w->arg, &table, err)
                          : err_context(err, s, "table %s", table.name);
}

status store_each_table(struct store *store,
                        status (*visit)(void *arg, const struct store_table *table,
                                        struct err *err),
                        void *arg, struct err *err)
{
    struct table_walk w = {visit, arg};
    return walk(store, store->meta, "tables", take_table, &w, err);
}

struct history_walk {
    status (*visit)(void *arg, const struct store_history *history, struct err *err);
    void *arg;
};

/* A record of `meta` that is a table's history. Counters are not worth refusing the store for. */
static status take_history(void *arg, const MDB_val *key, const MDB_val *value, struct err *err)
{
    const struct history_walk *w = arg;
    if (key->mv_size != HISTORY_KEY_SIZE || memcmp(key->mv_data, "history:", 8) != 0) {
        return STATUS_OK;
    }
    struct store_history history;
    if (!history_record_read(&history, value->mv_data, value->mv_size)) {
        log_error("a table's history fails its check and starts anew");
        return STATUS_OK;
    }
    return w->visit(w->arg, &history, err);
}

status store_each_history(struct store *store,
                          status (*visit)(void *arg, const struct store_history *history,
                                          struct err *err),
                          void *arg, struct err *err)
{
    struct history_walk w = {visit, arg};
    return walk(store, store->meta, "histories", take_history, &w, err);
}

struct writer_walk {
    status (*visit)(void *arg, const struct store_writer *writer, struct err *err);
    void *arg;
};

/* A damaged writer is an error: without its position it would insert everything again. */
static status take_writer(void *arg, const MDB_val *key, const MDB_val *value, struct err *err)
{
    const struct writer_walk *w = arg;
    struct store_writer writer = {0};
    if (key->mv_size < 5 || key->mv_size - 4 >= sizeof writer.name) {
        return err_set(err, STATUS_CORRUPT, "writer key of %zu bytes", key->mv_size);
    }
    /* The key is checked above: the table's number, then at least one byte of name. */
    memcpy(&writer.table, key->mv_data, 4);
    memcpy(writer.name, (const char *)key->mv_data + 4, key->mv_size - 4);
    if (!writer_record_read(&writer, value->mv_data, value->mv_size)) {
        return err_set(err, STATUS_CORRUPT, "writer %s: bad checksum", writer.name);
    }
    return w->visit(w->arg, &writer, err);
}

status store_each_writer(struct store *store,
                         status (*visit)(void *arg, const struct store_writer *writer,
                                         struct err *err),
                         void *arg, struct err *err)
{
    struct writer_walk w = {visit, arg};
    return walk(store, store->writers, "writers", take_writer, &w, err);
}

struct episode_walk {
    status (*visit)(void *arg, const struct store_episode *episode, struct err *err);
    void *arg;
    uint64_t corrupt;
};

/* A damaged episode is left out; its chunks stay in the file until the folder is made anew. */
static status take_episode(void *arg, const MDB_val *key, const MDB_val *value, struct err *err)
{
    struct episode_walk *w = arg;
    struct store_episode episode;
    uint64_t id = 0;
    if (key->mv_size == sizeof id) {
        memcpy(&id, key->mv_data, sizeof id);
    }
    /* Ids begin at 1, so a key of another size, which left id at 0, is damage as well. */
    if (id == 0 || !episode_record_read(&episode, id, value->mv_data, value->mv_size)) {
        w->corrupt++;
        log_error("an episode's record fails its check and is left out id=%" PRIu64, id);
        return STATUS_OK;
    }
    return w->visit(w->arg, &episode, err);
}

status store_each_episode(struct store *store,
                          status (*visit)(void *arg, const struct store_episode *episode,
                                          struct err *err),
                          void *arg, struct err *err)
{
    /* Unlike the other records, a bad one does not end the walk: the rest of the table can be
     * used. */
    struct episode_walk w = {visit, arg, 0};
    return walk(store, store->episodes, "episodes", take_episode, &w, err);
}
