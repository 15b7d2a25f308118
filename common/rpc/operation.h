/* Tags and times: what all that starts gRPC operations shares. Internal to common/rpc.
 *
 * The address of a struct rpc_op is the tag of one operation; it comes back exactly once, also when
 * the operation was cancelled. gRPC hands it from thread to thread in a library that
 * ThreadSanitizer cannot see into, so the two functions below tell it. */
#ifndef HINDCAST_RPC_OPERATION_H
#define HINDCAST_RPC_OPERATION_H

#include <grpc/grpc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/clock.h"

struct rpc_op {
    void (*complete)(struct rpc_op *op, bool ok);
};

/* The struct whose member `member` is at `pointer`. */
#define RPC_CONTAINER(pointer, type, member)                                                       \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#ifdef __SANITIZE_THREAD__
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#endif

/* Before the operation with this tag is started. */
static inline void op_give(void *tag)
{
#ifdef __SANITIZE_THREAD__
    __tsan_release(tag);
#else
    (void)tag;
#endif
}

/* After the tag came out of the completion queue. */
static inline void op_take(void *tag)
{
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(tag);
#else
    (void)tag;
#endif
}

/* While quiet, what gRPC has to say on this thread is for debugging only: its caller reports the
 * failure. rpc.c */
void op_log_quiet(bool quiet);

/* A point of our monotonic clock, as gRPC wants it; UINT64_MAX: never. */
static inline gpr_timespec op_time(uint64_t ns)
{
    if (ns == UINT64_MAX) {
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    }
    return (gpr_timespec){(int64_t)(ns / NS_PER_S), (int32_t)(ns % NS_PER_S), GPR_CLOCK_MONOTONIC};
}

/* `timeout_ms` from now, on our monotonic clock; saturates. */
static inline uint64_t op_deadline_ns(uint64_t timeout_ms)
{
    uint64_t now = clock_now_ns();
    return timeout_ms >= (UINT64_MAX - now) / NS_PER_MS ? UINT64_MAX : now + timeout_ms * NS_PER_MS;
}

#endif
