/* The file `unclean`, the making of a data file, and the snapshot that outlives a power cut. Why is
 * told in lmdb_format.h, the bytes are drawn in lmdb_snapshot.h.
 *
 * Everything here is ordered by one rule: whatever the disk has at any moment must be either the
 * old state, whole, or the new one. A file is made aside, synced and renamed; pages are synced
 * before the mark that names them; the old snapshot is let go of only after the new mark is
 * durable. */
#define LOG_MODULE "store"
#include "replay_server/lmdb/lmdb_snapshot.h"

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
#include "replay_server/lmdb/lmdb_error.h"
#include "replay_server/lmdb/lmdb_format.h"

#define PATH_SIZE      (4096 + 32)
#define MARK_MAX       4096
#define BOOT_ID_SIZE   64
#define SNAPSHOT_BYTES (LMDB_HEADER_SIZE + 8)
#define PAGE_SIZE_AT   40 /* lmdb_format.h */
#define TRANSACTION_AT 144

/* Writes FOLDER/NAME into `path` and returns it. */
static const char *path_in(char path[PATH_SIZE], const char *folder, const char *name)
{
    snprintf(path, PATH_SIZE, "%s/%s", folder, name);
    return path;
}

/* ---- The mark ---- */

/* The kernel's name for this boot of the machine; without one, every mark counts as another boot's.
 */
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
static status write_mark(const char *folder, const char *id, const uint8_t *header, struct err *err)
{
    char path[PATH_SIZE];
    uint8_t check[8];
    if (header) {
        bytes_put64(check, XXH3_64bits(header, LMDB_HEADER_SIZE));
    }
    /* The file is replaced as a whole: a power cut leaves the old mark or the new one. */
    const struct file_part parts[] = {
        {id, strlen(id)}, {"\n", 1}, {header, LMDB_HEADER_SIZE}, {check, sizeof check}};
    return file_replace(path_in(path, folder, "unclean"), parts, header ? 4 : 1, err);
}

/* What `unclean` says. A mark that cannot be read still says that there is one. */
struct mark {
    bool there, same_boot;
    bool has_header;
    uint8_t header[LMDB_HEADER_SIZE];
};

/* Reads it; `header` only where its checksum is right. */
static void read_mark(const char *folder, struct mark *mark)
{
    char path[PATH_SIZE], id[BOOT_ID_SIZE];
    void *content;
    size_t size;
    *mark = (struct mark){0};
    if (file_read(path_in(path, folder, "unclean"), MARK_MAX, &content, &size, NULL) != STATUS_OK) {
        mark->there = access(path, F_OK) == 0;
        return;
    }
    mark->there = true;
    /* The boot id up to the newline, then the header and its checksum. */
    const uint8_t *bytes = content;
    const uint8_t *newline = memchr(bytes, '\n', size);
    const size_t id_size = newline ? (size_t)(newline - bytes) : size;
    read_boot_id(id);
    /* A boot without a name is never the same one: going back too often costs less than believing
     * pages that were lost. */
    mark->same_boot =
        id_size == strlen(id) && memcmp(bytes, id, id_size) == 0 && strcmp(id, "unknown") != 0;
    /* A header with a wrong checksum is as good as none. */
    if (newline && size - id_size - 1 == SNAPSHOT_BYTES &&
        bytes_get64(newline + 1 + LMDB_HEADER_SIZE) == XXH3_64bits(newline + 1, LMDB_HEADER_SIZE)) {
        mark->has_header = true;
        memcpy(mark->header, newline + 1, LMDB_HEADER_SIZE);
    }
    mem_free(content);
}

status lmdb_mark_unsynced(const char *folder, struct err *err)
{
    char id[BOOT_ID_SIZE];
    read_boot_id(id);
    return write_mark(folder, id, NULL, err);
}

status lmdb_mark_clean(const char *folder, struct err *err)
{
    char path[PATH_SIZE];
    if (unlink(path_in(path, folder, "unclean")) != 0) {
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
    /* Transaction n belongs on page n % 2; the other page gets n - 1, so that LMDB takes n. */
    const size_t page_size = bytes_get32(header + PAGE_SIZE_AT);
    const uint64_t transaction = bytes_get64(header + TRANSACTION_AT);
    uint8_t *pages = mem_array(2, page_size);
    if (pages == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "header pages");
    }
    for (unsigned i = 0; i < 2; i++) {
        /* Only the page's own number and the transaction's differ between the two. */
        uint8_t *page = pages + i * page_size;
        memcpy(page, header, LMDB_HEADER_SIZE);
        bytes_put64(page, i);
        bytes_put64(page + TRANSACTION_AT,
                    transaction == 0 || transaction % 2 == i ? transaction : transaction - 1);
    }
    /* Both pages lie at the beginning of the file, one behind the other. */
    status s = file_write_all(fd, pages, 2 * page_size, err);
    if (s == STATUS_OK) {
        s = file_sync(fd, err);
    }
    mem_free(pages);
    return s;
}

/* A data file without content. LMDB would make it in place: a power cut could leave half of it, or
 * no name for it under commits that count as durable. */
static status make_file(const char *folder, uint64_t map_bytes, struct err *err)
{
    /* All that is not 0: there are no trees yet, and no pages but the two headers. */
    uint8_t header[LMDB_HEADER_SIZE] = {[10] = LMDB_HEADER};
    char aside[PATH_SIZE], path[PATH_SIZE];
    bytes_put32(header + 16, LMDB_MAGIC);
    bytes_put32(header + 20, LMDB_VERSION);
    bytes_put64(header + 32, map_bytes);
    bytes_put32(header + PAGE_SIZE_AT, (uint32_t)sysconf(_SC_PAGESIZE));
    bytes_put32(header + 44, LMDB_INTEGER_KEYS); /* the free list's flags; depth 0 */
    bytes_put64(header + 80, LMDB_NO_PAGE);      /* roots: free list, names */
    bytes_put64(header + 128, LMDB_NO_PAGE);
    bytes_put64(header + 136, 1);
    /* The file is made under another name, and gets its own when the content is durable. */
    const int fd = open(path_in(aside, folder, "data.mdb.tmp"),
                        O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0) {
        return err_errno(err, errno, "open %s", aside);
    }
    status s = write_headers(fd, header, err);
    close(fd);
    if (s == STATUS_OK && rename(aside, path_in(path, folder, "data.mdb")) != 0) {
        s = err_errno(err, errno, "rename");
    }
    if (s != STATUS_OK) {
        unlink(aside);
        return err_context(err, s, "%s", aside);
    }
    /* Without this the name could be lost, and with it the file. */
    return file_sync_folder(path, err);
}

/* Makes the snapshot's header the newest one in the file. */
static status put_back(const char *folder, const uint8_t header[LMDB_HEADER_SIZE], struct err *err)
{
    char path[PATH_SIZE];
    const uint32_t page_size = bytes_get32(header + PAGE_SIZE_AT);
    /* LMDB could not open such a store here either. */
    if (page_size != (uint32_t)sysconf(_SC_PAGESIZE)) {
        return err_set(err, STATUS_INVALID, "%s: of pages of %u bytes, this machine's have %ld",
                       path_in(path, folder, "unclean"), page_size, sysconf(_SC_PAGESIZE));
    }
    const int fd = open(path_in(path, folder, "data.mdb"), O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_errno(err, errno, "open %s", path);
    }
    status s = write_headers(fd, header, err);
    close(fd);
    return s == STATUS_OK ? s : err_context(err, s, "%s", path);
}

status lmdb_snapshot_prepare(const char *folder, uint64_t map_bytes, bool *scan, struct err *err)
{
    char path[PATH_SIZE];
    struct stat info;
    struct mark mark;
    const bool there = stat(path_in(path, folder, "data.mdb"), &info) == 0;
    if (!there && errno != ENOENT) {
        return err_errno(err, errno, "%s", path);
    }
    read_mark(folder, &mark);
    *scan = mark.there && !mark.same_boot;
    /* Nothing to go back to: a new environment. */
    if (!there || info.st_size == 0) {
        return make_file(folder, map_bytes, err);
    }
    /* A power cut, and a snapshot: the state of the last sync, whole. */
    if (*scan && mark.has_header) {
        log_warn("the machine stopped while the store was not synced: it is again what it was at "
                 "its last sync");
        *scan = false;
        return put_back(folder, mark.header, err);
    }
    return STATUS_OK;
}

/* ---- The snapshot ---- */

/* lmdb_error, for the folder of this snapshot. */
static status failed(const struct lmdb_snapshot *snapshot, int rc, struct err *err,
                     const char *what)
{
    return lmdb_error(rc, snapshot->folder, err, what);
}

void lmdb_snapshot_init(struct lmdb_snapshot *snapshot, const char *folder, MDB_env *env)
{
    *snapshot = (struct lmdb_snapshot){.folder = folder, .env = env};
}

/* Both transactions, at the first snapshot; they are renewed from then on. */
static status open_transactions(struct lmdb_snapshot *snapshot, struct err *err)
{
    for (int i = 0; i < 2; i++) {
        if (snapshot->txns[i] == NULL) {
            int rc = mdb_txn_begin(snapshot->env, NULL, MDB_RDONLY, &snapshot->txns[i]);
            if (rc != 0) {
                return failed(snapshot, rc, err, "begin snapshot");
            }
            mdb_txn_reset(snapshot->txns[i]);
        }
    }
    return STATUS_OK;
}

/* What is on the disk is not known any more, for the kernel reports a failed write once and then
 * forgets it. The next opening is to begin from the snapshot, as after a power cut: the mark gets a
 * boot id that no boot has. */
static void distrust(struct lmdb_snapshot *snapshot)
{
    struct mark mark;
    struct err err;
    snapshot->distrusted = true;
    /* The header stays as it is; only the name of the boot changes. */
    read_mark(snapshot->folder, &mark);
    if (mark.has_header &&
        write_mark(snapshot->folder, "a sync failed", mark.header, &err) != STATUS_OK) {
        log_error("%s", err.text);
    }
}

/* The header page of the transaction's snapshot, which is the newest. */
static status read_header(const struct lmdb_snapshot *snapshot, MDB_txn *txn,
                          uint8_t header[LMDB_HEADER_SIZE], struct err *err)
{
    mdb_filehandle_t fd;
    const uint64_t transaction = mdb_txn_id(txn);
    int rc = mdb_env_get_fd(snapshot->env, &fd);
    if (rc != 0) {
        return failed(snapshot, rc, err, "file");
    }
    /* Transaction n has written header page n % 2. */
    status s = file_read_at(fd, header, LMDB_HEADER_SIZE,
                            (off_t)(transaction % 2) * sysconf(_SC_PAGESIZE), err);
    /* Only another writer could have put another header there. */
    if (s == STATUS_OK && bytes_get64(header + TRANSACTION_AT) != transaction) {
        s = err_set(err, STATUS_CORRUPT, "store %s: page %d: not the header of transaction %zu",
                    snapshot->folder, (int)(transaction % 2), (size_t)transaction);
    }
    return s;
}

status lmdb_snapshot_take(struct lmdb_snapshot *snapshot, struct err *err)
{
    uint8_t header[LMDB_HEADER_SIZE];
    char id[BOOT_ID_SIZE];
    status s = open_transactions(snapshot, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The next transaction takes hold of the newest commit; the other still holds the snapshot. */
    MDB_txn *next = snapshot->txns[!snapshot->held_i];
    s = failed(snapshot, mdb_txn_renew(next), err, "renew snapshot");
    if (s != STATUS_OK) {
        return s;
    }
    /* Its pages are made durable, and then the mark that names them. */
    s = read_header(snapshot, next, header, err);
    if (s == STATUS_OK) {
        s = failed(snapshot, mdb_env_sync(snapshot->env, 1), err, "sync");
        if (s != STATUS_OK) {
            distrust(snapshot);
        }
    }
    if (s == STATUS_OK) {
        read_boot_id(id);
        s = write_mark(snapshot->folder, id, header, err);
    }
    if (s != STATUS_OK) { /* whichever of the two the disk has: the older one holds both */
        mdb_txn_reset(next);
        return s;
    }
    /* Only now may LMDB reuse the pages of the one before. */
    if (snapshot->held) {
        mdb_txn_reset(snapshot->txns[snapshot->held_i]);
    }
    snapshot->held_i = !snapshot->held_i;
    snapshot->held = true;
    return STATUS_OK;
}

bool lmdb_snapshot_is_old(const struct lmdb_snapshot *snapshot)
{
    MDB_envinfo info;
    return snapshot->held && mdb_env_info(snapshot->env, &info) == 0 &&
           info.me_last_txnid > mdb_txn_id(snapshot->txns[snapshot->held_i]);
}

void lmdb_snapshot_close(struct lmdb_snapshot *snapshot)
{
    /* Aborting lets go of the pages, and of the reader's slot in LMDB's table. */
    for (int i = 0; i < 2; i++) {
        if (snapshot->txns[i]) {
            mdb_txn_abort(snapshot->txns[i]);
            snapshot->txns[i] = NULL;
        }
    }
    snapshot->held = false;
}
