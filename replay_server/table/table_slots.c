/* The slots of a table: an array, two hash maps onto it, and two lists through it: one of those in
 * use, in order of insertion, and one of the free ones.
 *
 * The array doubles, so a slot's number stays while its address does not. Both maps hold 32-bit
 * hashes, and every match is compared with the slot's episode.
 *
 * A slot that is in use is in both maps and in the list; a free one is in the list of free ones
 * alone. */
#include "replay_server/table/table_slots.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/memory.h"

#define CAPACITY_MIN 256u

/* The low half of the hash is enough: the maps compare what they find. */
static uint32_t id_hash(uint64_t id)
{
    return (uint32_t)XXH3_64bits(&id, sizeof id);
}

static uint32_t identity_hash(const struct episode_identity *identity)
{
    return (uint32_t)XXH3_64bits(identity, sizeof *identity);
}

/* ---- Life ---- */

/* Puts slots first .. end - 1 at the head of the list of free ones, the first of them foremost. */
static void free_list_add(struct table_slots *slots, uint32_t first, uint32_t end)
{
    for (uint32_t s = end; s-- > first;) {
        slots->at[s].state = SLOT_FREE;
        slots->at[s].newer = slots->free;
        slots->free = s;
    }
}

void table_slots_init(struct table_slots *slots)
{
    *slots = (struct table_slots){.oldest = SLOT_NONE, .newest = SLOT_NONE, .free = SLOT_NONE};
}

void table_slots_fini(struct table_slots *slots)
{
    slot_map_fini(&slots->by_id);
    slot_map_fini(&slots->by_identity);
    mem_free(slots->at);
}

/* Doubles the array; the new slots are free, lowest number first. NO_MEMORY changes nothing, also
 * when the number of slots would not fit 32 bits. */
static status grow(struct table_slots *slots)
{
    const uint32_t capacity = slots->capacity ? 2 * slots->capacity : CAPACITY_MIN;
    if (capacity < slots->capacity) {
        return STATUS_NO_MEMORY;
    }
    struct table_slot *at = mem_resize(slots->at, capacity, sizeof *at);
    if (at == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* Slots in use keep their numbers; their addresses may change. */
    const uint32_t old = slots->capacity;
    slots->at = at;
    slots->capacity = capacity;
    for (uint32_t s = old; s < capacity; s++) {
        at[s].noted = false;
    }
    free_list_add(slots, old, capacity);
    return STATUS_OK;
}

/* ---- In and out ---- */

/* Puts a slot at the newest end of the list. */
static void list_append(struct table_slots *slots, uint32_t slot_i)
{
    ASSERT(slot_i < slots->capacity);
    slots->at[slot_i].older = slots->newest;
    slots->at[slot_i].newer = SLOT_NONE;
    /* The first one is the oldest as well. */
    if (slots->newest == SLOT_NONE) {
        slots->oldest = slot_i;
    } else {
        slots->at[slots->newest].newer = slot_i;
    }
    slots->newest = slot_i;
}

/* Takes a slot out of the list; its own links stay. */
static void list_remove(struct table_slots *slots, uint32_t slot_i)
{
    const struct table_slot *slot = &slots->at[slot_i];
    ASSERT(slot->older != SLOT_NONE || slots->oldest == slot_i);
    ASSERT(slot->newer != SLOT_NONE || slots->newest == slot_i);
    /* Join its neighbours, or move the ends of the list past it. */
    if (slot->older == SLOT_NONE) {
        slots->oldest = slot->newer;
    } else {
        slots->at[slot->older].newer = slot->newer;
    }
    if (slot->newer == SLOT_NONE) {
        slots->newest = slot->older;
    } else {
        slots->at[slot->newer].older = slot->older;
    }
}

/* Enters a slot into both maps, which have room. */
static void index_slot(struct table_slots *slots, uint32_t slot_i)
{
    const struct table_episode *episode = &slots->at[slot_i].episode;
    slot_map_put(&slots->by_id, id_hash(episode->id), slot_i);
    slot_map_put(&slots->by_identity, identity_hash(&episode->identity), slot_i);
}

status table_slots_reserve(struct table_slots *slots)
{
    /* Whatever can fail happens here, so that adding cannot. */
    if (slot_map_reserve(&slots->by_id) != STATUS_OK ||
        slot_map_reserve(&slots->by_identity) != STATUS_OK ||
        (slots->free == SLOT_NONE && grow(slots) != STATUS_OK)) {
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

uint32_t table_slots_add(struct table_slots *slots, const struct table_episode *episode)
{
    const uint32_t s = slots->free;
    ASSERT(s != SLOT_NONE);
    ASSERT(slots->at[s].state == SLOT_FREE);
    /* The head of the list of free slots. */
    slots->free = slots->at[s].newer;
    slots->at[s].episode = *episode;
    slots->at[s].state = SLOT_PENDING;
    slots->at[s].times_sampled = 0;
    list_append(slots, s);
    index_slot(slots, s);
    return s;
}

void table_slots_drop(struct table_slots *slots, uint32_t slot_i)
{
    ASSERT(slot_i < slots->capacity);
    ASSERT(slots->at[slot_i].state != SLOT_FREE);
    const struct table_episode *episode = &slots->at[slot_i].episode;
    /* It leaves the maps while the episode is still there to be hashed. */
    slot_map_remove(&slots->by_id, id_hash(episode->id), slot_i);
    slot_map_remove(&slots->by_identity, identity_hash(&episode->identity), slot_i);
    list_remove(slots, slot_i);
    free_list_add(slots, slot_i, slot_i + 1);
}

/* ---- Finding ---- */

uint32_t table_slots_of_id(const struct table_slots *slots, uint64_t id)
{
    size_t cursor = 0;
    uint32_t s;
    /* Other ids may have the same hash: go on until the id itself is the same. */
    while ((s = slot_map_next(&slots->by_id, id_hash(id), &cursor)) != SLOT_NONE) {
        if (slots->at[s].episode.id == id) {
            break;
        }
    }
    return s;
}

uint32_t table_slots_of_identity(const struct table_slots *slots,
                                 const struct episode_identity *identity)
{
    const uint32_t hash = identity_hash(identity);
    size_t cursor = 0;
    uint32_t s;
    while ((s = slot_map_next(&slots->by_identity, hash, &cursor)) != SLOT_NONE) {
        if (episode_identity_compare(&slots->at[s].episode.identity, identity) == 0) {
            break;
        }
    }
    return s;
}

uint32_t table_slots_newer(const struct table_slots *slots, uint32_t slot_i)
{
    uint32_t s = slot_i == SLOT_NONE ? slots->oldest : slots->at[slot_i].newer;
    /* Pending ones are in the list and not asked for. */
    while (s != SLOT_NONE && slots->at[s].state != SLOT_RESIDENT) {
        s = slots->at[s].newer;
    }
    return s;
}

uint32_t table_slots_older(const struct table_slots *slots, uint32_t slot_i)
{
    uint32_t s = slot_i == SLOT_NONE ? slots->newest : slots->at[slot_i].older;
    while (s != SLOT_NONE && slots->at[s].state != SLOT_RESIDENT) {
        s = slots->at[s].older;
    }
    return s;
}

uint32_t table_slots_of_episode(const struct table_slots *slots,
                                const struct table_episode *episode)
{
    /* The episode lies within its slot, and the slot within the array. */
    const char *slot = (const char *)episode - offsetof(struct table_slot, episode);
    const ptrdiff_t slot_i = (const struct table_slot *)(const void *)slot - slots->at;
    ASSERT(slot_i >= 0 && slot_i < (ptrdiff_t)slots->capacity);
    return (uint32_t)slot_i;
}

/* ---- Sorting ---- */

/* A table may hold a million episodes, and the thread that seals it serves calls: what is sorted is
 * small and lies together, and everything else is moved once. */

struct sort_key {
    struct episode_identity identity;
    uint32_t slot;
};

/* Merges from[begin, middle) and from[middle, end) into to[begin, end). */
static void merge(struct sort_key *to, const struct sort_key *from, size_t begin, size_t middle,
                  size_t end)
{
    size_t a = begin, b = middle;
    for (size_t k = begin; k < end; k++) {
        const bool first =
            b == end ||
            (a < middle && episode_identity_compare(&from[a].identity, &from[b].identity) <= 0);
        to[k] = first ? from[a++] : from[b++];
    }
}

/* Sorts keys(n); scratch(n) is overwritten. Returns which of the two holds the result. Episodes
 * that came in order, as from one restorer, cost one pass. */
static struct sort_key *sort_keys(struct sort_key *keys, struct sort_key *scratch, size_t n)
{
    /* Keys that are in order already need no merging. */
    bool sorted = true;
    for (size_t i = 1; sorted && i < n; i++) {
        sorted = episode_identity_compare(&keys[i - 1].identity, &keys[i].identity) < 0;
    }
    /* Merge runs of `width` to runs of twice that, from one array to the other and back. */
    for (size_t width = 1; !sorted && width < n; width *= 2) {
        for (size_t begin = 0; begin < n; begin += 2 * width) {
            const size_t middle = begin + width < n ? begin + width : n;
            const size_t end = begin + 2 * width < n ? begin + 2 * width : n;
            merge(scratch, keys, begin, middle, end);
        }
        struct sort_key *swap = keys;
        keys = scratch;
        scratch = swap;
    }
    return keys;
}

/* Slots 0 .. n - 1 become `sorted` (taken), which stand in the list in this `order` (n). */
static void replace_all(struct table_slots *slots, struct table_slot *sorted, uint32_t n,
                        const uint32_t *order)
{
    /* The caller has copied everything out of the old array. */
    mem_free(slots->at);
    slots->at = sorted;
    slots->capacity = n;
    slots->free = slots->oldest = slots->newest = SLOT_NONE;
    slot_map_clear(&slots->by_id);
    slot_map_clear(&slots->by_identity);
    /* Maps by new numbers, and the list in the old order of insertion. */
    for (uint32_t s = 0; s < n; s++) {
        index_slot(slots, s);
        list_append(slots, order[s]);
    }
}

/* The resident slots as keys, in order of insertion. */
static void collect_keys(const struct table_slots *slots, struct sort_key *keys, uint32_t n)
{
    uint32_t k = 0;
    for (uint32_t s = slots->oldest; s != SLOT_NONE; s = slots->at[s].newer) {
        ASSERT(slots->at[s].state == SLOT_RESIDENT);
        ASSERT(k < n);
        keys[k++] = (struct sort_key){slots->at[s].episode.identity, s};
    }
    ASSERT(k == n);
}

status table_slots_sort(struct table_slots *slots, uint32_t n)
{
    /* All memory that is needed, before anything changes. One element more, since n may be 0. */
    struct sort_key *keys = mem_array((size_t)n + 1, sizeof *keys);
    struct sort_key *scratch = mem_array((size_t)n + 1, sizeof *scratch);
    struct table_slot *sorted = mem_array((size_t)n + 1, sizeof *sorted);
    uint32_t *moved = mem_array((size_t)slots->capacity + 1, sizeof *moved); /* old slot -> new */
    uint32_t *order = mem_array((size_t)n + 1, sizeof *order);
    status result = STATUS_NO_MEMORY;
    if (keys && scratch && sorted && moved && order) {
        collect_keys(slots, keys, n);
        /* Where every slot goes. */
        const struct sort_key *by_identity = sort_keys(keys, scratch, n);
        for (uint32_t i = 0; i < n; i++) {
            sorted[i] = slots->at[by_identity[i].slot];
            moved[by_identity[i].slot] = i;
        }
        /* The list, by new slots: read from the old ones before they are gone. */
        uint32_t k = 0;
        for (uint32_t s = slots->oldest; s != SLOT_NONE; s = slots->at[s].newer) {
            order[k++] = moved[s];
        }
        replace_all(slots, sorted, n, order);
        /* The slots own it now. */
        sorted = NULL;
        result = STATUS_OK;
    }
    mem_free(keys);
    mem_free(scratch);
    mem_free(sorted);
    mem_free(moved);
    mem_free(order);
    return result;
}

/* ---- Checking ---- */

bool table_slots_check(const struct table_slots *slots)
{
    /* Every slot in use is found by its id and by its identity. */
    uint64_t used = 0, listed = 0, last_id = 0;
    for (uint32_t s = 0; s < slots->capacity; s++) {
        const struct table_slot *slot = &slots->at[s];
        if (slot->state == SLOT_FREE) {
            continue;
        }
        used++;
        if (table_slots_of_id(slots, slot->episode.id) != s ||
            table_slots_of_identity(slots, &slot->episode.identity) != s) {
            return false;
        }
    }
    /* The list holds all of them, and ids rise along it. */
    for (uint32_t s = slots->oldest; s != SLOT_NONE; s = slots->at[s].newer) {
        if (slots->at[s].episode.id <= last_id) {
            return false;
        }
        last_id = slots->at[s].episode.id;
        listed++;
    }
    return listed == used;
}
