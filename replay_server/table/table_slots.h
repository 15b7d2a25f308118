/* The places of a table's episodes: numbered slots, found by id and by identity, in a list in order
 * of insertion. A slot keeps its number until its episode is dropped, or all are sorted. Memory
 * only; one thread at a time. */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_TABLE_SLOTS_H
#define HINDCAST_REPLAY_SERVER_TABLE_TABLE_SLOTS_H

#include "replay_server/table/slot_map.h"
#include "replay_server/table/table.h"

enum table_slot_state { SLOT_FREE, SLOT_PENDING, SLOT_RESIDENT };

struct table_slot {
    struct table_episode episode;
    uint32_t older, newer;  /* in order of insertion; `newer` of a free slot is the next free one */
    uint8_t state;          /* enum table_slot_state */
    bool noted;             /* the slot is in table->noted, whatever episode it has by now */
    uint32_t times_sampled; /* snippets, where the table has max_times_sampled */
};

struct table_slots {
    struct table_slot *at;   /* (capacity) */
    uint32_t capacity;       /* a power of two; after a sort the number of slots */
    uint32_t oldest, newest; /* list of pending and resident slots */
    uint32_t free;           /* list of free slots */
    struct slot_map by_id;
    struct slot_map by_identity;
};

void table_slots_init(struct table_slots *slots);
void table_slots_fini(struct table_slots *slots);

/* Makes room for one more. Numbers stay; pointers to slots do not. NO_MEMORY changes nothing. */
status table_slots_reserve(struct table_slots *slots) MUST_CHECK;
/* After a reserve: the slot that the episode got, as the newest, pending. */
uint32_t table_slots_add(struct table_slots *slots, const struct table_episode *episode);
void table_slots_drop(struct table_slots *slots, uint32_t slot_i);

/* SLOT_NONE: not there. */
uint32_t table_slots_of_id(const struct table_slots *slots, uint64_t id);
uint32_t table_slots_of_identity(const struct table_slots *slots,
                                 const struct episode_identity *identity);
/* The resident slot next to slot_i in order of insertion (SLOT_NONE: first, last of all). */
uint32_t table_slots_newer(const struct table_slots *slots, uint32_t slot_i);
uint32_t table_slots_older(const struct table_slots *slots, uint32_t slot_i);
uint32_t table_slots_of_episode(const struct table_slots *slots,
                                const struct table_episode *episode);

/* The resident ones, `n` in all, move to slots 0 .. n - 1 in order of identity, and memory for more
 * is given back: nothing may be added any more. None may be pending. The order of insertion stays.
 * NO_MEMORY changes nothing. */
status table_slots_sort(struct table_slots *slots, uint32_t n) MUST_CHECK;

/* For AUDIT and tests: lists and maps agree, ids rise. Slow. */
bool table_slots_check(const struct table_slots *slots);

#endif
