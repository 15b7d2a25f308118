/* Planning an eviction: which episodes a full table would remove for a new one.
 *
 * The remover draws one episode after another until the new one fits. Each is taken out of the
 * remover for the time of planning, so that the next draw is among the others; all are put back
 * before the plan is handed out, in reverse order, which restores the remover exactly. Whether the
 * plan is carried out is the limiter's to say: until then the table has not changed.
 *
 * Pure, and on the table's thread, like all of the table. */
#include <inttypes.h>

#include "common/base/memory.h"
#include "replay_server/table/table_private.h"

/* Would the sum be above the limit? */
static bool over(uint64_t have, uint64_t more, uint64_t limit)
{
    /* 0 means that there is no limit. */
    return limit > 0 && have + more > limit;
}

/* Does the episode fit beside `left`, which are the table's counts without the evicted episodes? */
static bool fits(const struct table_limits *limits, const struct table_counts *left, uint32_t T,
                 uint64_t bytes)
{
    /* Pending episodes have taken their room already. */
    return !over(left->transitions + left->pending_transitions, T, limits->max_transitions) &&
           !over(left->bytes + left->pending_bytes, bytes, limits->max_bytes) &&
           !over(left->episodes + left->pending_episodes, 1, limits->max_episodes);
}

/* Notes an episode in the plan; `capacity` is how many ids the plan has room for. NO_MEMORY leaves
 * the plan as it was. */
static status add_victim(struct eviction *plan, uint32_t *capacity,
                         const struct table_episode *victim)
{
    if (plan->n == *capacity) {
        const uint32_t more = *capacity ? 2 * *capacity : 4;
        uint64_t *ids = mem_resize(plan->ids, more, sizeof *ids);
        if (ids == NULL) {
            return STATUS_NO_MEMORY;
        }
        plan->ids = ids;
        *capacity = more;
    }
    plan->ids[plan->n++] = victim->id;
    plan->transitions += table_transitions(victim);
    return STATUS_OK;
}

/* Draws victims until the episode fits, and notes them in the plan. They are out of the remover
 * when this returns, with an error too: restore_victims puts them back. */
static status draw_victims(struct table *table, uint32_t T, uint64_t bytes, struct eviction *plan,
                           struct err *err)
{
    struct table_counts left = table->counts;
    uint32_t capacity = 0;
    while (!fits(&table->settings.limits, &left, T, bytes)) {
        /* The table is full, and nothing may be removed: the insert waits, or is refused. */
        if (table->remover == NULL && table->settings.waits) {
            return err_set(err, STATUS_RETRY,
                           "the table is full and its remover is wait: until episodes were sampled "
                           "max_times_sampled times, or are deleted");
        }
        if (table->remover == NULL) {
            return err_set(err, STATUS_FULL, "the table is full and its remover is none");
        }
        /* All that is left is pending. A later try finds it resident. */
        if (selector_count(table->remover) == 0) {
            return err_set(err, STATUS_RETRY,
                           "the episodes that would have to go are still being inserted");
        }
        /* A random remover needs a key of its own for each victim and each change of the table. The
         * key depends on nothing that waiting changes, so a waiting insert keeps its plan. */
        const struct selector_key key = {
            .step = table->last_id, .element = plan->n, .purpose = TABLE_EVICT_PURPOSE};
        struct selector_pick pick;
        selector_draw(table->remover, &key, &pick);
        const struct table_slot *slot = &table->slots.at[pick.slot];
        ASSERT(slot->state == SLOT_RESIDENT);
        /* Noted first: if that fails, the victim is still in the remover and needs no putting
         * back. */
        status s = add_victim(plan, &capacity, &slot->episode);
        if (s != STATUS_OK) {
            return err_set(err, s, "out of memory");
        }
        const struct selector_item item = table_remover_item(table, pick.slot);
        selector_remove(table->remover, &item);
        /* What the table would hold without it. */
        left.transitions -= table_transitions(&slot->episode);
        left.bytes -= slot->episode.bytes;
        left.episodes--;
    }
    return STATUS_OK;
}

/* Puts the victims back, the last one first. */
static void restore_victims(struct table *table, const struct eviction *plan)
{
    for (uint32_t i = plan->n; i-- > 0;) {
        /* Nothing has moved since it was drawn: the episode is found where it was. */
        const uint32_t slot_i = table_slots_of_id(&table->slots, plan->ids[i]);
        ASSERT(slot_i != SLOT_NONE);
        const struct selector_item item = table_remover_item(table, slot_i);
        selector_restore(table->remover, &item);
    }
}

status table_plan_eviction(struct table *table, uint32_t T, uint64_t bytes,
                           struct eviction *eviction, struct err *err)
{
    const struct table_limits *limits = &table->settings.limits;
    ASSERT(T >= 1);
    ASSERT(!table->sealed);
    /* An empty table would not have room for it: no eviction helps. */
    if (over(0, T, limits->max_transitions) || over(0, bytes, limits->max_bytes)) {
        return err_set(err, STATUS_FULL,
                       "an episode of %u transitions (%" PRIu64
                       " bytes) is larger than the table may be: max_transitions %" PRIu64
                       ", max_bytes %" PRIu64,
                       T, bytes, limits->max_transitions, limits->max_bytes);
    }
    struct eviction plan = {0};
    status s = draw_victims(table, T, bytes, &plan, err);
    /* After an error as well: the remover must be as it was. */
    restore_victims(table, &plan);
    ASSERT(table->remover == NULL || selector_count(table->remover) == table->counts.episodes);
    if (s != STATUS_OK) {
        mem_free(plan.ids);
        return s;
    }
    *eviction = plan;
    return STATUS_OK;
}

/* ---- Clients ---- */

status table_check_client(const struct table *table, uint32_t client, uint64_t bytes,
                          const struct eviction *eviction, struct err *err)
{
    const struct table_limits *limits = &table->settings.limits;
    const struct table_client *held = table_clients_find(&table->clients, client);
    uint64_t has_bytes = held ? held->bytes : 0;
    uint64_t has_episodes = held ? held->episodes : 0;
    if (limits->max_client_bytes == 0 && limits->max_client_episodes == 0) {
        return STATUS_OK;
    }
    /* What goes of its own makes room for what comes. */
    for (uint32_t i = 0; i < eviction->n; i++) {
        const struct table_episode *victim = table_get(table, eviction->ids[i], NULL);
        has_bytes -= victim->client == client ? victim->bytes : 0;
        has_episodes -= victim->client == client;
    }
    if (!over(has_bytes, bytes, limits->max_client_bytes) &&
        !over(has_episodes, 1, limits->max_client_episodes)) {
        return STATUS_OK;
    }
    return err_set(err, table->settings.waits ? STATUS_RETRY : STATUS_FULL,
                   "holds %" PRIu64 " episodes of %" PRIu64 " bytes: max_client_episodes %" PRIu64
                   ", max_client_bytes %" PRIu64,
                   has_episodes, has_bytes, limits->max_client_episodes, limits->max_client_bytes);
}

bool table_client(const struct table *table, uint32_t i, uint32_t *client, uint64_t *episodes,
                  uint64_t *bytes)
{
    if (i >= table->clients.n) {
        return false;
    }
    *client = table->clients.at[i].client;
    *episodes = table->clients.at[i].episodes;
    *bytes = table->clients.at[i].bytes;
    return true;
}
