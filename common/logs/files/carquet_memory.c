/* An allocator that counts the bytes it has handed out, and returns NULL above a limit. carquet
 * then reports that memory ran out. Sizes are those of malloc_usable_size, so that no table of
 * blocks is needed. */
#include "common/logs/files/carquet_memory.h"

#include <carquet/carquet.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Shared by all files and threads. */
static atomic_ullong used_bytes;

static size_t size_of(void *memory)
{
    return memory == NULL ? 0 : malloc_usable_size(memory);
}

static void *limited_resize(void *memory, size_t size, void *context)
{
    (void)context;
    /* Two threads may pass the check together and exceed the limit by one block: it is a bound on
     * damage and not an account. */
    const size_t before = size_of(memory);
    if (size > CARQUET_MEMORY_MAX ||
        atomic_load(&used_bytes) - before > CARQUET_MEMORY_MAX - size) {
        return NULL;
    }
    void *resized = realloc(memory, size);
    if (resized != NULL) {
        atomic_fetch_add(&used_bytes, size_of(resized));
        atomic_fetch_sub(&used_bytes, before);
    }
    return resized;
}

static void *limited_malloc(size_t size, void *context)
{
    /* carquet may ask for no bytes and takes NULL for a failure. */
    return limited_resize(NULL, size == 0 ? 1 : size, context);
}

static void limited_free(void *memory, void *context)
{
    (void)context;
    atomic_fetch_sub(&used_bytes, size_of(memory));
    free(memory);
}

static void install(void)
{
    const carquet_allocator_t allocator = {limited_malloc, limited_resize, limited_free, NULL};
    carquet_set_allocator(&allocator);
}

void carquet_memory_limit(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, install);
}
