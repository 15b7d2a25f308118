/* Hash to slot: linear probing, at most half full. A removal moves later entries of the same run
 * back into the gap, so there are no tombstones and a search ends at the first free entry.
 *
 * The map compares hashes and nothing else. Several slots may have the same hash: slot_map_next
 * gives them one by one, and the caller looks whether it is the right one. */
#include "replay_server/table/slot_map.h"

#include "common/base/memory.h"

#define CAPACITY_MIN 64

void slot_map_fini(struct slot_map *map)
{
    mem_free(map->entries);
    *map = (struct slot_map){0};
}

void slot_map_clear(struct slot_map *map)
{
    /* An entry is free where its slot is SLOT_NONE; its hash does not matter then. */
    for (size_t i = 0; i < map->capacity; i++) {
        map->entries[i].slot = SLOT_NONE;
    }
    map->n = 0;
}

status slot_map_reserve(struct slot_map *map)
{
    /* Half of the entries stay free, which keeps runs short. */
    if (2 * (map->n + 1) <= map->capacity) {
        return STATUS_OK;
    }
    /* Doubles, and enters everything anew. */
    struct slot_map bigger = {.capacity = map->capacity ? 2 * map->capacity : CAPACITY_MIN};
    ASSERT(bigger.capacity <= 1ull << 32); /* the hash names a place in all of it */
    bigger.entries = mem_array(bigger.capacity, sizeof *bigger.entries);
    if (bigger.entries == NULL) {
        return STATUS_NO_MEMORY;
    }
    slot_map_clear(&bigger);
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->entries[i].slot != SLOT_NONE) {
            slot_map_put(&bigger, map->entries[i].hash, map->entries[i].slot);
        }
    }
    ASSERT(bigger.n == map->n);
    /* The old entries are let go of only now: an error above has changed nothing. */
    mem_free(map->entries);
    *map = bigger;
    return STATUS_OK;
}

void slot_map_put(struct slot_map *map, uint32_t hash, uint32_t slot)
{
    ASSERT(2 * (map->n + 1) <= map->capacity);
    ASSERT(slot != SLOT_NONE);
    /* The first free entry from the place that the hash names. */
    size_t i = hash & (map->capacity - 1);
    while (map->entries[i].slot != SLOT_NONE) {
        i = (i + 1) & (map->capacity - 1);
    }
    map->entries[i] = (struct slot_map_entry){.hash = hash, .slot = slot};
    map->n++;
}

void slot_map_remove(struct slot_map *map, uint32_t hash, uint32_t slot)
{
    ASSERT(map->n > 0);
    ASSERT(slot != SLOT_NONE);
    /* Search the run for this very pair of hash and slot: others may have the same hash. */
    const size_t mask = map->capacity - 1;
    size_t i = hash & mask;
    while (map->entries[i].hash != hash || map->entries[i].slot != slot) {
        ASSERT(map->entries[i].slot != SLOT_NONE); /* the run ends: it is not here */
        i = (i + 1) & mask;
    }
    /* An entry further on moves into the gap, unless the place that its hash names lies behind the
     * gap: a search for it begins there and would not find it here. */
    for (size_t j = (i + 1) & mask; map->entries[j].slot != SLOT_NONE; j = (j + 1) & mask) {
        const size_t home = map->entries[j].hash & mask;
        if (((j - home) & mask) >= ((j - i) & mask)) {
            map->entries[i] = map->entries[j];
            i = j;
        }
    }
    /* The place that the last of them has left is free now. */
    map->entries[i].slot = SLOT_NONE;
    map->n--;
}

uint32_t slot_map_next(const struct slot_map *map, uint32_t hash, size_t *cursor)
{
    /* A map that nothing was ever put into has no entries to look at. */
    if (map->capacity == 0) {
        return SLOT_NONE;
    }
    /* `cursor` counts from the place that the hash names, so a search goes on where it stopped. */
    const size_t mask = map->capacity - 1;
    ASSERT(2 * map->n <= map->capacity); /* there is a free entry to stop at */
    for (;; (*cursor)++) {
        ASSERT(*cursor <= map->capacity);
        const struct slot_map_entry *entry = &map->entries[((size_t)hash + *cursor) & mask];
        if (entry->slot == SLOT_NONE) {
            return SLOT_NONE;
        }
        if (entry->hash == hash) {
            (*cursor)++;
            return entry->slot;
        }
    }
}
