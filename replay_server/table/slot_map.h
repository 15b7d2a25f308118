/* A hash map from hashes to slots, with open addressing. It does not keep the keys: equal hashes
 * may stand for different keys, so a search walks over all slots of a hash and the caller compares.
 * Of a 64-bit hash the low half is kept, which makes an entry 8 bytes and a false match rare.
 * Memory only; one thread at a time. */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_SLOT_MAP_H
#define HINDCAST_REPLAY_SERVER_TABLE_SLOT_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define SLOT_NONE UINT32_MAX

/* All zero: an empty map. */
struct slot_map {
    struct slot_map_entry {
        uint32_t hash;
        uint32_t slot; /* SLOT_NONE: free */
    } * entries;
    size_t capacity; /* a power of two up to 2^32, or 0; at least twice n */
    size_t n;
};

void slot_map_fini(struct slot_map *map);
/* Makes room for one more entry, so that the next put cannot fail. NO_MEMORY leaves the map as it
 * was. */
status slot_map_reserve(struct slot_map *map) MUST_CHECK;
/* Needs a reserve before. */
void slot_map_put(struct slot_map *map, uint32_t hash, uint32_t slot);
/* The entry must be there. */
void slot_map_remove(struct slot_map *map, uint32_t hash, uint32_t slot);
void slot_map_clear(struct slot_map *map);

/* The first slot under `hash` with *cursor = 0, then the next ones; SLOT_NONE at the end. */
uint32_t slot_map_next(const struct slot_map *map, uint32_t hash, size_t *cursor);

#endif
