/* Compaction: the store is copied without its free pages, and the copy takes the file's place.
 *
 * The writing thread does it between two transactions, so that nothing is committed meanwhile. While
 * the copy is made everybody else goes on reading the old file. Then the environment is exchanged,
 * which takes milliseconds: readers that hold a snapshot are waited for, others wait at the gate
 * (gate_enter); LMDB closes the old file and opens the new one.
 *
 * A crash or a power cut at any point leaves the old file or the new one, each whole and without the
 * mark that would send the next start back to a snapshot of the other. */
#define LOG_MODULE "store"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "replay_server/store/store_copy.h"
#include "replay_server/store/store_private.h"

#define PATH_SIZE 4096

struct paths {
    char data[PATH_SIZE + 32];   /* the store's file */
    char folder[PATH_SIZE + 32]; /* of the copy */
    char copy[PATH_SIZE + 64];   /* the copy */
};

void store_clear_compaction(const struct store *store)
{
    static const char *const names[] = {"compact.tmp", "compact"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char folder[PATH_SIZE + 32], file[PATH_SIZE + 64];
        snprintf(folder, sizeof folder, "%s/%s", store->path, names[i]);
        snprintf(file, sizeof file, "%s/data.mdb", folder);
        (void)unlink(file);
        (void)rmdir(folder);
    }
}

/* A copy of the newest commit, locked as the file whose place it takes. *fd holds the lock. */
static status make_copy(struct store *store, const struct paths *paths, const atomic_bool *stop,
                        int *fd, struct err *err)
{
    uint64_t bytes;
    store_clear_compaction(store);
    status s = store_copy(store, paths->folder, stop, &bytes, err);
    if (s != STATUS_OK) {
        return s;
    }
    *fd = open(paths->copy, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) {
        return err_errno(err, errno, "open %s", paths->copy);
    }
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        s = err_errno(err, errno, "lock %s", paths->copy);
        close(*fd);
    }
    return s;
}

/* Without readers, while the gate is closed: the copy takes the file's place, and LMDB opens it. Where the copy
 * cannot, it opens the old one again. */
static status exchange(struct store *store, const struct paths *paths, int fd, struct err *err)
{
    store_close_environment(store);
    status s = STATUS_OK;
    /* Who compares the file with its descriptor (store_check_present) sees both old or both new. */
    pthread_mutex_lock(&store->gate);
    if (rename(paths->copy, paths->data) != 0) {
        s = err_errno(err, errno, "rename %s", paths->copy);
        close(fd);
    } else {
        close(store->data_fd);
        store->data_fd = fd;
    }
    pthread_mutex_unlock(&store->gate);
    if (s == STATUS_OK) {
        s = file_sync_folder(paths->data, err);
    }
    struct err why;
    const status opened = store_open_environment(store, &why);
    if (opened != STATUS_OK) {
        /* Only another start helps, and the file is whole. */
        log_error("%s", why.text);
        atomic_store(&store->broken, true);
        return err_set(err, opened, "%s", why.text);
    }
    /* Other bytes lie in other places now: every chunk is checked again when it is read. */
    for (size_t i = 0; i < STORE_VERIFIED; i++) {
        atomic_store_explicit(&store->verified[i], 0, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&store->commits, 1, memory_order_release);
    return s;
}

status store_compact(struct store *store, const atomic_bool *stop, struct err *err)
{
    struct paths paths;
    int fd = -1;
    ASSERT(store->txn == NULL);
    snprintf(paths.data, sizeof paths.data, "%s/data.mdb", store->path);
    snprintf(paths.folder, sizeof paths.folder, "%s/compact", store->path);
    snprintf(paths.copy, sizeof paths.copy, "%s/data.mdb", paths.folder);
    status s = make_copy(store, &paths, stop, &fd, err);
    /* From here on neither file needs a mark: both are on the disk with all that was committed. */
    if (s == STATUS_OK && store->durability == STORE_INTERVAL) {
        s = store_sync(store, err);
        if (s == STATUS_OK) {
            s = lmdb_mark_clean(store->path, err);
        }
        if (s != STATUS_OK) {
            close(fd);
        }
    }
    if (s == STATUS_OK) {
        gate_close(store);
        s = exchange(store, &paths, fd, err);
        gate_open(store);
    }
    store_clear_compaction(store);
    if (s == STATUS_OK) {
        store_measure(store);
    }
    return s;
}
