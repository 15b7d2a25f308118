/* Whole files, safely replaced; folders, locks, reads with a limit.
 *
 * A file that others read is never written in place: it is written aside, synced and renamed, so
 * that a crash leaves the old file or the new one, and a reader never sees half of either. The
 * renaming is an exchange where the file system can do it, because the old file is needed again
 * when the last sync fails. Every write, sync and rename passes fails_now(), so that tests can fail
 * each in turn. */
#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/memory.h"

/* Calls left until one fails; 0: none will. */
static _Atomic uint64_t fail_in;
static atomic_int fail_number;

void file_fail_at(uint64_t nth, int error_number)
{
    atomic_store(&fail_number, error_number);
    atomic_store(&fail_in, nth);
}

/* Is it this call's turn to fail? Then errno is set. */
static bool fails_now(void)
{
    uint64_t left = atomic_load(&fail_in);
    /* Counts down; the call that takes the last one fails. */
    while (left > 0 && !atomic_compare_exchange_weak(&fail_in, &left, left - 1)) {
    }
    if (left == 1) {
        errno = atomic_load(&fail_number);
        return true;
    }
    return false;
}

/* One folder; that it exists already is fine. The sync of its parent makes it outlive a power
 * cut. */
static status make_folder(const char *path, struct err *err)
{
    if (mkdir(path, 0700) == 0) { /* what a run writes is its owner's until they say otherwise */
        status s = file_sync_folder(path, err);
        /* A folder that may not outlive a power cut is removed, so that the next attempt begins
         * anew. */
        if (s != STATUS_OK) {
            (void)rmdir(path);
        }
        return s;
    }
    /* Something is there. Whatever mkdir said, a folder is what was wanted. */
    const int number = errno;
    struct stat info;
    if (number == EEXIST && stat(path, &info) == 0) {
        return S_ISDIR(info.st_mode) ? STATUS_OK
                                     : err_set(err, STATUS_EXISTS, "%s: is not a folder", path);
    }
    return err_errno(err, number, "make folder %s", path);
}

status file_make_folders(const char *path, struct err *err)
{
    char part[PATH_MAX];
    const size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) {
        return err_set(err, STATUS_INVALID, "folder \"%.64s\": expected 1..%zu characters", path,
                       sizeof part - 1);
    }
    /* Every prefix that ends before a slash, then the whole. */
    for (size_t i = 1; i <= length; i++) {
        if ((path[i] != '/' && path[i] != '\0') || path[i - 1] == '/') {
            continue;
        }
        /* A folder that exists already is no failure, so all prefixes can be tried. */
        memcpy(part, path, i);
        part[i] = '\0';
        const status s = make_folder(part, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* Reads to the end; a file may grow or have no size of its own (/proc). */
static status read_whole(int fd, const char *path, size_t max_bytes, size_t expected,
                         unsigned char **bytes, size_t *size, struct err *err)
{
    /* One byte to see that the file has grown, one for the final 0. */
    size_t room = expected + 2;
    size_t used = 0;
    unsigned char *buffer = mem_array(room, 1);
    /* Until read() finds the end; a full buffer is doubled. */
    while (buffer != NULL) {
        const ssize_t n = read(fd, buffer + used, room - 1 - used);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            mem_free(buffer);
            return err_errno(err, errno, "read %s", path);
        }
        if (n == 0) {
            buffer[used] = 0;
            *bytes = buffer;
            *size = used;
            return STATUS_OK;
        }
        used += (size_t)n;
        /* It may have grown since its size was read. */
        if (used > max_bytes) {
            mem_free(buffer);
            return err_set(err, STATUS_INVALID, "%s: more than %zu bytes", path, max_bytes);
        }
        /* Full: either this was the end, or there is more than expected. */
        if (used == room - 1) {
            unsigned char *larger = mem_resize(buffer, room * 2, 1);
            if (larger == NULL) {
                mem_free(buffer);
            }
            buffer = larger;
            room *= 2;
        }
    }
    return err_set(err, STATUS_NO_MEMORY, "read %s: out of memory", path);
}

/* Reads from `fd` and closes it. */
static status read_opened(int fd, const char *path, size_t max_bytes, void **bytes, size_t *size,
                          struct err *err)
{
    struct stat info;
    status s;
    if (fstat(fd, &info) != 0) {
        s = err_errno(err, errno, "stat %s", path);
        goto close_fd;
    }
    /* open() succeeds on a folder, and the later error of read() would not explain it. */
    if (S_ISDIR(info.st_mode)) {
        s = err_set(err, STATUS_INVALID, "%s: is a folder, expected a file", path);
        goto close_fd;
    }
    /* Refused before anything is allocated for it. */
    if (info.st_size > 0 && (uint64_t)info.st_size > max_bytes) {
        s = err_set(err, STATUS_INVALID, "%s: %lld bytes, expected at most %zu", path,
                    (long long)info.st_size, max_bytes);
        goto close_fd;
    }
    /* *bytes is set only when all of it was read. */
    unsigned char *read_bytes = NULL;
    s = read_whole(fd, path, max_bytes, (size_t)info.st_size, &read_bytes, size, err);
    if (s == STATUS_OK) {
        *bytes = read_bytes;
    }
close_fd:
    close(fd);
    return s;
}

status file_read(const char *path, size_t max_bytes, void **bytes, size_t *size, struct err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_errno(err, errno, "open %s", path)
                  : read_opened(fd, path, max_bytes, bytes, size, err);
}

status file_open_regular(const char *path, int *fd, struct err *err)
{
    /* Without O_NONBLOCK, open() waits for a writer where the path is a named pipe. */
    const int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (opened < 0 || fstat(opened, &info) != 0) {
        const status s = err_errno(err, errno, "open %s", path);
        if (opened >= 0) {
            close(opened);
        }
        return s;
    }
    if (!S_ISREG(info.st_mode)) {
        close(opened);
        return err_set(err, STATUS_INVALID, "%s: is not a regular file", path);
    }
    *fd = opened;
    return STATUS_OK;
}

status file_read_regular(const char *path, size_t max_bytes, void **bytes, size_t *size,
                         struct err *err)
{
    int fd = -1;
    const status s = file_open_regular(path, &fd, err);
    return s == STATUS_OK ? read_opened(fd, path, max_bytes, bytes, size, err) : s;
}

status file_check_private(const char *path, struct err *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return err_errno(err, errno, "%s", path);
    }
    /* The group may read it, nobody else; and nobody but the owner may write. */
    if (info.st_mode & S_IROTH) {
        return err_set(err, STATUS_DENIED, "%s: everybody may read it; chmod o-r", path);
    }
    if (info.st_mode & (S_IWGRP | S_IWOTH)) {
        return err_set(err, STATUS_DENIED, "%s: others than its owner may write it; chmod go-w",
                       path);
    }
    return STATUS_OK;
}

bool file_mark_take(struct file_mark *mark, const char *path)
{
    struct stat info;
    struct file_mark now = {0};
    /* The inode's own time: it also changes with the rights, which may be what was wrong. */
    if (path != NULL && stat(path, &info) == 0) {
        now = (struct file_mark){info.st_ctim, info.st_ino, info.st_size};
    }
    const bool changed = now.changed.tv_sec != mark->changed.tv_sec ||
                         now.changed.tv_nsec != mark->changed.tv_nsec || now.inode != mark->inode ||
                         now.size != mark->size;
    *mark = now;
    return changed;
}

status file_write_all(int fd, const void *bytes, size_t size, struct err *err)
{
    const unsigned char *at = bytes;
    /* write() may take only a part; the rest follows in the next round. */
    while (size > 0) {
        const ssize_t n = fails_now() ? -1 : write(fd, at, size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        /* write() of more than nothing does not return 0; treated as an error, so that the loop
         * ends. */
        if (n <= 0) {
            return err_errno(err, n == 0 ? EIO : errno, "write %zu bytes", size);
        }
        at += n;
        size -= (size_t)n;
    }
    return STATUS_OK;
}

status file_sync(int fd, struct err *err)
{
    if (fails_now() || fsync(fd) != 0) {
        return err_errno(err, errno, "sync");
    }
    return STATUS_OK;
}

status file_read_at(int fd, void *bytes, size_t size, off_t offset, struct err *err)
{
    unsigned char *at = bytes;
    size_t left = size;
    while (left > 0) {
        /* pread may return less than was asked for, also in the middle of a file. */
        const ssize_t n = pread(fd, at, left, offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_errno(err, errno, "read at byte %lld", (long long)offset);
        }
        /* The file ends before the range does: it was cut short, or the offset is wrong. */
        if (n == 0) {
            return err_set(err, STATUS_CLOSED, "file ends at byte %lld, %zu bytes early",
                           (long long)offset, left);
        }
        at += n;
        offset += n;
        left -= (size_t)n;
    }
    return STATUS_OK;
}

status file_sync_folder(const char *path, struct err *err)
{
    char folder[PATH_MAX];
    /* The folder part: "." without a slash, "/" where the only slash is the first character. */
    const char *slash = strrchr(path, '/');
    const size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (length >= sizeof folder) {
        return err_set(err, STATUS_INVALID, "%.64s..: path too long", path);
    }
    memcpy(folder, path, length);
    folder[length] = '\0';

    /* A folder is synced through a descriptor that is open for reading. */
    const int fd = open(length == 0 ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_errno(err, errno, "open the folder of %s", path);
    }
    const status s = file_sync(fd, err);
    close(fd);
    return s == STATUS_OK ? s : err_context(err, s, "folder of %s", path);
}

/* Writes and syncs the temporary file; removes it when that fails. */
static status write_aside(const char *path, const struct file_part *parts, size_t n,
                          struct err *err)
{
    /* Somebody who may write into this folder could have put a link here, to a file of ours that we
     * would then overwrite. O_EXCL makes a new file or nothing, and follows no link. */
    unlink(path);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        return err_errno(err, errno, "open %s", path);
    }
    /* Write, sync, close: an error of any of them means that the disk may not have it. */
    status s = STATUS_OK;
    for (size_t i = 0; i < n && s == STATUS_OK; i++) {
        s = file_write_all(fd, parts[i].bytes, parts[i].size, err);
    }
    if (s == STATUS_OK) {
        s = file_sync(fd, err);
    }
    if (close(fd) != 0 && s == STATUS_OK) {
        s = err_errno(err, errno, "close");
    }
    if (s != STATUS_OK) {
        unlink(path);
        return err_context(err, s, "%s", path);
    }
    return STATUS_OK;
}

/* Puts `aside` in the place of `path`. Where the two could be exchanged, `aside` is now the old
 * file (*kept). */
static int rename_onto(const char *aside, const char *path, bool *kept)
{
    *kept = false;
    if (fails_now()) {
        return -1;
    }
    /* Exchanged, so that the old file still exists until the caller knows that the new one is
     * durable. */
    if (renameat2(AT_FDCWD, aside, AT_FDCWD, path, RENAME_EXCHANGE) == 0) {
        *kept = true;
        return 0;
    }
    /* There is no old file yet, or the file system cannot exchange. */
    return rename(aside, path);
}

status file_replace(const char *path, const struct file_part *parts, size_t n, struct err *err)
{
    /* Beside the file, so that the rename stays within one file system. */
    char aside[PATH_MAX];
    if (snprintf(aside, sizeof aside, "%s.tmp", path) >= (int)sizeof aside) {
        return err_set(err, STATUS_INVALID, "%.64s..: path too long", path);
    }
    /* An exchange of names works with folders, too: refuse to turn one into a file. */
    struct stat info;
    const bool was_there = lstat(path, &info) == 0;
    if (was_there && S_ISDIR(info.st_mode)) {
        return err_set(err, STATUS_INVALID, "%s: is a folder, expected a file", path);
    }
    status s = write_aside(aside, parts, n, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Now the new file gets its name, and the old one, if there is one, the name aside. */
    bool kept = false;
    if (rename_onto(aside, path, &kept) != 0) {
        s = err_errno(err, errno, "rename %s", aside);
        unlink(aside);
        return s;
    }
    /* The rename itself is durable only with the folder. If that fails, the old file goes back
     * in its place. */
    s = file_sync_folder(path, err);
    if (s != STATUS_OK && kept &&
        renameat2(AT_FDCWD, aside, AT_FDCWD, path, RENAME_EXCHANGE) != 0) {
        s = err_context(err, s, "%s is new, but may not outlive a power cut", path);
    } else if (s != STATUS_OK && !was_there) {
        unlink(path);
    }
    /* The name aside now holds the file that is not wanted: the old one, or, after the exchange
     * back, the new one. */
    if (kept) {
        unlink(aside);
    }
    return s;
}

status file_lock(const char *path, int *fd, struct err *err)
{
    /* Opened without truncation: the file may hold the pid of a process that has the lock. */
    const int opened = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (opened < 0) {
        return errno == ELOOP ? err_set(err, STATUS_DENIED, "lock %s: is a symbolic link", path)
                              : err_errno(err, errno, "open lock %s", path);
    }
    /* The lock belongs to this descriptor, not to the file: it ends with the process, however
     * that ends. */
    if (flock(opened, LOCK_EX | LOCK_NB) != 0) {
        /* Kept, because the calls below may change errno. */
        const int number = errno;
        /* The file holds the pid of the holder, for the message. */
        char holder[32] = "";
        const ssize_t n = pread(opened, holder, sizeof holder - 1, 0);
        holder[n > 0 ? strcspn(holder, "\n") : 0] = '\0';
        close(opened);
        if (number == EWOULDBLOCK) {
            return err_set(err, STATUS_EXISTS, "%s: locked by another process (%s)", path,
                           holder[0] == '\0' ? "unknown" : holder);
        }
        return err_errno(err, number, "lock %s", path);
    }
    /* For the message above; the lock itself does not need it. */
    char text[32];
    const int length = snprintf(text, sizeof text, "pid %ld\n", (long)getpid());
    if (ftruncate(opened, 0) != 0 || pwrite(opened, text, (size_t)length, 0) != length) {
        const int number = errno;
        close(opened);
        return err_errno(err, number, "write lock %s", path);
    }
    *fd = opened;
    return STATUS_OK;
}

bool file_is_locked(const char *path)
{
    char holder[32] = "";
    struct stat about;
    const int opened = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    const bool readable = opened >= 0 && fstat(opened, &about) == 0 &&
                          pread(opened, holder, sizeof holder - 1, 0) > 0;
    if (opened >= 0) {
        close(opened);
    }
    FILE *locks = readable ? fopen("/proc/locks", "re") : NULL;
    if (locks == NULL) {
        return false;
    }
    /* "1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF". Device numbers are not those of stat on every
     * file system: the inode and the pid that the holder has written must do. */
    bool found = false;
    char line[256];
    while (!found && fgets(line, sizeof line, locks) != NULL) {
        long pid;
        unsigned long long inode;
        char expected[32];
        if (sscanf(line, "%*s FLOCK ADVISORY WRITE %ld %*x:%*x:%llu", &pid, &inode) == 2) {
            snprintf(expected, sizeof expected, "pid %ld\n", pid);
            found = inode == (unsigned long long)about.st_ino && strcmp(expected, holder) == 0;
        }
    }
    (void)fclose(locks);
    return found;
}
