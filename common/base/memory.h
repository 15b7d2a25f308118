/* Allocation and the arena. Tests can make the Nth allocation fail (memory_fail_at). */
#ifndef HINDCAST_BASE_MEMORY_H
#define HINDCAST_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define CACHE_LINE 64u

/* Zeroed memory, or NULL. mem_array checks count * size for overflow. Free with mem_free. */
void *mem_new(size_t size_bytes);
void *mem_array(size_t count, size_t size_bytes);
/* Like reallocarray; the new part is not zeroed. */
void *mem_resize(void *memory, size_t count, size_t size_bytes);
char *mem_text(const char *text);     /* a copy */
void *mem_aligned(size_t size_bytes); /* zeroed, 64-byte aligned; mem_free */
void mem_free(void *memory);          /* NULL is fine */

/* From now on, the `nth` (1, 2, ..) of these calls in this process returns NULL, once; 0 turns it
 * off. */
void memory_fail_at(uint64_t nth);

/* A fixed block that is handed out from front to back and reset as a whole: for the activations of
 * a step.
 * Every piece is 64-byte aligned. One thread at a time. */
struct arena {
    unsigned char *base;
    size_t size_bytes;
    size_t used_bytes;
    size_t peak_bytes; /* the most ever used: what to give it next time */
};

status arena_init(struct arena *arena, size_t size_bytes) MUST_CHECK;
void arena_fini(struct arena *arena);
/* ASSERTs that it fits. Not zeroed. */
void *arena_take(struct arena *arena, size_t count, size_t size_bytes);
void arena_reset(struct arena *arena); /* poisons what was handed out under ASan */

#endif
