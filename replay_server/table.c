/* Slots, a sum tree over them, two hash maps onto them, and a list through them in order of
 * insertion.
 *
 * The tree is an array of doubles: node k has children 2k and 2k+1, slot s is leaf capacity + s.
 * Weights of unit priority are whole numbers below 2^53, so their sums are exact and a draw is an
 * exact prefix sum search. */
#include "replay_server/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "replay_server/slot_map.h"

#define CAPACITY_MIN 256u

enum slot_state { SLOT_FREE, SLOT_PENDING, SLOT_RESIDENT };

struct slot {
    struct table_episode episode;
    uint32_t older, newer; /* in order of insertion; `newer` of a free slot is the next free one */
    enum slot_state state;
};

struct table {
    struct slot *slots;      /* (capacity) */
    double *tree;            /* (2 capacity); [1] is the sum */
    uint32_t capacity;       /* a power of two */
    uint32_t oldest, newest; /* list of pending and resident slots */
    uint32_t free_slot;      /* list of free slots */
    struct slot_map by_id;
    struct slot_map by_identity;
    uint64_t last_id;
    uint64_t n_prioritized; /* resident episodes with priority != 1 */
    uint64_t version;       /* 0: not sealed */
    struct table_counts counts;
};

/* ---- Hashes and weights ---- */

static uint64_t id_hash(uint64_t id)
{
    return XXH3_64bits(&id, sizeof id);
}

static uint64_t identity_hash(const struct episode_identity *identity)
{
    return XXH3_64bits(identity, sizeof *identity);
}

static uint32_t transitions(const struct table_episode *episode)
{
    return episode->n_rows - 1;
}

static double weight(const struct slot *slot)
{
    return slot->state == SLOT_RESIDENT ? transitions(&slot->episode) * slot->episode.priority : 0;
}

static void tree_set(struct table *table, uint32_t slot_i, double value)
{
    size_t k = (size_t)table->capacity + slot_i;
    table->tree[k] = value;
    for (k /= 2; k >= 1; k /= 2) {
        table->tree[k] = table->tree[2 * k] + table->tree[2 * k + 1];
    }
}

static void tree_rebuild(struct table *table)
{
    for (uint32_t s = 0; s < table->capacity; s++) {
        table->tree[table->capacity + s] = weight(&table->slots[s]);
    }
    for (size_t k = table->capacity - 1; k >= 1; k--) {
        table->tree[k] = table->tree[2 * k] + table->tree[2 * k + 1];
    }
}

/* ---- Life ---- */

static void free_list_add(struct table *table, uint32_t first, uint32_t end)
{
    for (uint32_t s = end; s-- > first;) {
        table->slots[s].state = SLOT_FREE;
        table->slots[s].newer = table->free_slot;
        table->free_slot = s;
    }
}

static status grow(struct table *table)
{
    const uint32_t capacity = table->capacity ? 2 * table->capacity : CAPACITY_MIN;
    if (capacity < table->capacity) {
        return STATUS_NO_MEMORY;
    }
    double *tree = mem_array((size_t)capacity * 2, sizeof *tree);
    if (tree == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct slot *slots = mem_resize(table->slots, capacity, sizeof *slots);
    if (slots == NULL) {
        mem_free(tree);
        return STATUS_NO_MEMORY;
    }
    mem_free(table->tree);
    const uint32_t old = table->capacity;
    table->slots = slots;
    table->tree = tree;
    table->capacity = capacity;
    free_list_add(table, old, capacity);
    tree_rebuild(table);
    return STATUS_OK;
}

status table_new(struct table **out)
{
    struct table *table = mem_new(sizeof *table);
    if (table == NULL) {
        return STATUS_NO_MEMORY;
    }
    table->oldest = table->newest = table->free_slot = SLOT_NONE;
    if (grow(table) != STATUS_OK) {
        mem_free(table);
        return STATUS_NO_MEMORY;
    }
    *out = table;
    return STATUS_OK;
}

void table_free(struct table *table)
{
    if (table) {
        slot_map_fini(&table->by_id);
        slot_map_fini(&table->by_identity);
        mem_free(table->slots);
        mem_free(table->tree);
        mem_free(table);
    }
}

const struct table_counts *table_counts(const struct table *table)
{
    return &table->counts;
}

void table_set_history(struct table *table, const struct table_counts *history)
{
    struct table_counts *c = &table->counts;
    c->episodes_inserted = history->episodes_inserted;
    c->transitions_inserted = history->transitions_inserted;
    c->episodes_removed = history->episodes_removed;
    c->transitions_removed = history->transitions_removed;
    c->episodes_duplicate = history->episodes_duplicate;
    c->episodes_corrupt = history->episodes_corrupt;
    c->snippets_sampled = history->snippets_sampled;
}

/* ---- Finding ---- */

static uint32_t slot_of_id(const struct table *table, uint64_t id)
{
    size_t cursor = 0;
    uint32_t s;
    while ((s = slot_map_next(&table->by_id, id_hash(id), &cursor)) != SLOT_NONE) {
        if (table->slots[s].episode.id == id) {
            break;
        }
    }
    return s;
}

static const struct table_episode *episode_of(const struct table *table, uint32_t slot_i,
                                              bool *pending)
{
    if (slot_i == SLOT_NONE) {
        return NULL;
    }
    if (pending) {
        *pending = table->slots[slot_i].state == SLOT_PENDING;
    }
    return &table->slots[slot_i].episode;
}

const struct table_episode *table_find(const struct table *table,
                                       const struct episode_identity *identity, bool *pending)
{
    const uint64_t hash = identity_hash(identity);
    size_t cursor = 0;
    uint32_t s;
    while ((s = slot_map_next(&table->by_identity, hash, &cursor)) != SLOT_NONE) {
        if (episode_identity_compare(&table->slots[s].episode.identity, identity) == 0) {
            break;
        }
    }
    return episode_of(table, s, pending);
}

const struct table_episode *table_get(const struct table *table, uint64_t id, bool *pending)
{
    return episode_of(table, slot_of_id(table, id), pending);
}

static const struct slot *slot_of_episode(const struct table_episode *episode)
{
    return (const struct slot *)((const char *)episode - offsetof(struct slot, episode));
}

const struct table_episode *table_newer(const struct table *table,
                                        const struct table_episode *episode)
{
    uint32_t s = episode ? slot_of_episode(episode)->newer : table->oldest;
    while (s != SLOT_NONE && table->slots[s].state != SLOT_RESIDENT) {
        s = table->slots[s].newer;
    }
    return episode_of(table, s, NULL);
}

const struct table_episode *table_older(const struct table *table,
                                        const struct table_episode *episode)
{
    uint32_t s = episode ? slot_of_episode(episode)->older : table->newest;
    while (s != SLOT_NONE && table->slots[s].state != SLOT_RESIDENT) {
        s = table->slots[s].older;
    }
    return episode_of(table, s, NULL);
}

/* ---- In and out ---- */

static void list_append(struct table *table, uint32_t slot_i)
{
    table->slots[slot_i].older = table->newest;
    table->slots[slot_i].newer = SLOT_NONE;
    if (table->newest == SLOT_NONE) {
        table->oldest = slot_i;
    } else {
        table->slots[table->newest].newer = slot_i;
    }
    table->newest = slot_i;
}

static void list_remove(struct table *table, uint32_t slot_i)
{
    const struct slot *slot = &table->slots[slot_i];
    if (slot->older == SLOT_NONE) {
        table->oldest = slot->newer;
    } else {
        table->slots[slot->older].newer = slot->newer;
    }
    if (slot->newer == SLOT_NONE) {
        table->newest = slot->older;
    } else {
        table->slots[slot->newer].older = slot->older;
    }
}

static void index_slot(struct table *table, uint32_t slot_i)
{
    const struct table_episode *episode = &table->slots[slot_i].episode;
    slot_map_put(&table->by_id, id_hash(episode->id), slot_i);
    slot_map_put(&table->by_identity, identity_hash(&episode->identity), slot_i);
}

/* Frees a slot whose state and counts have been dealt with. */
static void drop_slot(struct table *table, uint32_t slot_i)
{
    const struct table_episode *episode = &table->slots[slot_i].episode;
    slot_map_remove(&table->by_id, id_hash(episode->id), slot_i);
    slot_map_remove(&table->by_identity, identity_hash(&episode->identity), slot_i);
    list_remove(table, slot_i);
    free_list_add(table, slot_i, slot_i + 1);
}

status table_begin(struct table *table, const struct table_episode *episode)
{
    ASSERT(table->version == 0);
    ASSERT(episode->id > table->last_id);
    ASSERT(episode->n_rows >= 2 && episode->priority > 0);
    if (table_find(table, &episode->identity, NULL)) {
        return STATUS_EXISTS;
    }
    if (slot_map_reserve(&table->by_id) != STATUS_OK ||
        slot_map_reserve(&table->by_identity) != STATUS_OK ||
        (table->free_slot == SLOT_NONE && grow(table) != STATUS_OK)) {
        return STATUS_NO_MEMORY;
    }
    const uint32_t s = table->free_slot;
    table->free_slot = table->slots[s].newer;
    table->slots[s].episode = *episode;
    table->slots[s].state = SLOT_PENDING;
    table->last_id = episode->id;
    list_append(table, s);
    index_slot(table, s);
    table->counts.pending_episodes++;
    table->counts.pending_transitions += transitions(episode);
    table->counts.pending_bytes += episode->bytes;
    return STATUS_OK;
}

static uint32_t end_pending(struct table *table, uint64_t id)
{
    const uint32_t s = slot_of_id(table, id);
    ASSERT(s != SLOT_NONE);
    ASSERT(table->slots[s].state == SLOT_PENDING);
    table->counts.pending_episodes--;
    table->counts.pending_transitions -= transitions(&table->slots[s].episode);
    table->counts.pending_bytes -= table->slots[s].episode.bytes;
    return s;
}

static void make_resident(struct table *table, uint32_t slot_i)
{
    struct slot *slot = &table->slots[slot_i];
    slot->state = SLOT_RESIDENT;
    tree_set(table, slot_i, weight(slot));
    table->n_prioritized += slot->episode.priority != 1;
    table->counts.episodes++;
    table->counts.transitions += transitions(&slot->episode);
    table->counts.bytes += slot->episode.bytes;
}

void table_commit(struct table *table, uint64_t id)
{
    const uint32_t s = end_pending(table, id);
    make_resident(table, s);
    table->counts.episodes_inserted++;
    table->counts.transitions_inserted += transitions(&table->slots[s].episode);
}

void table_cancel(struct table *table, uint64_t id)
{
    drop_slot(table, end_pending(table, id));
}

status table_load(struct table *table, const struct table_episode *episode)
{
    status s = table_begin(table, episode);
    if (s == STATUS_OK) {
        make_resident(table, end_pending(table, episode->id));
    }
    return s;
}

static uint64_t digest(const struct table *table);

bool table_remove(struct table *table, uint64_t id, bool corrupt)
{
    const uint32_t s = slot_of_id(table, id);
    if (s == SLOT_NONE || table->slots[s].state != SLOT_RESIDENT) {
        return false;
    }
    struct table_episode *episode = &table->slots[s].episode;
    tree_set(table, s, 0);
    table->n_prioritized -= episode->priority != 1;
    table->counts.episodes--;
    table->counts.transitions -= transitions(episode);
    table->counts.bytes -= episode->bytes;
    if (corrupt) {
        table->counts.episodes_corrupt++;
    } else {
        table->counts.episodes_removed++;
        table->counts.transitions_removed += transitions(episode);
    }
    drop_slot(table, s);
    if (table->version) {
        table->version = digest(table);
    }
    return true;
}

/* ---- Priorities ---- */

status table_set_priority(struct table *table, uint64_t id, double priority)
{
    if (!isfinite(priority) || priority <= 0) {
        return STATUS_INVALID;
    }
    const uint32_t s = slot_of_id(table, id);
    if (s == SLOT_NONE || table->slots[s].state != SLOT_RESIDENT) {
        return STATUS_NOT_FOUND;
    }
    struct slot *slot = &table->slots[s];
    table->n_prioritized -= slot->episode.priority != 1;
    table->n_prioritized += priority != 1;
    slot->episode.priority = priority;
    tree_set(table, s, weight(slot));
    return STATUS_OK;
}

bool table_prioritized(const struct table *table)
{
    return table->n_prioritized > 0;
}

/* ---- Sealing ---- */

static int by_identity(const void *a, const void *b)
{
    const struct slot *x = a;
    const struct slot *y = b;
    return episode_identity_compare(&x->episode.identity, &y->episode.identity);
}

/* Slots in order of identity: what is resident, ascending; free slots among them do not count. */
static uint64_t digest(const struct table *table)
{
    XXH3_state_t *state = XXH3_createState();
    ASSERT(state != NULL);
    XXH3_64bits_reset(state);
    for (uint32_t s = 0; s < table->capacity; s++) {
        const struct slot *slot = &table->slots[s];
        if (slot->state == SLOT_RESIDENT) {
            const struct episode_identity *i = &slot->episode.identity;
            const uint64_t words[5] = {i->source, i->shard, i->episode, i->relabel,
                                       slot->episode.n_rows};
            XXH3_64bits_update(state, words, sizeof words);
        }
    }
    const uint64_t sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return sum ? sum : 1;
}

struct id_slot {
    uint64_t id;
    uint32_t slot;
};

static int by_id(const void *a, const void *b)
{
    const struct id_slot *x = a;
    const struct id_slot *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

status table_seal(struct table *table)
{
    ASSERT(table->counts.pending_episodes == 0);
    if (table->version) {
        return STATUS_OK;
    }
    const uint32_t n = (uint32_t)table->counts.episodes;
    struct slot *sorted = mem_array((size_t)n + 1, sizeof *sorted);
    struct id_slot *order = mem_array((size_t)n + 1, sizeof *order);
    if (sorted == NULL || order == NULL) {
        mem_free(sorted);
        mem_free(order);
        return STATUS_NO_MEMORY;
    }
    uint32_t k = 0;
    for (uint32_t s = 0; s < table->capacity; s++) {
        if (table->slots[s].state == SLOT_RESIDENT) {
            sorted[k++] = table->slots[s];
        }
    }
    ASSERT(k == n);
    qsort(sorted, n, sizeof *sorted, by_identity);
    for (uint32_t s = 0; s < n; s++) {
        order[s] = (struct id_slot){.id = sorted[s].episode.id, .slot = s};
    }
    qsort(order, n, sizeof *order, by_id);

    memcpy(table->slots, sorted, n * sizeof *sorted);
    table->free_slot = table->oldest = table->newest = SLOT_NONE;
    free_list_add(table, n, table->capacity);
    slot_map_clear(&table->by_id);
    slot_map_clear(&table->by_identity);
    for (uint32_t s = 0; s < n; s++) {
        index_slot(table, s);
        list_append(table, order[s].slot);
    }
    tree_rebuild(table);
    table->version = digest(table);
    mem_free(sorted);
    mem_free(order);
    AUDIT(table_check(table));
    return STATUS_OK;
}

bool table_sealed(const struct table *table)
{
    return table->version != 0;
}

uint64_t table_version(const struct table *table)
{
    return table->version;
}

/* ---- Drawing ---- */

/* The slot in which the prefix sum passes *x; *x becomes what remains within it. */
static uint32_t tree_find(const struct table *table, double *x)
{
    size_t k = 1;
    while (k < table->capacity) {
        const double left = table->tree[2 * k];
        /* The second condition: rounding of uneven priorities must not lead into an empty subtree.
         */
        if (*x < left || table->tree[2 * k + 1] <= 0) {
            k = 2 * k;
        } else {
            *x -= left;
            k = 2 * k + 1;
        }
    }
    return (uint32_t)(k - table->capacity);
}

void table_draw(const struct table *table, uint64_t seed, uint64_t batch, uint32_t i,
                uint32_t attempt, uint32_t N, struct table_draw *draw)
{
    ASSERT(table->counts.transitions > 0);
    const uint64_t element = (uint64_t)attempt << 32 | i;
    const double sum = table->tree[1];
    double x;
    if (table->n_prioritized == 0) {
        x = (double)noise_below(table->counts.transitions, seed, batch, TABLE_DRAW_PURPOSE,
                                element);
    } else {
        x = (double)noise_below(1ull << 53, seed, batch, TABLE_DRAW_PURPOSE, element) * 0x1p-53 *
            sum;
    }
    const struct slot *slot = &table->slots[tree_find(table, &x)];
    ASSERT(slot->state == SLOT_RESIDENT);
    const uint32_t T = transitions(&slot->episode);
    const double start = floor(x / slot->episode.priority);
    const uint32_t first = start < T ? (uint32_t)start : T - 1;
    *draw = (struct table_draw){
        .id = slot->episode.id,
        .probability = slot->episode.priority / sum,
        .first_row = first,
        .n_valid = N < T - first ? N : T - first,
        .n_rows = slot->episode.n_rows,
    };
}

void table_count_sampled(struct table *table, uint64_t snippets)
{
    table->counts.snippets_sampled += snippets;
}

void table_count_duplicate(struct table *table)
{
    table->counts.episodes_duplicate++;
}

/* ---- Checking ---- */

bool table_check(const struct table *table)
{
    uint64_t n = 0, T = 0, bytes = 0, pending = 0, pending_bytes = 0, prioritized = 0, listed = 0,
             last_id = 0;
    for (uint32_t s = 0; s < table->capacity; s++) {
        const struct slot *slot = &table->slots[s];
        if (table->tree[table->capacity + s] != weight(slot)) {
            return false;
        }
        if (slot->state == SLOT_RESIDENT) {
            n++;
            T += transitions(&slot->episode);
            bytes += slot->episode.bytes;
            prioritized += slot->episode.priority != 1;
        } else if (slot->state == SLOT_PENDING) {
            pending++;
            pending_bytes += slot->episode.bytes;
        }
        if (slot->state != SLOT_FREE &&
            (slot_of_id(table, slot->episode.id) != s ||
             table_find(table, &slot->episode.identity, NULL) != &slot->episode)) {
            return false;
        }
    }
    for (uint32_t s = table->oldest; s != SLOT_NONE; s = table->slots[s].newer) {
        if (table->slots[s].episode.id <= last_id) {
            return false;
        }
        last_id = table->slots[s].episode.id;
        listed++;
    }
    const struct table_counts *c = &table->counts;
    return n == c->episodes && T == c->transitions && bytes == c->bytes &&
           pending == c->pending_episodes && pending_bytes == c->pending_bytes &&
           prioritized == table->n_prioritized && listed == n + pending &&
           (prioritized > 0 || table->tree[1] == (double)T);
}
