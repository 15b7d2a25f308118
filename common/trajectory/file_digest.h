/* The XXH64 of a whole file, computed when somebody first asks for it. */
#ifndef HINDCAST_TRAJECTORY_FILE_DIGEST_H
#define HINDCAST_TRAJECTORY_FILE_DIGEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"

/* All zero: not known yet. Threads that ask at the same time compute the same value. */
struct file_digest {
    _Atomic bool known;
    _Atomic uint64_t value;
};

/* Stores the digest of the file at `path`, which `known` is about. The file is read by the first
 * call. Any thread. NOT_FOUND, INVALID (not a regular file), IO, NO_MEMORY. */
status file_digest_get(struct file_digest *known, const char *path, uint64_t *digest,
                       struct err *err) MUST_CHECK;

#endif
