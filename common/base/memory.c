/* All allocation of ours goes through these few functions, so that tests can make the Nth call fail
 * and see whether what was built so far is taken down again. Sizes are multiplied with a check
 * here, once. Below them the arena: one block, from which a step takes its pieces and which is
 * reset as a whole. */
#include "common/base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* With AddressSanitizer the part of an arena that is not taken is poisoned, so that an access
 * beyond the end of a piece is reported although it stays within the block. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(start, size)   __asan_poison_memory_region((start), (size))
#define UNPOISON(start, size) __asan_unpoison_memory_region((start), (size))
#else
#define POISON(start, size)   ((void)(start), (void)(size))
#define UNPOISON(start, size) ((void)(start), (void)(size))
#endif

/* Calls left until one fails; 0: none will. */
static _Atomic uint64_t fail_in;

/* Is it this call's turn to fail? */
static bool fails_now(void)
{
    /* The usual case costs one relaxed load. */
    if (atomic_load_explicit(&fail_in, memory_order_relaxed) == 0) {
        return false;
    }
    uint64_t left = atomic_load(&fail_in);
    /* Counts down; the thread that takes the last one fails. */
    while (left > 0 && !atomic_compare_exchange_weak(&fail_in, &left, left - 1)) {
    }
    return left == 1;
}

void memory_fail_at(uint64_t nth)
{
    atomic_store(&fail_in, nth);
}

void *mem_new(size_t size_bytes)
{
    return mem_array(1, size_bytes);
}

/* False when the product is too large; at least one byte, so that NULL only ever means failure. */
static bool product(size_t count, size_t size_bytes, size_t *total)
{
    if (__builtin_mul_overflow(count, size_bytes, total) || *total > PTRDIFF_MAX) {
        return false;
    }
    *total += *total == 0;
    return true;
}

void *mem_array(size_t count, size_t size_bytes)
{
    size_t total;
    /* calloc, because large pieces come from the system as zeros and are not cleared a second
     * time. */
    return fails_now() || !product(count, size_bytes, &total) ? NULL : calloc(1, total);
}

void *mem_resize(void *memory, size_t count, size_t size_bytes)
{
    size_t total;
    /* As with realloc, the old piece stays valid when this fails. */
    return fails_now() || !product(count, size_bytes, &total) ? NULL : realloc(memory, total);
}

char *mem_text(const char *text)
{
    return fails_now() ? NULL : strdup(text);
}

void *mem_aligned(size_t size_bytes)
{
    if (fails_now() || size_bytes > PTRDIFF_MAX - CACHE_LINE) {
        return NULL;
    }
    /* aligned_alloc wants a multiple of the alignment. */
    const size_t rounded = (size_bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    const size_t size = rounded == 0 ? CACHE_LINE : rounded;
    void *memory = aligned_alloc(CACHE_LINE, size);
    /* Zeros, as from the other functions. */
    if (memory != NULL) {
        memset(memory, 0, size);
    }
    return memory;
}

void mem_free(void *memory)
{
    free(memory);
}

status arena_init(struct arena *arena, size_t size_bytes)
{
    unsigned char *base = mem_aligned(size_bytes);
    if (base == NULL) {
        return STATUS_NO_MEMORY;
    }
    *arena = (struct arena){.base = base, .size_bytes = size_bytes};
    /* Nothing of it may be used before arena_take. */
    POISON(base, size_bytes);
    return STATUS_OK;
}

void arena_fini(struct arena *arena)
{
    /* The allocator is going to write into what it gets back. */
    if (arena->base != NULL) {
        UNPOISON(arena->base, arena->size_bytes);
    }
    mem_free(arena->base);
    *arena = (struct arena){0};
}

void *arena_take(struct arena *arena, size_t count, size_t size_bytes)
{
    size_t size;
    ASSERT(!__builtin_mul_overflow(count, size_bytes, &size));
    /* Each piece begins on a cache line of its own. */
    const size_t start = (arena->used_bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    /* The caller has computed the sizes beforehand: too small an arena is a bug. */
    ASSERT(start <= arena->size_bytes && size <= arena->size_bytes - start);
    arena->used_bytes = start + size;
    if (arena->used_bytes > arena->peak_bytes) {
        arena->peak_bytes = arena->used_bytes;
    }
    /* Only the piece itself becomes readable: a run over its end lands in poison. */
    UNPOISON(arena->base + start, size);
    return arena->base + start;
}

void arena_reset(struct arena *arena)
{
    arena->used_bytes = 0;
    /* The pieces are void now; the sanitizer reports who still uses one. */
    POISON(arena->base, arena->size_bytes);
}
