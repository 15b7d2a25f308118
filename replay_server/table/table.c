/* The table: slots with episodes (table_slots.h), two selectors over the resident ones, and counts.
 *
 * An episode that becomes resident enters both selectors and the counts; one that is removed leaves
 * them and its slot. Every change goes through make_resident, end_pending, table_remove or
 * table_set_priority, which keep slots, selectors and counts in step; table_check recomputes
 * everything and says whether they are.
 *
 * Sealing is the one place where episodes change slots. It replaces the sampler, for selectors know
 * episodes by slot only, and drops the remover. */
#include "replay_server/table/table.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "replay_server/table/table_private.h"

/* ---- Life ---- */

/* Makes room for one more episode in the slots and in both selectors. Where it fails, the slots may
 * have grown and a selector not: the selectors catch up with the next call. */
static status reserve(struct table *table)
{
    status s = table_slots_reserve(&table->slots);
    if (s == STATUS_OK) {
        s = table_clients_reserve(&table->clients);
    }
    if (s == STATUS_OK) {
        s = selector_reserve(table->sampler, table->slots.capacity);
    }
    if (s == STATUS_OK && table->remover != NULL) {
        s = selector_reserve(table->remover, table->slots.capacity);
    }
    return s == STATUS_OK ? table_use_reserve(table) : s;
}

status table_new(struct table **out, const struct table_settings *settings)
{
    struct table *table = mem_new(sizeof *table);
    if (table == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* From here on table_free can take apart whatever has been made. */
    table->settings = *settings;
    table_slots_init(&table->slots);
    status s = selector_new(&table->sampler, settings->sampler, settings->priority_exponent);
    if (s == STATUS_OK && settings->removes) {
        s = selector_new(&table->remover, settings->remover, settings->priority_exponent);
    }
    if (s == STATUS_OK) {
        s = reserve(table);
    }
    if (s != STATUS_OK) {
        table_free(table);
        return s;
    }
    *out = table;
    return STATUS_OK;
}

void table_free(struct table *table)
{
    if (table) {
        table_slots_fini(&table->slots);
        table_clients_fini(&table->clients);
        mem_free(table->noted);
        selector_free(table->sampler);
        selector_free(table->remover);
        mem_free(table);
    }
}

const struct table_settings *table_settings(const struct table *table)
{
    return &table->settings;
}

void table_set_limits(struct table *table, const struct table_limits *limits)
{
    table->settings.limits = *limits;
}

const struct table_counts *table_counts(const struct table *table)
{
    return &table->counts;
}

void table_set_history(struct table *table, const struct table_counts *history)
{
    /* The first half of the counts is what the table holds; loading its episodes counts that. */
    struct table_counts *c = &table->counts;
    ASSERT(c->pending_episodes == 0);
    c->episodes_inserted = history->episodes_inserted;
    c->transitions_inserted = history->transitions_inserted;
    c->episodes_removed = history->episodes_removed;
    c->transitions_removed = history->transitions_removed;
    c->episodes_duplicate = history->episodes_duplicate;
    c->episodes_corrupt = history->episodes_corrupt;
    c->snippets_sampled = history->snippets_sampled;
}

/* there + *removed = *inserted: what is too many was not removed after all, what is missing was never
 * inserted. */
static void settle(uint64_t there, uint64_t *removed, uint64_t *inserted)
{
    if (there + *removed > *inserted) {
        const uint64_t back = there + *removed - *inserted;
        *removed -= back < *removed ? back : *removed;
    }
    *inserted = there + *removed;
}

void table_settle_history(struct table *table)
{
    struct table_counts *c = &table->counts;
    ASSERT(c->pending_episodes == 0);
    settle(c->episodes + c->episodes_corrupt, &c->episodes_removed, &c->episodes_inserted);
    /* How many transitions the corrupt episodes had is not known any more. */
    const uint64_t inserted = c->transitions_inserted;
    settle(c->transitions, &c->transitions_removed, &c->transitions_inserted);
    if (c->episodes_corrupt > 0 && inserted > c->transitions_inserted) {
        c->transitions_inserted = inserted;
    }
}

/* ---- Finding ---- */

/* The episode in a slot that is in use; NULL for SLOT_NONE. */
static const struct table_episode *episode_of(const struct table *table, uint32_t slot_i,
                                              bool *pending)
{
    /* The maps answer SLOT_NONE for what they do not know. */
    if (slot_i == SLOT_NONE) {
        return NULL;
    }
    ASSERT(slot_i < table->slots.capacity);
    ASSERT(table->slots.at[slot_i].state != SLOT_FREE);
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

/* The slot of an episode that one of the finding functions has handed out. */
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

/* The contents of a sealed table. Its slots are in order of identity; free slots between them, of
 * corrupt episodes that were taken out, do not count. */
static uint64_t digest_contents(const struct table *table)
{
    /* The digest is streamed, since the identities do not lie next to each other. */
    XXH3_state_t *state = XXH3_createState();
    ASSERT(state != NULL);
    XXH3_64bits_reset(state);
    for (uint32_t s = 0; s < table->slots.capacity; s++) {
        const struct table_slot *slot = &table->slots.at[s];
        if (slot->state == SLOT_RESIDENT) {
            const struct episode_identity *i = &slot->episode.identity;
            /* The length is part of it: a draw depends on where each episode begins and ends. */
            const uint64_t words[5] = {i->source, i->shard, i->episode, i->relabel,
                                       slot->episode.n_rows};
            XXH3_64bits_update(state, words, sizeof words);
        }
    }
    const uint64_t sum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return sum;
}

/* What an episode adds to the version by its priority: nothing where that does not change draws.
 * The sum over a table is kept by exclusive or, so that one change costs the same whatever the
 * table holds. */
static uint64_t digest_priority(const struct table *table, const struct table_episode *episode)
{
    /* Only what the selector makes of the priority counts: 1 for all where it ignores
     * priorities. */
    const double seen = selector_sees(table->sampler, episode->priority);
    if (seen == 1) {
        return 0;
    }
    uint64_t bits;
    memcpy(&bits, &seen, sizeof bits);
    const struct episode_identity *i = &episode->identity;
    const uint64_t words[5] = {i->source, i->shard, i->episode, i->relabel, bits};
    return XXH3_64bits(words, sizeof words);
}

status table_begin(struct table *table, const struct table_episode *episode)
{
    ASSERT(!table->sealed);
    ASSERT(episode->id > table->last_id);
    ASSERT(episode->n_rows >= 2);
    ASSERT(table_priority_valid(episode->priority));
    /* One identity, one episode: also while it is pending, or the same logs would be taken
     * twice. */
    if (table_find(table, &episode->identity, NULL)) {
        return STATUS_EXISTS;
    }
    if (reserve(table) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    /* Pending episodes are in the slots and in no selector. */
    const uint32_t slot_i = table_slots_add(&table->slots, episode);
    ASSERT(table->slots.at[slot_i].state == SLOT_PENDING);
    table->last_id = episode->id;
    table_clients_add(&table->clients, episode->client, episode->bytes);
    /* They count against the limits, so that an insert that follows does not take their room. */
    table->counts.pending_episodes++;
    table->counts.pending_transitions += table_transitions(episode);
    table->counts.pending_bytes += episode->bytes;
    return STATUS_OK;
}

/* Takes the episode out of the pending counts. Returns its slot. */
static uint32_t end_pending(struct table *table, uint64_t id)
{
    /* The caller knows that the episode is pending. */
    const uint32_t s = table_slots_of_id(&table->slots, id);
    ASSERT(s != SLOT_NONE);
    const struct table_slot *slot = &table->slots.at[s];
    ASSERT(slot->state == SLOT_PENDING);
    ASSERT(table->counts.pending_transitions >= table_transitions(&slot->episode));
    table->counts.pending_episodes--;
    table->counts.pending_transitions -= table_transitions(&slot->episode);
    table->counts.pending_bytes -= slot->episode.bytes;
    return s;
}

/* Moves a pending episode into selectors and counts. */
static void make_resident(struct table *table, uint32_t slot_i)
{
    struct table_slot *slot = &table->slots.at[slot_i];
    slot->state = SLOT_RESIDENT;
    /* The items are made from the slot, so that selectors and slots agree about weight and
     * priority. */
    const struct selector_item sampled = table_sampler_item(table, slot_i);
    selector_insert(table->sampler, &sampled);
    if (table->remover != NULL) {
        const struct selector_item removed = table_remover_item(table, slot_i);
        selector_insert(table->remover, &removed);
    }
    table->counts.episodes++;
    table->counts.transitions += table_transitions(&slot->episode);
    table->counts.bytes += slot->episode.bytes;
    ASSERT(selector_count(table->sampler) == table->counts.episodes);
}

void table_commit(struct table *table, uint64_t id)
{
    ASSERT(!table->sealed);
    /* Only now does it count as inserted: a table that is loaded has these counts from the
     * store. */
    const uint32_t s = end_pending(table, id);
    make_resident(table, s);
    table->counts.episodes_inserted++;
    table->counts.transitions_inserted += table_transitions(&table->slots.at[s].episode);
}

void table_cancel(struct table *table, uint64_t id)
{
    const uint32_t s = end_pending(table, id);
    const struct table_episode *episode = &table->slots.at[s].episode;
    table_clients_take(&table->clients, episode->client, episode->bytes);
    table_slots_drop(&table->slots, s);
    ASSERT(table_slots_of_id(&table->slots, id) == SLOT_NONE);
}

status table_load(struct table *table, const struct table_episode *episode)
{
    /* No insert is on its way at open, so pending lasts no longer than this. */
    status s = table_begin(table, episode);
    if (s == STATUS_OK) {
        make_resident(table, end_pending(table, episode->id));
    }
    return s;
}

bool table_remove(struct table *table, uint64_t id, bool corrupt)
{
    const uint32_t s = table_slots_of_id(&table->slots, id);
    /* A pending episode cannot be removed: its write is not over. */
    if (s == SLOT_NONE || table->slots.at[s].state != SLOT_RESIDENT) {
        return false;
    }
    const struct table_episode *episode = &table->slots.at[s].episode;
    ASSERT(table->counts.episodes > 0);
    ASSERT(table->counts.transitions >= table_transitions(episode));
    /* This comes first, while the priority is still in the slot. */
    if (table->sealed) {
        table->priorities ^= digest_priority(table, episode);
    }
    /* Out of the selectors, */
    const struct selector_item sampled = table_sampler_item(table, s);
    selector_remove(table->sampler, &sampled);
    if (table->remover != NULL) {
        const struct selector_item removed = table_remover_item(table, s);
        selector_remove(table->remover, &removed);
    }
    /* out of the counts, */
    ASSERT(table->times_sampled >= table->slots.at[s].times_sampled);
    table->times_sampled -= table->slots.at[s].times_sampled;
    table->counts.episodes--;
    table->counts.transitions -= table_transitions(episode);
    table->counts.bytes -= episode->bytes;
    table_clients_take(&table->clients, episode->client, episode->bytes);
    if (corrupt) {
        table->counts.episodes_corrupt++;
    } else {
        table->counts.episodes_removed++;
        table->counts.transitions_removed += table_transitions(episode);
    }
    /* and out of the slots. */
    table_slots_drop(&table->slots, s);
    /* A sealed table loses only corrupt episodes, so that this seldom happens. */
    if (table->sealed) {
        table->contents = digest_contents(table);
    }
    return true;
}

/* ---- Priorities ---- */

bool table_priority_valid(double priority)
{
    return priority >= TABLE_PRIORITY_MIN && priority <= TABLE_PRIORITY_MAX;
}

status table_set_priority(struct table *table, uint64_t id, double priority)
{
    /* False for NaN too, which would spoil every sum of the sampler. */
    if (!table_priority_valid(priority)) {
        return STATUS_INVALID;
    }
    const uint32_t s = table_slots_of_id(&table->slots, id);
    if (s == SLOT_NONE || table->slots.at[s].state != SLOT_RESIDENT) {
        return STATUS_NOT_FOUND;
    }
    /* Both selectors are told; those that ignore priorities do nothing. */
    const struct selector_item sampled = table_sampler_item(table, s);
    selector_update(table->sampler, &sampled, priority);
    if (table->remover != NULL) {
        const struct selector_item removed = table_remover_item(table, s);
        selector_update(table->remover, &removed, priority);
    }
    struct table_episode *episode = &table->slots.at[s].episode;
    /* The version takes out what the old priority put in. */
    const uint64_t before = digest_priority(table, episode);
    episode->priority = priority;
    if (table->sealed) {
        table->priorities ^= before ^ digest_priority(table, episode);
    }
    return STATUS_OK;
}

bool table_draws_evenly(const struct table *table)
{
    return selector_even(table->sampler);
}

/* ---- Sealing ---- */

status table_seal(struct table *table)
{
    ASSERT(table->counts.pending_episodes == 0);
    if (table->sealed) {
        return STATUS_OK;
    }
    /* What may fail comes first: a new sampler, for sorting gives episodes other slots. */
    struct selector *sampler;
    status s = selector_new(&sampler, table->settings.sampler, table->settings.priority_exponent);
    if (s != STATUS_OK) {
        return s;
    }
    /* Selectors grow in powers of two. */
    uint32_t capacity = 1;
    while (capacity < table->counts.episodes) {
        capacity *= 2;
    }
    s = selector_reserve(sampler, capacity);
    if (s == STATUS_OK) {
        /* From here on nothing fails. */
        s = table_slots_sort(&table->slots, (uint32_t)table->counts.episodes);
    }
    if (s != STATUS_OK) {
        selector_free(sampler);
        return s;
    }
    selector_free(table->sampler);
    selector_free(table->remover); /* a sealed table takes nothing that would need room */
    table->sampler = sampler;
    table->remover = NULL;
    /* In order of insertion, which fifo and lifo keep. */
    for (uint32_t slot_i = table_slots_newer(&table->slots, SLOT_NONE); slot_i != SLOT_NONE;
         slot_i = table_slots_newer(&table->slots, slot_i)) {
        const struct selector_item item = table_sampler_item(table, slot_i);
        selector_insert(table->sampler, &item);
        table->priorities ^= digest_priority(table, &table->slots.at[slot_i].episode);
    }
    ASSERT(selector_count(table->sampler) == table->counts.episodes);
    table->contents = digest_contents(table);
    table->sealed = true;
    table->n_noted = 0; /* slots have changed places, and draws do not count any more */
    AUDIT(table_check(table));
    return STATUS_OK;
}

bool table_sealed(const struct table *table)
{
    return table->sealed;
}

uint64_t table_version(const struct table *table)
{
    /* 0 is kept for tables that are not sealed. */
    const uint64_t version = table->contents ^ table->priorities;
    return !table->sealed ? 0 : version ? version : 1;
}

uint64_t table_contents_version(const struct table *table)
{
    return !table->sealed ? 0 : table->contents ? table->contents : 1;
}

/* ---- Drawing ---- */

void table_draw(const struct table *table, uint64_t seed, uint64_t batch, uint32_t i,
                uint32_t attempt, uint32_t N, struct table_draw *draw)
{
    ASSERT(table->counts.transitions > 0);
    ASSERT(N >= 1);
    /* The attempt is in the upper half, so that no attempt meets the number of another snippet. */
    const struct selector_key key = {.seed = seed,
                                     .step = batch,
                                     .element = (uint64_t)attempt << 32 | i,
                                     .purpose = TABLE_DRAW_PURPOSE};
    struct selector_pick pick;
    selector_draw(table->sampler, &key, &pick);
    const struct table_slot *slot = &table->slots.at[pick.slot];
    ASSERT(slot->state == SLOT_RESIDENT);
    const uint32_t T = table_transitions(&slot->episode);
    /* The selector speaks of slots and masses; what follows turns them into an episode and a row.
     */
    /* Where the draw fell inside the episode, in transitions. With priorities that are not powers
     * of two, rounding may take it to the end. */
    const double unit = selector_unit(table->sampler, slot->episode.priority);
    const double start = floor(pick.within / unit);
    const uint32_t first = start < T ? (uint32_t)start : T - 1;
    /* A snippet that starts near the end is shorter than N. */
    *draw = (struct table_draw){
        .id = slot->episode.id,
        .probability = unit / pick.total,
        .first_row = first,
        .n_valid = N < T - first ? N : T - first,
        .n_rows = slot->episode.n_rows,
    };
    ASSERT(draw->first_row + draw->n_valid < draw->n_rows);
}

void table_draw_in_order(const struct table *table, uint64_t transition, uint32_t N,
                         struct table_place *place, struct table_draw *draw)
{
    ASSERT(table->sealed && table->counts.transitions > 0);
    ASSERT(N >= 1);
    const uint64_t number = transition % table->counts.transitions;
    /* From the first episode again where the contents have changed, or the place lies beyond. */
    if (place->version != table_contents_version(table) || number < place->before) {
        *place = (struct table_place){.version = table_contents_version(table)};
    }
    /* Sealing has put the slots in order of identity; a corrupt episode leaves a free one. */
    const struct table_slot *slot = &table->slots.at[place->slot_i];
    while (slot->state != SLOT_RESIDENT ||
           number - place->before >= table_transitions(&slot->episode)) {
        place->before += slot->state == SLOT_RESIDENT ? table_transitions(&slot->episode) : 0;
        place->slot_i++;
        ASSERT(place->slot_i < table->slots.capacity);
        slot = &table->slots.at[place->slot_i];
    }
    const uint32_t first = (uint32_t)(number - place->before);
    const uint32_t T = table_transitions(&slot->episode);
    *draw = (struct table_draw){
        .id = slot->episode.id,
        .probability = 1,
        .first_row = first,
        .n_valid = N < T - first ? N : T - first,
        .n_rows = slot->episode.n_rows,
    };
}

void table_count_sampled(struct table *table, uint64_t snippets)
{
    /* The sum must not wrap around. */
    ASSERT(table->counts.snippets_sampled + snippets >= snippets);
    table->counts.snippets_sampled += snippets;
}

void table_count_duplicate(struct table *table)
{
    table->counts.episodes_duplicate++;
}

/* ---- Checking ---- */

/* Is the sum over priorities what it would be if it were made anew? */
static bool check_priorities(const struct table *table)
{
    /* Exclusive or does not care about order, so the slots' order will do. */
    uint64_t sum = 0;
    for (uint32_t s = 0; s < table->slots.capacity; s++) {
        if (table->slots.at[s].state == SLOT_RESIDENT) {
            sum ^= digest_priority(table, &table->slots.at[s].episode);
        }
    }
    return !table->sealed || sum == table->priorities;
}

/* Is what each client holds what the slots say? */
static bool check_clients(const struct table *table)
{
    uint64_t episodes = 0;
    for (uint32_t i = 0; i < table->clients.n; i++) {
        const struct table_client *client = &table->clients.at[i];
        uint64_t n = 0, bytes = 0;
        for (uint32_t s = 0; s < table->slots.capacity; s++) {
            const struct table_slot *slot = &table->slots.at[s];
            if (slot->state != SLOT_FREE && slot->episode.client == client->client) {
                n++;
                bytes += slot->episode.bytes;
            }
        }
        if (n == 0 || n != client->episodes || bytes != client->bytes ||
            table_clients_find(&table->clients, client->client) != client) {
            return false;
        }
        episodes += n;
    }
    return episodes == table->counts.episodes + table->counts.pending_episodes;
}

/* Do the selectors hold the slot exactly when it is resident, with its mass? */
static bool check_slot(const struct table *table, uint32_t slot_i)
{
    const struct table_slot *slot = &table->slots.at[slot_i];
    const bool resident = slot->state == SLOT_RESIDENT;
    const struct table_episode *episode = &slot->episode;
    /* The mass that the sampler should give it. */
    const double sampled =
        resident ? table_transitions(episode) * selector_unit(table->sampler, episode->priority)
                 : 0;
    if (selector_mass(table->sampler, slot_i) != sampled) {
        return false;
    }
    /* In the remover every episode has weight 1. */
    const double removed =
        resident && table->remover ? selector_unit(table->remover, episode->priority) : 0;
    return table->remover == NULL || selector_mass(table->remover, slot_i) == removed;
}

bool table_check(const struct table *table)
{
    uint64_t n = 0, T = 0, bytes = 0, pending = 0, pending_bytes = 0, times = 0, noted = 0;
    /* Count anew what the slots hold. */
    for (uint32_t s = 0; s < table->slots.capacity; s++) {
        const struct table_slot *slot = &table->slots.at[s];
        if (!check_slot(table, s)) {
            return false;
        }
        noted += slot->noted;
        if (slot->state == SLOT_RESIDENT) {
            n++;
            T += table_transitions(&slot->episode);
            bytes += slot->episode.bytes;
            times += slot->times_sampled;
        } else if (slot->state == SLOT_PENDING) {
            pending++;
            pending_bytes += slot->episode.bytes;
        }
    }
    /* All sums that are kept must be the sums of what is there. */
    const struct table_counts *c = &table->counts;
    return table_slots_check(&table->slots) && check_priorities(table) && check_clients(table) &&
           n == c->episodes && T == c->transitions && bytes == c->bytes &&
           pending == c->pending_episodes && pending_bytes == c->pending_bytes &&
           times == table->times_sampled && (table->sealed || noted == table->n_noted) &&
           selector_count(table->sampler) == n &&
           (table->remover == NULL || selector_count(table->remover) == n);
}
