/* A list of free buffers, last in, first out: the next taker gets one that is still warm in cache.
 *
 * The budget counts what is taken and what is free: a free buffer of another size is destroyed when
 * its bytes are needed. Capacities are multiples of GRAIN, so that responses of nearly the same
 * size share buffers.
 *
 * Any thread takes and gives back; one mutex guards the list and the counts. A buffer that is taken
 * belongs to its taker and is not in any list of the pool. */
#include "replay_server/store/buffer_pool.h"

#include <pthread.h>

#include "common/base/memory.h"

#define GRAIN      65536u /* capacities are multiples of this: similar sizes share buffers */
#define SEARCH_MAX 32u    /* free buffers looked at before another is made */

struct buffer_pool {
    pthread_mutex_t lock; /* guards all below */
    struct buffer *free;
    size_t free_bytes;
    size_t taken_bytes;
    size_t max_bytes;
    bool wanted; /* a take failed since `freed` was called */
    void (*freed)(void *arg);
    void *arg;
};

status buffer_pool_new(struct buffer_pool **out, size_t max_bytes, void (*freed)(void *arg),
                       void *arg)
{
    struct buffer_pool *pool = mem_new(sizeof *pool);
    if (pool == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* Nothing is allocated in advance: the pool fills with what is given back. */
    pthread_mutex_init(&pool->lock, NULL);
    pool->max_bytes = max_bytes;
    pool->freed = freed;
    pool->arg = arg;
    *out = pool;
    return STATUS_OK;
}

/* Frees a buffer that is in no list. */
static void destroy(struct buffer *buffer)
{
    mem_free(buffer->bytes);
    mem_free(buffer);
}

void buffer_pool_free(struct buffer_pool *pool)
{
    if (pool) {
        /* A buffer given back after this would write to a pool that is gone. The last one may have
         * come back on a thread of gRPC's a moment ago: the lock waits until that call has ended. */
        pthread_mutex_lock(&pool->lock);
        ASSERT(pool->taken_bytes == 0);
        pthread_mutex_unlock(&pool->lock);
        while (pool->free) {
            struct buffer *buffer = pool->free;
            pool->free = buffer->next;
            destroy(buffer);
        }
        pthread_mutex_destroy(&pool->lock);
        mem_free(pool);
    }
}

/* Takes a free buffer of fitting size out of the list; not one much too large. */
static struct buffer *reuse(struct buffer_pool *pool, size_t size)
{
    /* `at` points to the link that leads to the buffer, so that it can be taken out of the middle.
     * The search is bounded: the lock is held, and a new buffer costs less than a long walk. */
    struct buffer **at = &pool->free;
    for (unsigned i = 0; *at && i < SEARCH_MAX; i++, at = &(*at)->next) {
        struct buffer *buffer = *at;
        if (buffer->capacity >= size && buffer->capacity / 2 <= size) {
            *at = buffer->next;
            pool->free_bytes -= buffer->capacity;
            return buffer;
        }
    }
    return NULL;
}

/* A new buffer of exactly this capacity; NULL: out of memory. */
static struct buffer *make(struct buffer_pool *pool, size_t size)
{
    /* The header and its bytes are allocated apart, since only the bytes are aligned. */
    struct buffer *buffer = mem_new(sizeof *buffer);
    if (buffer == NULL) {
        return NULL;
    }
    buffer->pool = pool;
    buffer->capacity = size;
    buffer->bytes = mem_aligned(size);
    if (buffer->bytes == NULL) {
        mem_free(buffer);
        return NULL;
    }
    return buffer;
}

struct buffer *buffer_pool_take(struct buffer_pool *pool, size_t size)
{
    /* Rounded up, so that capacities of free buffers and sizes that are asked for meet. */
    size = (size + GRAIN - 1) / GRAIN * GRAIN;
    pthread_mutex_lock(&pool->lock);
    struct buffer *buffer = NULL;
    /* With nothing taken, one buffer of any size is granted: a batch larger than the budget must
     * not wait for ever. */
    if (pool->taken_bytes == 0 || pool->taken_bytes + size <= pool->max_bytes) {
        buffer = reuse(pool, size);
        if (buffer == NULL) {
            /* Free ones of other sizes make room. */
            while (pool->free && pool->taken_bytes + pool->free_bytes + size > pool->max_bytes) {
                struct buffer *other = pool->free;
                pool->free = other->next;
                pool->free_bytes -= other->capacity;
                destroy(other);
            }
            buffer = make(pool, size);
        }
    }
    /* `freed` tells a taker that got nothing to ask again. */
    if (buffer) {
        pool->taken_bytes += buffer->capacity;
        buffer->next = NULL;
    } else {
        pool->wanted = true;
    }
    pthread_mutex_unlock(&pool->lock);
    return buffer;
}

void buffer_give_back(void *arg)
{
    struct buffer *buffer = arg;
    struct buffer_pool *pool = buffer->pool;
    pthread_mutex_lock(&pool->lock);
    /* To the front of the list. It counts against the budget as before, only as free. */
    pool->taken_bytes -= buffer->capacity;
    pool->free_bytes += buffer->capacity;
    buffer->next = pool->free;
    pool->free = buffer;
    const bool tell = pool->wanted && pool->freed;
    pool->wanted = pool->wanted && !tell;
    /* Within the lock: whoever frees the pool does so after the last buffer is back, and must not
     * overtake this call. */
    if (tell) {
        pool->freed(pool->arg);
    }
    pthread_mutex_unlock(&pool->lock);
}

size_t buffer_pool_taken_bytes(struct buffer_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    const size_t taken = pool->taken_bytes;
    pthread_mutex_unlock(&pool->lock);
    return taken;
}
