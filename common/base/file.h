/* Files that are either whole or absent: written aside, synced, renamed. Tests can fail the Nth
 * call. */
#ifndef HINDCAST_BASE_FILE_H
#define HINDCAST_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "common/base/status.h"

/* mkdir -p; a folder that it makes outlives a power cut. */
status file_make_folders(const char *path, struct err *err) MUST_CHECK;

/* The whole file, followed by one 0 byte that `size` does not count. mem_free() it.
 * NOT_FOUND, INVALID when larger than `max_bytes` (the text says so), IO. */
status file_read(const char *path, size_t max_bytes, void **bytes, size_t *size,
                 struct err *err) MUST_CHECK;

/* The same for a path that may lead anywhere, as in a folder of logs: INVALID unless it is a regular
 * file. A named pipe or a device is not waited for. */
status file_read_regular(const char *path, size_t max_bytes, void **bytes, size_t *size,
                         struct err *err) MUST_CHECK;
/* Opens such a file for reading; *fd is the caller's. */
status file_open_regular(const char *path, int *fd, struct err *err) MUST_CHECK;

struct file_part {
    const void *bytes;
    size_t size;
};
/* Writes the parts one after another to `path`.tmp, fsyncs, renames onto `path`, fsyncs the folder.
 * After an error `path` is what it was and the temporary file is gone (but for a file system that
 * cannot exchange two names and fails the last fsync: then `path` is the new file, whole). One
 * writer of a path at a time. FULL when the disk is. */
status file_replace(const char *path, const struct file_part *parts, size_t n,
                    struct err *err) MUST_CHECK;

/* fsyncs the folder that holds `path`: makes a rename or unlink durable. */
status file_sync_folder(const char *path, struct err *err) MUST_CHECK;

/* For files with secrets: only owner and group may be able to read it, and only the owner to write
 * it. DENIED names the chmod that is needed; NOT_FOUND, IO. Links are followed, to the file that
 * counts. */
status file_check_private(const char *path, struct err *err) MUST_CHECK;

/* What tells that a file is another one than before, or has other contents. All zero: none. */
struct file_mark {
    struct timespec changed;
    ino_t inode;
    off_t size;
};
/* Has the file changed since the mark was taken last? Takes it anew. A path of NULL never changes. */
bool file_mark_take(struct file_mark *mark, const char *path);

/* All of it, at the descriptor's place; retries short writes and EINTR. FULL on ENOSPC/EDQUOT, else
 * IO. */
status file_write_all(int fd, const void *bytes, size_t size, struct err *err) MUST_CHECK;
status file_sync(int fd, struct err *err) MUST_CHECK;
/* Returns STATUS_CLOSED when the file ends before `size` bytes. */
status file_read_at(int fd, void *bytes, size_t size, off_t offset, struct err *err) MUST_CHECK;

/* Locks `path` (created if absent) until `fd` is closed or the process ends. EXISTS with the pid of
 * the holder if it is locked already, even by this process. */
status file_lock(const char *path, int *fd, struct err *err) MUST_CHECK;
/* Whether a process of this machine holds that lock now. Does not take it, not even for a moment. */
bool file_is_locked(const char *path);

/* From now on the `nth` write, sync or rename of this process fails with `error_number`, once; 0
 * turns it off. */
void file_fail_at(uint64_t nth, int error_number);

#endif
