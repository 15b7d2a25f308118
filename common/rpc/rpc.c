/* What server and client share: status codes, gRPC's start and end, received payloads.
 *
 * gRPC counts its starts: every server and every channel calls rpc_init and rpc_fini, and the last
 * rpc_fini ends gRPC. The settings in rpc_init are made each time, and are the same each time. */
#define LOG_MODULE "rpc"
#include "common/rpc/rpc.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/rpc/descriptors.h"
#include "common/rpc/operation.h"

#define MALLOC_KEEP_BYTES (256 << 20) /* free memory kept at the end of a heap */
#define MALLOC_MAP_BYTES  (32 << 20)  /* larger pieces are mapped, glibc allows no more */

/* Both ways, the first row that fits counts. The two sides of a call see the same status where
 * gRPC has a code for it. A client sees NO_MEMORY as FULL, and the statuses below that share
 * ABORTED as RETRY. */
static const struct {
    status code;
    grpc_status_code grpc;
} CODES[] = {
    {STATUS_OK, GRPC_STATUS_OK},
    {STATUS_INVALID, GRPC_STATUS_INVALID_ARGUMENT},
    {STATUS_CORRUPT, GRPC_STATUS_DATA_LOSS},
    {STATUS_RETRY, GRPC_STATUS_ABORTED},
    {STATUS_NOT_FOUND, GRPC_STATUS_NOT_FOUND},
    {STATUS_EXISTS, GRPC_STATUS_ALREADY_EXISTS},
    {STATUS_MISMATCH, GRPC_STATUS_FAILED_PRECONDITION},
    {STATUS_TIMEOUT, GRPC_STATUS_DEADLINE_EXCEEDED},
    {STATUS_CLOSED, GRPC_STATUS_CANCELLED},
    {STATUS_UNAVAILABLE, GRPC_STATUS_UNAVAILABLE},
    {STATUS_DENIED, GRPC_STATUS_PERMISSION_DENIED},
    {STATUS_FULL, GRPC_STATUS_RESOURCE_EXHAUSTED},
    {STATUS_IO, GRPC_STATUS_UNKNOWN},
    {STATUS_UNIMPLEMENTED, GRPC_STATUS_UNIMPLEMENTED},
    {STATUS_INTERNAL, GRPC_STATUS_INTERNAL},
    {STATUS_NO_MEMORY, GRPC_STATUS_RESOURCE_EXHAUSTED},
    {STATUS_QUEUE_FULL, GRPC_STATUS_ABORTED},
    {STATUS_SUPERSEDED, GRPC_STATUS_ABORTED},
    {STATUS_GROUP_BROKEN, GRPC_STATUS_ABORTED},
    {STATUS_PENDING, GRPC_STATUS_ABORTED},
    {STATUS_TOO_LONG, GRPC_STATUS_ABORTED},
    {STATUS_LIMIT, GRPC_STATUS_ABORTED},
    {STATUS_DENIED, GRPC_STATUS_UNAUTHENTICATED},
    {STATUS_INVALID, GRPC_STATUS_OUT_OF_RANGE},
};
#define N_CODES (sizeof CODES / sizeof CODES[0])

int rpc_code(status code)
{
    for (size_t i = 0; i < N_CODES; i++) {
        if (CODES[i].code == code) {
            return (int)CODES[i].grpc;
        }
    }
    return GRPC_STATUS_INTERNAL;
}

status rpc_status(int grpc_code)
{
    for (size_t i = 0; i < N_CODES; i++) {
        if ((int)CODES[i].grpc == grpc_code) {
            return CODES[i].code;
        }
    }
    return STATUS_INTERNAL;
}

/* Is what gRPC says on this thread for debugging only? See op_log_quiet. */
static _Thread_local bool log_is_quiet;

void op_log_quiet(bool quiet)
{
    log_is_quiet = quiet;
}

/* gRPC's own lines ("handshake failed: ..") go where ours go. */
static void on_grpc_log(gpr_log_func_args *args)
{
    const char *slash = strrchr(args->file, '/');
    /* An error of gRPC concerns one connection, so it is no more than a warning. */
    enum log_level level =
        args->severity == GPR_LOG_SEVERITY_ERROR && !log_is_quiet ? LOG_WARN : LOG_DEBUG;
    log_write(level, "grpc", "%s (%s:%d)", args->message, slash ? slash + 1 : args->file,
              args->line);
}

void rpc_init(void)
{
    /* A channel makes progress while a thread waits in one of its calls. Between calls gRPC polls
     * it from a timer, by default every 5 s: too rarely to answer a server's keepalive pings in
     * good time. */
    setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "500", 0);
    /* c-ares, gRPC's default, loses the name of each host it finds in /etc/hosts. */
    setenv("GRPC_DNS_RESOLVER", "native", 0);
    /* gRPC allocates what it reads anew each time. With the defaults malloc returns that memory to
     * the kernel at every free and faults it in again: more than half of the time of receiving a
     * stream. */
    mallopt(M_TRIM_THRESHOLD, MALLOC_KEEP_BYTES);
    mallopt(M_MMAP_THRESHOLD, MALLOC_MAP_BYTES);
    /* Before grpc_init, so that its first lines come here, too. */
    gpr_set_log_function(on_grpc_log);
    descriptors_init();
    grpc_init();
}

void rpc_fini(void)
{
    grpc_shutdown();
}

bool rpc_pieces_copy(const struct rpc_pieces *pieces, void *to, size_t offset, size_t size)
{
    if (offset > pieces->size || size > pieces->size - offset) {
        return false;
    }
    /* Pieces before the offset are passed over; of the others as much as is wanted. */
    unsigned char *out = to;
    for (size_t i = 0; i < pieces->n && size > 0; i++) {
        const struct rpc_piece *piece = &pieces->pieces[i];
        if (offset >= piece->size) {
            offset -= piece->size;
            continue;
        }
        /* The offset concerns the first piece that is copied, and no later one. */
        size_t part = piece->size - offset < size ? piece->size - offset : size;
        memcpy(out, piece->bytes + offset, part);
        out += part;
        size -= part;
        offset = 0;
    }
    return true;
}
