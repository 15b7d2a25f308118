/* A table: slots with episodes, a sum tree over their weights, and counts.
 *
 * Weights of unit priority are whole numbers below 2^53, so their sums are exact and a draw is an
 * exact prefix sum search. */
#include "replay_server/table/table.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "replay_server/table/sum_tree.h"
#include "replay_server/table/table_slots.h"

struct table {
    struct table_slots slots;
    struct sum_tree tree; /* leaf s weighs what slot s does; never larger than the slots */
    uint64_t last_id;
    uint64_t n_prioritized; /* resident episodes with priority != 1 */
    uint64_t version;       /* 0: not sealed */
    struct table_counts counts;
};

static uint32_t transitions(const struct table_episode *episode)
{
    return episode->n_rows - 1;
}

static double weight(const struct table_slot *slot)
{
    return slot->state == SLOT_RESIDENT ? transitions(&slot->episode) * slot->episode.priority : 0;
}

static double weight_of(const void *slots, uint32_t slot_i)
{
    return weight(&((const struct table_slots *)slots)->at[slot_i]);
}

/* ---- Life ---- */

/* Makes room for one more episode. */
static status reserve(struct table *table)
{
    status s = table_slots_reserve(&table->slots);
    return s == STATUS_OK ? sum_tree_reserve(&table->tree, table->slots.capacity) : s;
}

status table_new(struct table **out)
{
    struct table *table = mem_new(sizeof *table);
    if (table == NULL) {
        return STATUS_NO_MEMORY;
    }
    table_slots_init(&table->slots);
    if (reserve(table) != STATUS_OK) {
        table_free(table);
        return STATUS_NO_MEMORY;
    }
    *out = table;
    return STATUS_OK;
}

void table_free(struct table *table)
{
    if (table) {
        table_slots_fini(&table->slots);
        sum_tree_fini(&table->tree);
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

static const struct table_episode *episode_of(const struct table *table, uint32_t slot_i,
                                              bool *pending)
{
    if (slot_i == SLOT_NONE) {
        return NULL;
    }
    if (pending) {
        *pending = table->slots.at[slot_i].state == SLOT_PENDING;
    }
    return &table->slots.at[slot_i].episode;
}

const struct table_episode *table_find(const struct table *table,
                                       const struct episode_identity *identity, bool *pending)
{
    return episode_of(table, table_slots_of_identity(&table->slots, identity), pending);
}

const struct table_episode *table_get(const struct table *table, uint64_t id, bool *pending)
{
    return episode_of(table, table_slots_of_id(&table->slots, id), pending);
}

static uint32_t slot_of(const struct table *table, const struct table_episode *episode)
{
    return episode ? table_slots_of_episode(&table->slots, episode) : SLOT_NONE;
}

const struct table_episode *table_newer(const struct table *table,
                                        const struct table_episode *episode)
{
    return episode_of(table, table_slots_newer(&table->slots, slot_of(table, episode)), NULL);
}

const struct table_episode *table_older(const struct table *table,
                                        const struct table_episode *episode)
{
    return episode_of(table, table_slots_older(&table->slots, slot_of(table, episode)), NULL);
}

/* ---- In and out ---- */

/* Slots in order of identity: what is resident, ascending; free slots among them do not count. */
static uint64_t digest(const struct table *table)
{
    XXH3_state_t *state = XXH3_createState();
    ASSERT(state != NULL);
    XXH3_64bits_reset(state);
    for (uint32_t s = 0; s < table->slots.capacity; s++) {
        const struct table_slot *slot = &table->slots.at[s];
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

status table_begin(struct table *table, const struct table_episode *episode)
{
    ASSERT(table->version == 0);
    ASSERT(episode->id > table->last_id);
    ASSERT(episode->n_rows >= 2 && episode->priority > 0);
    if (table_find(table, &episode->identity, NULL)) {
        return STATUS_EXISTS;
    }
    if (reserve(table) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    (void)table_slots_add(&table->slots, episode);
    table->last_id = episode->id;
    table->counts.pending_episodes++;
    table->counts.pending_transitions += transitions(episode);
    table->counts.pending_bytes += episode->bytes;
    return STATUS_OK;
}

static uint32_t end_pending(struct table *table, uint64_t id)
{
    const uint32_t s = table_slots_of_id(&table->slots, id);
    ASSERT(s != SLOT_NONE);
    ASSERT(table->slots.at[s].state == SLOT_PENDING);
    table->counts.pending_episodes--;
    table->counts.pending_transitions -= transitions(&table->slots.at[s].episode);
    table->counts.pending_bytes -= table->slots.at[s].episode.bytes;
    return s;
}

static void make_resident(struct table *table, uint32_t slot_i)
{
    struct table_slot *slot = &table->slots.at[slot_i];
    slot->state = SLOT_RESIDENT;
    sum_tree_set(&table->tree, slot_i, weight(slot));
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
    table->counts.transitions_inserted += transitions(&table->slots.at[s].episode);
}

void table_cancel(struct table *table, uint64_t id)
{
    table_slots_drop(&table->slots, end_pending(table, id));
}

status table_load(struct table *table, const struct table_episode *episode)
{
    status s = table_begin(table, episode);
    if (s == STATUS_OK) {
        make_resident(table, end_pending(table, episode->id));
    }
    return s;
}

bool table_remove(struct table *table, uint64_t id, bool corrupt)
{
    const uint32_t s = table_slots_of_id(&table->slots, id);
    if (s == SLOT_NONE || table->slots.at[s].state != SLOT_RESIDENT) {
        return false;
    }
    struct table_episode *episode = &table->slots.at[s].episode;
    sum_tree_set(&table->tree, s, 0);
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
    table_slots_drop(&table->slots, s);
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
    const uint32_t s = table_slots_of_id(&table->slots, id);
    if (s == SLOT_NONE || table->slots.at[s].state != SLOT_RESIDENT) {
        return STATUS_NOT_FOUND;
    }
    struct table_slot *slot = &table->slots.at[s];
    table->n_prioritized -= slot->episode.priority != 1;
    table->n_prioritized += priority != 1;
    slot->episode.priority = priority;
    sum_tree_set(&table->tree, s, weight(slot));
    return STATUS_OK;
}

bool table_prioritized(const struct table *table)
{
    return table->n_prioritized > 0;
}

/* ---- Sealing ---- */

status table_seal(struct table *table)
{
    ASSERT(table->counts.pending_episodes == 0);
    if (table->version) {
        return STATUS_OK;
    }
    if (table_slots_sort(&table->slots, (uint32_t)table->counts.episodes) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    sum_tree_fill(&table->tree, weight_of, &table->slots);
    table->version = digest(table);
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

void table_draw(const struct table *table, uint64_t seed, uint64_t batch, uint32_t i,
                uint32_t attempt, uint32_t N, struct table_draw *draw)
{
    ASSERT(table->counts.transitions > 0);
    const uint64_t element = (uint64_t)attempt << 32 | i;
    const double sum = sum_tree_sum(&table->tree);
    double x;
    if (table->n_prioritized == 0) {
        x = (double)noise_below(table->counts.transitions, seed, batch, TABLE_DRAW_PURPOSE,
                                element);
    } else {
        x = (double)noise_below(1ull << 53, seed, batch, TABLE_DRAW_PURPOSE, element) * 0x1p-53 *
            sum;
    }
    const struct table_slot *slot = &table->slots.at[sum_tree_find(&table->tree, &x)];
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
    uint64_t n = 0, T = 0, bytes = 0, pending = 0, pending_bytes = 0, prioritized = 0;
    for (uint32_t s = 0; s < table->slots.capacity; s++) {
        const struct table_slot *slot = &table->slots.at[s];
        const double leaf = s < table->tree.capacity ? sum_tree_weight(&table->tree, s) : 0;
        if (leaf != weight(slot)) {
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
    }
    const struct table_counts *c = &table->counts;
    return table_slots_check(&table->slots) && n == c->episodes && T == c->transitions &&
           bytes == c->bytes && pending == c->pending_episodes &&
           pending_bytes == c->pending_bytes && prioritized == table->n_prioritized &&
           (prioritized > 0 || sum_tree_sum(&table->tree) == (double)T);
}
