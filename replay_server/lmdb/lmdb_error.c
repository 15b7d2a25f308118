/* Translates LMDB's codes to ours, in one place.
 *
 * LMDB mixes its own codes with errno. What a caller can do something about has a status of its
 * own: FULL (wait, or make room), CORRUPT and INVALID (another file), LIMIT (reader slots).
 * Everything else is IO. */
#include "replay_server/lmdb/lmdb_error.h"

#include <errno.h>
#include <lmdb.h>
#include <stdint.h>
#include <sys/statvfs.h>

/* With less than this free on the disk, LMDB's short write means a full disk. */
#define FREE_BYTES_LEAST (64ull << 20)

status lmdb_error(int rc, const char *folder, struct err *err, const char *what)
{
    /* IO and LMDB's own text, unless something better is known. */
    status code = STATUS_IO;
    const char *reason = mdb_strerror(rc);
    switch (rc) {
    case 0:
        return STATUS_OK;
    case MDB_NOTFOUND:
        code = STATUS_NOT_FOUND;
        break;
    /* No room: in the map, on the disk, in the quota, or in a file of this size. */
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        code = STATUS_FULL;
        break;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
        code = STATUS_CORRUPT;
        break;
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
        code = STATUS_INVALID;
        break;
    /* Every slot of the table of readers is taken. */
    case MDB_READERS_FULL:
        code = STATUS_LIMIT;
        break;
    case ENOMEM:
        code = STATUS_NO_MEMORY;
        break;
    case EIO: {
        struct statvfs fs;
        if (statvfs(folder, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < FREE_BYTES_LEAST) {
            /* LMDB saw a short write, which it reports as an input/output error. */
            code = STATUS_FULL;
            reason = "no space left on the disk";
        }
        break;
    }
    default:
        break;
    }
    return err_set(err, code, "store %s: %s: %s", folder, what, reason);
}
