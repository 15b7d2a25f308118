/* The copy is LMDB's own: a read transaction is written out page by page, renumbered without the free
 * ones. LMDB writes it into a pipe, on a thread of its own; this one moves the bytes on into the file.
 * So the copy can be given up half way: with the pipe's other end closed, LMDB's write fails and it
 * lets go of its snapshot. */
#include "replay_server/store/store_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "replay_server/store/store_private.h"

#define PATH_SIZE   4096
#define PIECE_BYTES (1u << 20)

/* LMDB's end of the pipe, which it closes. */
struct source {
    MDB_env *env;
    int fd;
    int rc;
};

static void *write_pages(void *arg)
{
    struct source *source = arg;
    pthread_setname_np(pthread_self(), "replay-copy");
    /* A pipe that was closed is an error, and not the end of the process. */
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    source->rc = mdb_env_copyfd2(source->env, source->fd, MDB_CP_COMPACT);
    close(source->fd);
    return NULL;
}

/* Moves what comes through the pipe into the file, until its end. */
static status move_pages(int from, int to, const atomic_bool *stop, uint64_t *bytes,
                         struct err *err)
{
    char *piece = mem_new(PIECE_BYTES);
    status s = piece ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "copy");
    ssize_t n = 1;
    while (s == STATUS_OK && n > 0) {
        n = read(from, piece, PIECE_BYTES);
        if (n < 0) {
            s = err_errno(err, errno, "copy: pipe");
        } else if (atomic_load(stop)) {
            s = err_set(err, STATUS_CLOSED, "the server ends");
        } else {
            s = file_write_all(to, piece, (size_t)n, err);
            *bytes += (uint64_t)n;
        }
    }
    mem_free(piece);
    return s;
}

/* The pages of a snapshot into the file that is open as `file`. */
static status copy_pages(struct store *store, int file, const atomic_bool *stop, uint64_t *bytes,
                         struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_errno(err, errno, "copy: pipe");
    }
    struct source source = {.env = store->env, .fd = ends[1]};
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, write_pages, &source);
    if (rc != 0) {
        close(ends[0]);
        close(ends[1]);
        return err_errno(err, rc, "copy: thread");
    }
    status s = move_pages(ends[0], file, stop, bytes, err);
    close(ends[0]);
    pthread_join(thread, NULL);
    /* What this side has to say comes first: where it gave up, LMDB only saw a closed pipe. */
    return s != STATUS_OK ? s : store_error(store, source.rc, err, "copy");
}

/* A copy needs what is in use; refused before a disk is filled for nothing. */
static status check_room(const struct store *store, const char *to, struct err *err)
{
    struct statvfs disk;
    uint64_t used, file, map;
    store_sizes(store, &used, &file, &map);
    /* Where nothing was committed since the start, what is in use is not known: the file is more. */
    const uint64_t need = used > 0 ? used : file;
    if (statvfs(to, &disk) != 0) {
        return err_errno(err, errno, "%s", to);
    }
    const uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize;
    return room > need
               ? STATUS_OK
               : err_set(err, STATUS_FULL,
                         "%s: the copy takes %" PRIu64 " MB, and the disk has %" PRIu64 " MB left",
                         to, need / 1000000, room / 1000000);
}

/* data.mdb in the folder `aside`, whole and on the disk. */
static status make_file(struct store *store, const char *aside, const atomic_bool *stop,
                        uint64_t *bytes, struct err *err)
{
    char path[PATH_SIZE + 32];
    snprintf(path, sizeof path, "%s/data.mdb", aside);
    status s = check_room(store, aside, err);
    if (s != STATUS_OK) {
        return s;
    }
    const int file = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (file < 0) {
        return err_errno(err, errno, "%s", path);
    }
    s = copy_pages(store, file, stop, bytes, err);
    if (s == STATUS_OK) {
        s = file_sync(file, err);
    }
    close(file);
    if (s == STATUS_OK) {
        s = store_check_file(path, err);
    }
    if (s == STATUS_OK) {
        s = file_sync_folder(path, err);
    }
    return s;
}

/* What a copy that failed, or was interrupted, has left. */
static void remove_aside(const char *aside)
{
    char path[PATH_SIZE + 32];
    snprintf(path, sizeof path, "%s/data.mdb", aside);
    (void)unlink(path);
    (void)rmdir(aside);
}

status store_copy(struct store *store, const char *to, const atomic_bool *stop, uint64_t *bytes,
                  struct err *err)
{
    char aside[PATH_SIZE + 16];
    struct stat info;
    if (strlen(to) >= PATH_SIZE) {
        return err_set(err, STATUS_INVALID, "the copy's path is too long");
    }
    /* After an exchange that failed there is none until the next start. */
    if (store->env == NULL) {
        return err_set(err, STATUS_IO, "store %s: could not be opened again", store->path);
    }
    if (lstat(to, &info) == 0) {
        return err_set(err, STATUS_EXISTS, "%s: is there already", to);
    }
    snprintf(aside, sizeof aside, "%s.tmp", to);
    remove_aside(aside);
    status s = file_make_folders(aside, err);
    uint64_t size = 0;
    if (s == STATUS_OK) {
        s = make_file(store, aside, stop, &size, err);
    }
    if (s == STATUS_OK && rename(aside, to) != 0) {
        s = err_errno(err, errno, "rename %s", aside);
    }
    if (s == STATUS_OK) {
        s = file_sync_folder(to, err);
    } else {
        remove_aside(aside);
    }
    if (s == STATUS_OK) {
        *bytes = size;
    }
    return s;
}
