/* What a process asks of the disk, written down: preloaded (LD_PRELOAD) into a server, it appends
 * to a trace each write, sync and change of a name in one folder, with content and in order. From
 * that, tests/integration/power_cut.py makes the disks that a power cut may have left.
 *
 *   POWER_FOLDER   the folder: absolute, without a slash at its end; files `lock*` are left out, those
 *                  in folders within it are named by their path from it
 *   POWER_TRACE    the trace; appended to, so that several lives of a server make one
 *
 * A record is 24 bytes, little-endian, and `size` bytes that follow them:
 *
 *     0   4  kind
 *     4   4  size
 *     8   8  file: its inode
 *    16   8  at
 *
 *   kind      at                       follows   means
 *   WRITE     offset                   bytes     they may reach the disk from now on
 *   DONE      of its WRITE             -         written through O_DSYNC: it is on the disk
 *   LENGTH    length                   -         the file was cut, or grew, to this
 *   SYNC      trace's when it began    -         what was written before then is on the disk
 *   NAME      0                        name      it stands for this file now; file 0: for none
 *   NEW       0                        -         an inode begins a new file
 *   FOLDER    trace's when it began    name      names in this folder ("": POWER_FOLDER itself) that
 *                                                changed before then are on the disk
 *   FAILED    errno                    -         a call failed, so that the trace is worth nothing
 *
 * "at" of DONE, SYNC, FOLDER is a position: how long the trace was. A write is noted before it is
 * made, a sync after: so whoever saw the trace this long knows what must be there. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define NAME_SIZE 4096

enum kind { WRITE = 1, DONE, LENGTH, SYNC, NAME, NEW, FOLDER, FAILED };

struct record {
    uint32_t kind, size;
    uint64_t file, at;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all below, and the order of calls */
static int trace_fd = -1;
static uint64_t trace_size;
static const char *folder;
static size_t folder_length;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POWER_TRACE");
    struct stat info;
    folder = getenv("POWER_FOLDER");
    if (path == NULL || folder == NULL) {
        return;
    }
    folder_length = strlen(folder);
    trace_fd =
        (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (trace_fd < 0 || fstat(trace_fd, &info) != 0) {
        abort();
    }
    trace_size = (uint64_t)info.st_size;
}

/* A call and its record: together, and whoever is about to kill the process keeps out of it with a
 * lock on the trace. */
static void enter(void)
{
    pthread_mutex_lock(&lock);
    flock(trace_fd, LOCK_EX);
}

static void leave(void)
{
    const int number = errno;
    flock(trace_fd, LOCK_UN);
    pthread_mutex_unlock(&lock);
    errno = number;
}

/* ---- The trace ---- */

/* Under the lock. Returns where the record begins. */
static uint64_t note(enum kind kind, uint64_t file, uint64_t at, const struct iovec *parts, int n)
{
    struct record record = {.kind = kind, .file = file, .at = at};
    const uint64_t position = trace_size;
    size_t size = 0;
    for (int i = 0; i < n; i++) {
        size += parts[i].iov_len;
    }
    record.size = (uint32_t)size;
    /* As one, so that the trace never ends within a record. */
    char *whole = malloc(sizeof record + size);
    if (whole == NULL) {
        abort();
    }
    memcpy(whole, &record, sizeof record);
    char *end = whole + sizeof record;
    for (int i = 0; i < n; i++) {
        memcpy(end, parts[i].iov_base, parts[i].iov_len);
        end += parts[i].iov_len;
    }
    if (syscall(SYS_write, trace_fd, whole, sizeof record + size) !=
        (ssize_t)(sizeof record + size)) {
        abort();
    }
    free(whole);
    trace_size += sizeof record + size;
    return position;
}

static void note_name(const char *name, uint64_t file)
{
    const struct iovec part = {(void *)name, strlen(name)};
    note(NAME, file, 0, &part, 1);
}

static long check(long result)
{
    if (result < 0) {
        const int number = errno;
        note(FAILED, 0, (uint64_t)number, NULL, 0);
        errno = number;
    }
    return result;
}

/* ---- Which calls are noted ---- */

/* The name within the folder, or NULL: somewhere else, or a lock. */
static const char *name_of(const char *path)
{
    if (trace_fd < 0 || strncmp(path, folder, folder_length) != 0 || path[folder_length] != '/') {
        return NULL;
    }
    const char *name = path + folder_length + 1;
    return strncmp(name, "lock", 4) == 0 ? NULL : name;
}

static bool path_of(int fd, char path[NAME_SIZE])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, NAME_SIZE - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* The inode behind fd; 0: its calls are not noted. */
static uint64_t file_of(int fd)
{
    char path[NAME_SIZE];
    struct stat info;
    const int number = errno;
    const bool ours = trace_fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
                      path_of(fd, path) && name_of(path);
    errno = number;
    return ours ? (uint64_t)info.st_ino : 0;
}

static uint64_t inode_of(const char *path)
{
    struct stat info;
    const int number = errno;
    const uint64_t inode = stat(path, &info) == 0 ? (uint64_t)info.st_ino : 0;
    errno = number;
    return inode;
}

/* ---- Writes ---- */

static ssize_t write_noted(int fd, const struct iovec *parts, int n, off_t offset, bool at_place)
{
    const uint64_t file = file_of(fd);
    if (file == 0) {
        return at_place ? syscall(SYS_writev, fd, parts, n)
                        : syscall(SYS_pwritev, fd, parts, n, offset, 0L);
    }
    enter();
    if (at_place) {
        offset = lseek(fd, 0, SEEK_CUR);
    }
    size_t size = 0;
    for (int i = 0; i < n; i++) {
        size += parts[i].iov_len;
    }
    const uint64_t position = note(WRITE, file, (uint64_t)offset, parts, n);
    const ssize_t result = check(at_place ? syscall(SYS_writev, fd, parts, n)
                                          : syscall(SYS_pwritev, fd, parts, n, offset, 0L));
    if (result >= 0 && (size_t)result != size) {
        note(FAILED, file, 0, NULL, 0);
    }
    if (result >= 0 && fcntl(fd, F_GETFL) & O_DSYNC) {
        note(DONE, file, position, NULL, 0);
    }
    leave();
    return result;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    if (trace_fd < 0) {
        return syscall(SYS_write, fd, bytes, size);
    }
    const struct iovec part = {(void *)bytes, size};
    return write_noted(fd, &part, 1, 0, true);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    return write_noted(fd, parts, n, 0, true);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    const struct iovec part = {(void *)bytes, size};
    return write_noted(fd, &part, 1, offset, false);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
    return write_noted(fd, parts, n, offset, false);
}

int ftruncate(int fd, off_t size)
{
    const uint64_t file = file_of(fd);
    if (file == 0) {
        return (int)syscall(SYS_ftruncate, fd, size);
    }
    enter();
    note(LENGTH, file, (uint64_t)size, NULL, 0);
    const int result = (int)check(syscall(SYS_ftruncate, fd, size));
    leave();
    return result;
}

/* ---- Syncs ---- */

static int sync_noted(int fd, long call)
{
    char path[NAME_SIZE];
    const uint64_t file = file_of(fd);
    struct stat info;
    const bool is_folder = trace_fd >= 0 && file == 0 && fstat(fd, &info) == 0 &&
                           S_ISDIR(info.st_mode) && path_of(fd, path) &&
                           (strcmp(path, folder) == 0 || name_of(path));
    if (file == 0 && !is_folder) {
        return (int)syscall(call, fd);
    }
    enter();
    const uint64_t before = trace_size;
    leave();
    const long result = syscall(call, fd);
    const int number = errno;
    enter();
    errno = number;
    if (check(result) == 0 && is_folder) {
        const char *name = strcmp(path, folder) == 0 ? "" : name_of(path);
        const struct iovec part = {(void *)name, strlen(name)};
        note(FOLDER, 0, before, &part, 1);
    } else if (result == 0) {
        note(SYNC, file, before, NULL, 0);
    }
    leave();
    return (int)result;
}

int fsync(int fd)
{
    return sync_noted(fd, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_noted(fd, SYS_fdatasync);
}

/* ---- Names ---- */

int open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    const char *name = name_of(path);
    if (name == NULL || (flags & (O_CREAT | O_TRUNC)) == 0) {
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    }
    enter();
    const bool was_there = access(path, F_OK) == 0;
    const int fd = (int)check(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
    if (fd >= 0 && !was_there) {
        note(NEW, inode_of(path), 0, NULL, 0);
        note_name(name, inode_of(path));
    } else if (fd >= 0 && flags & O_TRUNC) {
        note(LENGTH, inode_of(path), 0, NULL, 0);
    }
    leave();
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    return open(path, flags, mode);
}

/* A folder that moves takes its file along; the store's folders hold one each. */
static void note_moved_folder(const char *old, const char *new, const char *to)
{
    char from_name[NAME_SIZE], to_name[NAME_SIZE], path[NAME_SIZE];
    snprintf(from_name, sizeof from_name, "%s/data.mdb", old);
    snprintf(to_name, sizeof to_name, "%s/data.mdb", new);
    snprintf(path, sizeof path, "%s/data.mdb", to);
    note_name(to_name, inode_of(path));
    note_name(from_name, 0);
}

static bool is_folder_at(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    const char *old = name_of(from), *new = name_of(to);
    if (old == NULL || new == NULL) {
        return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    }
    enter();
    const uint64_t moved = inode_of(from), other = inode_of(to);
    const int result = (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (result == 0 && is_folder_at(to)) {
        note_moved_folder(old, new, to);
    } else if (result == 0) {
        note_name(new, moved);
        note_name(old, flags & RENAME_EXCHANGE ? other : 0);
    }
    leave();
    return result;
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path)
{
    const char *name = name_of(path);
    if (name == NULL) {
        return (int)syscall(SYS_unlink, path);
    }
    enter();
    const int result = (int)syscall(SYS_unlink, path);
    if (result == 0) {
        note_name(name, 0);
    }
    leave();
    return result;
}
