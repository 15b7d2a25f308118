/* Compaction: the store is copied without its free pages, the copy is brought up to date, and takes the
 * file's place.
 *
 * A thread of its own copies and catches up (store_merge.h) while the store is written to: each pass
 * has less to catch up with, as it takes less time. What is left then, and the exchange, is the writing
 * thread's, between two transactions: nothing is committed meanwhile. The environment is exchanged in
 * milliseconds: readers that hold a snapshot are waited for, others wait at the gate (gate_enter); LMDB
 * closes the old file and opens the new one.
 *
 * A crash or a power cut at any point leaves the old file or the new one, each whole and without the
 * mark that would send the next start back to a snapshot of the other. */
#define LOG_MODULE "store"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/store/store_compact.h"
#include "replay_server/store/store_copy.h"
#include "replay_server/store/store_merge.h"
#include "replay_server/store/store_private.h"

#define PATH_SIZE  4096
#define PASSES_MAX 8
/* What a pass may have found and still be the last one: the next finds about as much as came in while
 * it ran. */
#define LEFT_BYTES (8u << 20)

struct paths {
    char data[PATH_SIZE + 32];   /* the store's file */
    char folder[PATH_SIZE + 32]; /* of the copy */
    char copy[PATH_SIZE + 64];   /* the copy */
};

struct compaction {
    struct store *store;
    struct paths paths;
    pthread_t thread;
    atomic_bool stop;
    atomic_bool ready; /* the thread has ended; it has written the next three */
    struct store_merge *merge;
    status result;
    struct err err;
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

/* ---- While the store is in use ---- */

static status copy_and_catch_up(struct compaction *compaction, struct err *err)
{
    uint64_t changed = 0;
    store_clear_compaction(compaction->store);
    status s =
        store_copy(compaction->store, compaction->paths.folder, &compaction->stop, &changed, err);
    if (s == STATUS_OK) {
        s = store_merge_open(&compaction->merge, compaction->store, compaction->paths.folder, err);
    }
    for (int i = 0; s == STATUS_OK && i < PASSES_MAX && (i == 0 || changed > LEFT_BYTES); i++) {
        s = store_merge_pass(compaction->merge, &compaction->stop, &changed, err);
    }
    return s;
}

static void *run(void *arg)
{
    struct compaction *compaction = arg;
    pthread_setname_np(pthread_self(), "replay-compact");
    compaction->result = copy_and_catch_up(compaction, &compaction->err);
    atomic_store(&compaction->ready, true);
    return NULL;
}

status compaction_begin(struct compaction **out, struct store *store, struct err *err)
{
    struct compaction *compaction = mem_new(sizeof *compaction);
    if (compaction == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "compaction");
    }
    struct paths *paths = &compaction->paths;
    compaction->store = store;
    snprintf(paths->data, sizeof paths->data, "%s/data.mdb", store->path);
    snprintf(paths->folder, sizeof paths->folder, "%s/compact", store->path);
    snprintf(paths->copy, sizeof paths->copy, "%s/data.mdb", paths->folder);
    const int rc = pthread_create(&compaction->thread, NULL, run, compaction);
    if (rc != 0) {
        mem_free(compaction);
        return err_errno(err, rc, "compaction: thread");
    }
    *out = compaction;
    return STATUS_OK;
}

bool compaction_is_ready(const struct compaction *compaction)
{
    return atomic_load(&compaction->ready);
}

void compaction_stop(struct compaction *compaction)
{
    atomic_store(&compaction->stop, true);
}

/* ---- The exchange ---- */

/* The copy locked as the file whose place it takes. *fd holds the lock. */
static status lock_copy(const struct paths *paths, int *fd, struct err *err)
{
    *fd = open(paths->copy, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) {
        return err_errno(err, errno, "open %s", paths->copy);
    }
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        const status s = err_errno(err, errno, "lock %s", paths->copy);
        close(*fd);
        return s;
    }
    return STATUS_OK;
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

/* The rest of what has changed, and the exchange. */
static status take_place(struct compaction *compaction, struct err *err)
{
    struct store *store = compaction->store;
    uint64_t changed;
    int fd = -1;
    status s = store_merge_pass(compaction->merge, &compaction->stop, &changed, err);
    store_merge_close(compaction->merge);
    compaction->merge = NULL;
    if (s == STATUS_OK) {
        s = lock_copy(&compaction->paths, &fd, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* From here on neither file needs a mark: both are on the disk with all that was committed. */
    if (store->durability == STORE_INTERVAL) {
        s = store_sync(store, err);
        if (s == STATUS_OK) {
            s = lmdb_mark_clean(store->path, err);
        }
        if (s != STATUS_OK) {
            close(fd);
            return s;
        }
    }
    gate_close(store);
    s = exchange(store, &compaction->paths, fd, err);
    gate_open(store);
    if (s == STATUS_OK) {
        store_measure(store);
    }
    return s;
}

status compaction_finish(struct compaction *compaction, double *pause_s, struct err *err)
{
    struct store *store = compaction->store;
    ASSERT(store->txn == NULL);
    pthread_join(compaction->thread, NULL);
    const uint64_t begin_ns = clock_now_ns();
    status s = compaction->result;
    if (s == STATUS_OK) {
        s = take_place(compaction, err);
    } else {
        (void)err_set(err, s, "%s", compaction->err.text);
    }
    *pause_s = (double)(clock_now_ns() - begin_ns) * 1e-9;
    store_merge_close(compaction->merge);
    store_clear_compaction(store);
    mem_free(compaction);
    return s;
}
