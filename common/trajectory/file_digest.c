/* Reads a file in pieces and keeps the digest.
 *
 * The value is stored before the flag that says it is there, so a thread that sees the flag finds
 * the value. There is no lock: two threads that ask at once read the file twice. */
#include "common/trajectory/file_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* XXH64 of a regular file, in pieces. */
static status digest_file(const char *path, uint64_t *digest, struct err *err)
{
    struct stat info;
    /* Not blocking: opening a FIFO would wait for its writer. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0) {
        const status s = err_errno(err, errno, "%s", path);
        if (fd >= 0) {
            close(fd);
        }
        return s;
    }
    /* Anything but a regular file may have no end. */
    XXH64_state_t *state = S_ISREG(info.st_mode) ? XXH64_createState() : NULL;
    if (state == NULL) {
        close(fd);
        return S_ISREG(info.st_mode)
                   ? err_set(err, STATUS_NO_MEMORY, "%s", path)
                   : err_set(err, STATUS_INVALID, "%s: is not a regular file", path);
    }
    /* In pieces, since a shard may be larger than the memory that is left. */
    (void)!XXH64_reset(state, 0);
    unsigned char piece[64 << 10];
    status s = STATUS_OK;
    for (;;) {
        const ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            s = err_errno(err, errno, "read %s", path);
        }
        if (n <= 0) {
            break;
        }
        (void)!XXH64_update(state, piece, (size_t)n);
    }
    if (s == STATUS_OK) {
        *digest = XXH64_digest(state);
    }
    XXH64_freeState(state);
    close(fd);
    return s;
}

status file_digest_get(struct file_digest *known, const char *path, uint64_t *digest,
                       struct err *err)
{
    /* Computed once: several parts of a program ask. */
    if (atomic_load(&known->known)) {
        *digest = atomic_load(&known->value);
        return STATUS_OK;
    }
    const status s = digest_file(path, digest, err);
    if (s == STATUS_OK) {
        atomic_store(&known->value, *digest);
        atomic_store(&known->known, true);
    }
    return s;
}
