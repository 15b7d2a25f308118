/* Reads a file in pieces and keeps the digest.
 *
 * The value is stored before the flag that says it is there, so a thread that sees the flag finds
 * the value. There is no lock: two threads that ask at once read the file twice. */
#include "common/trajectory/file_digest.h"

#include <errno.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/file.h"

/* XXH64 of a regular file, in pieces. */
static status digest_file(const char *path, uint64_t *digest, struct err *err)
{
    int fd;
    const status opened = file_open_regular(path, &fd, err);
    if (opened != STATUS_OK) {
        return opened;
    }
    XXH64_state_t *state = XXH64_createState();
    if (state == NULL) {
        close(fd);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
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
