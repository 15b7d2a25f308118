/* The file `unclean` and the snapshot that outlives a power cut. See store_snapshot.h. */
#define LOG_MODULE "store"
#include "replay_server/store/store_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/lmdb/lmdb_format.h"

#define PATH_SIZE      (4096 + 32)
#define MARK_MAX       4096
#define BOOT_ID_SIZE   64
#define SNAPSHOT_BYTES (LMDB_HEADER_SIZE + 8)
#define PAGE_SIZE_AT   40 /* lmdb_format.h */
#define TRANSACTION_AT 144

static const char *path_in(char path[PATH_SIZE], const struct store *store, const char *name)
{
    snprintf(path, PATH_SIZE, "%s/%s", store->path, name);
    return path;
}

/* ---- The mark ---- */

static void read_boot_id(char id[BOOT_ID_SIZE])
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (file == NULL || fgets(id, BOOT_ID_SIZE, file) == NULL) {
        strcpy(id, "unknown");
    }
    if (file) {
        fclose(file);
    }
    id[strcspn(id, "\n")] = '\0';
}

/* `header`: NULL, or LMDB_HEADER_SIZE bytes. */
static status write_mark(struct store *store, const char *id, const uint8_t *header,
                         struct err *err)
{
    char path[PATH_SIZE];
    uint8_t check[8];
    if (header) {
        bytes_put64(check, XXH3_64bits(header, LMDB_HEADER_SIZE));
    }
    const struct file_part parts[] = {
        {id, strlen(id)}, {"\n", 1}, {header, LMDB_HEADER_SIZE}, {check, sizeof check}};
    return file_replace(path_in(path, store, "unclean"), parts, header ? 4 : 1, err);
}

struct mark {
    bool there, same_boot;
    bool has_header;
    uint8_t header[LMDB_HEADER_SIZE];
};

static void read_mark(struct store *store, struct mark *mark)
{
    char path[PATH_SIZE], id[BOOT_ID_SIZE];
    void *content;
    size_t size;
    *mark = (struct mark){0};
    if (file_read(path_in(path, store, "unclean"), MARK_MAX, &content, &size, NULL) != STATUS_OK) {
        mark->there = access(path, F_OK) == 0;
        return;
    }
    mark->there = true;
    const uint8_t *bytes = content;
    const uint8_t *newline = memchr(bytes, '\n', size);
    const size_t id_size = newline ? (size_t)(newline - bytes) : size;
    read_boot_id(id);
    mark->same_boot =
        id_size == strlen(id) && memcmp(bytes, id, id_size) == 0 && strcmp(id, "unknown") != 0;
    if (newline && size - id_size - 1 == SNAPSHOT_BYTES &&
        bytes_get64(newline + 1 + LMDB_HEADER_SIZE) == XXH3_64bits(newline + 1, LMDB_HEADER_SIZE)) {
        mark->has_header = true;
        memcpy(mark->header, newline + 1, LMDB_HEADER_SIZE);
    }
    mem_free(content);
}

status snapshot_none(struct store *store, struct err *err)
{
    char id[BOOT_ID_SIZE];
    read_boot_id(id);
    return write_mark(store, id, NULL, err);
}

status snapshot_clean(struct store *store, struct err *err)
{
    char path[PATH_SIZE];
    if (unlink(path_in(path, store, "unclean")) != 0) {
        return errno == ENOENT ? STATUS_OK : err_errno(err, errno, "%s", path);
    }
    /* Were it to come back, it would put back a snapshot whose pages are used by then. */
    return file_sync_folder(path, err);
}

/* ---- Before LMDB opens ---- */

/* Both header pages of the data file: this one, and in the other's place one of the transaction
 * before with the same trees, which LMDB overwrites first. */
static status write_headers(int fd, const uint8_t header[LMDB_HEADER_SIZE], struct err *err)
{
    const size_t page_size = bytes_get32(header + PAGE_SIZE_AT);
    const uint64_t transaction = bytes_get64(header + TRANSACTION_AT);
    uint8_t *pages = mem_array(2, page_size);
    if (pages == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "header pages");
    }
    for (unsigned i = 0; i < 2; i++) {
        uint8_t *page = pages + i * page_size;
        memcpy(page, header, LMDB_HEADER_SIZE);
        bytes_put64(page, i);
        bytes_put64(page + TRANSACTION_AT,
                    transaction == 0 || transaction % 2 == i ? transaction : transaction - 1);
    }
    status s = file_write_all(fd, pages, 2 * page_size, err);
    if (s == STATUS_OK) {
        s = file_sync(fd, err);
    }
    mem_free(pages);
    return s;
}

/* A data file without content. LMDB would make it in place: a power cut could leave half of it, or
 * no name for it under commits that count as durable. */
static status make_file(struct store *store, struct err *err)
{
    uint8_t header[LMDB_HEADER_SIZE] = {[10] = LMDB_HEADER};
    char aside[PATH_SIZE], path[PATH_SIZE];
    bytes_put32(header + 16, LMDB_MAGIC);
    bytes_put32(header + 20, LMDB_VERSION);
    bytes_put64(header + 32, store->map_bytes);
    bytes_put32(header + PAGE_SIZE_AT, (uint32_t)sysconf(_SC_PAGESIZE));
    bytes_put32(header + 44, LMDB_INTEGER_KEYS); /* the free list's flags; depth 0 */
    bytes_put64(header + 80, LMDB_NO_PAGE);      /* roots: free list, names */
    bytes_put64(header + 128, LMDB_NO_PAGE);
    bytes_put64(header + 136, 1);
    const int fd =
        open(path_in(aside, store, "data.mdb.tmp"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) {
        return err_errno(err, errno, "open %s", aside);
    }
    status s = write_headers(fd, header, err);
    close(fd);
    if (s == STATUS_OK && rename(aside, path_in(path, store, "data.mdb")) != 0) {
        s = err_errno(err, errno, "rename");
    }
    if (s != STATUS_OK) {
        unlink(aside);
        return err_context(err, s, "%s", aside);
    }
    return file_sync_folder(path, err);
}

static status put_back(struct store *store, const uint8_t header[LMDB_HEADER_SIZE], struct err *err)
{
    char path[PATH_SIZE];
    const uint32_t page_size = bytes_get32(header + PAGE_SIZE_AT);
    if (page_size != (uint32_t)sysconf(_SC_PAGESIZE)) {
        return err_set(err, STATUS_INVALID, "%s: of pages of %u bytes, this machine's have %ld",
                       path_in(path, store, "unclean"), page_size, sysconf(_SC_PAGESIZE));
    }
    const int fd = open(path_in(path, store, "data.mdb"), O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_errno(err, errno, "open %s", path);
    }
    status s = write_headers(fd, header, err);
    close(fd);
    return s == STATUS_OK ? s : err_context(err, s, "%s", path);
}

status snapshot_prepare(struct store *store, bool *scan, struct err *err)
{
    char path[PATH_SIZE];
    struct stat info;
    struct mark mark;
    const bool there = stat(path_in(path, store, "data.mdb"), &info) == 0;
    if (!there && errno != ENOENT) {
        return err_errno(err, errno, "%s", path);
    }
    read_mark(store, &mark);
    *scan = mark.there && !mark.same_boot;
    if (!there || info.st_size == 0) {
        return make_file(store, err);
    }
    if (*scan && mark.has_header) {
        log_warn("the machine stopped while the store was not synced: it is again what it was at "
                 "its last sync");
        *scan = false;
        return put_back(store, mark.header, err);
    }
    return STATUS_OK;
}

/* ---- The snapshot ---- */

/* Two transactions take turns: the one that holds the snapshot, and the one of the next. */
static status open_transactions(struct store *store, struct err *err)
{
    for (int i = 0; i < 2; i++) {
        if (store->snapshots[i] == NULL) {
            int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->snapshots[i]);
            if (rc != 0) {
                return store_error(store, rc, err, "begin snapshot");
            }
            mdb_txn_reset(store->snapshots[i]);
        }
    }
    return STATUS_OK;
}

/* What is on the disk is not known any more, for the kernel reports a failed write once and then
 * forgets it: the next opening is to begin from the snapshot, as after a stop of the machine. */
static void distrust(struct store *store)
{
    struct mark mark;
    struct err err;
    atomic_store(&store->broken, true);
    read_mark(store, &mark);
    if (mark.has_header && write_mark(store, "a sync failed", mark.header, &err) != STATUS_OK) {
        log_error("%s", err.text);
    }
}

/* The header page of the transaction's snapshot, which is the newest. */
static status read_header(struct store *store, MDB_txn *txn, uint8_t header[LMDB_HEADER_SIZE],
                          struct err *err)
{
    mdb_filehandle_t fd;
    const uint64_t transaction = mdb_txn_id(txn);
    int rc = mdb_env_get_fd(store->env, &fd);
    if (rc != 0) {
        return store_error(store, rc, err, "file");
    }
    status s = file_read_at(fd, header, LMDB_HEADER_SIZE,
                            (off_t)(transaction % 2) * sysconf(_SC_PAGESIZE), err);
    if (s == STATUS_OK && bytes_get64(header + TRANSACTION_AT) != transaction) {
        s = err_set(err, STATUS_CORRUPT, "store %s: page %d: not the header of transaction %zu",
                    store->path, (int)(transaction % 2), (size_t)transaction);
    }
    return s;
}

status snapshot_take(struct store *store, struct err *err)
{
    uint8_t header[LMDB_HEADER_SIZE];
    char id[BOOT_ID_SIZE];
    status s = open_transactions(store, err);
    if (s != STATUS_OK) {
        return s;
    }
    MDB_txn **next = &store->snapshots[!store->snapshot_i];
    s = store_error(store, mdb_txn_renew(*next), err, "renew snapshot");
    if (s != STATUS_OK) {
        return s;
    }
    s = read_header(store, *next, header, err);
    if (s == STATUS_OK) {
        s = store_error(store, mdb_env_sync(store->env, 1), err, "sync");
        if (s != STATUS_OK) {
            distrust(store);
        }
    }
    if (s == STATUS_OK) {
        read_boot_id(id);
        s = write_mark(store, id, header, err);
    }
    if (s != STATUS_OK) { /* whichever of the two the disk has: the older one holds both */
        mdb_txn_reset(*next);
        return s;
    }
    if (store->has_snapshot) {
        mdb_txn_reset(store->snapshots[store->snapshot_i]);
    }
    store->snapshot_i = !store->snapshot_i;
    store->has_snapshot = true;
    store->snapshot_idle_bytes = snapshot_idle_bytes(store);
    return STATUS_OK;
}

uint64_t snapshot_idle_bytes(const struct store *store)
{
    const uint64_t file = atomic_load_explicit(&store->file_bytes, memory_order_relaxed);
    const uint64_t used = atomic_load_explicit(&store->used_bytes, memory_order_relaxed);
    return file > used ? file - used : 0;
}

bool snapshot_is_old(struct store *store)
{
    MDB_envinfo info;
    return store->has_snapshot && mdb_env_info(store->env, &info) == 0 &&
           info.me_last_txnid > mdb_txn_id(store->snapshots[store->snapshot_i]);
}

void snapshot_close(struct store *store)
{
    for (int i = 0; i < 2; i++) {
        if (store->snapshots[i]) {
            mdb_txn_abort(store->snapshots[i]);
            store->snapshots[i] = NULL;
        }
    }
    store->has_snapshot = false;
}
