/* Large buffers that are used again and again: chunks on their way in, batches on their way out.
 * Bounded in bytes. Any thread takes and gives back. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_BUFFER_POOL_H
#define HINDCAST_REPLAY_SERVER_STORE_BUFFER_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

struct buffer_pool;

struct buffer {
    struct buffer_pool *pool;
    struct buffer *next; /* of the pool while free, of the taker otherwise */
    size_t capacity;
    uint8_t *bytes; /* 64-byte aligned; not zeroed */
};

/* `freed(arg)` (may be NULL) is called, on the thread that gave back, when a take had failed for
 * lack of room since the last call. */
status buffer_pool_new(struct buffer_pool **pool, size_t max_bytes, void (*freed)(void *arg),
                       void *arg) MUST_CHECK;
/* All buffers must be back. */
void buffer_pool_free(struct buffer_pool *pool);

/* A buffer of at least `size` bytes, or NULL: no room now. With nothing taken, one buffer of any
 * size is granted. */
struct buffer *buffer_pool_take(struct buffer_pool *pool, size_t size);
/* Fits rpc_payload.release. */
void buffer_give_back(void *buffer);

size_t buffer_pool_taken_bytes(struct buffer_pool *pool);

#endif
