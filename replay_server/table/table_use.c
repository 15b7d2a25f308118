/* How often snippets were drawn from each episode, and which of these counts the store does not know
 * yet.
 *
 * A slot is noted once, with the first draw after it was taken, and stays in the list until it is
 * taken again, even where its episode has gone meanwhile: so the list never outgrows the slots. */
#include <string.h>

#include "common/base/memory.h"
#include "replay_server/table/table_private.h"

/* A sealed table does not change, and so its draws do not count. */
static bool uses_up(const struct table *table)
{
    return table->settings.max_times_sampled > 0 && !table->sealed;
}

status table_use_reserve(struct table *table)
{
    if (!uses_up(table) || table->noted_capacity >= table->slots.capacity) {
        return STATUS_OK;
    }
    uint32_t *noted = mem_resize(table->noted, table->slots.capacity, sizeof *noted);
    if (noted == NULL) {
        return STATUS_NO_MEMORY;
    }
    table->noted = noted;
    table->noted_capacity = table->slots.capacity;
    return STATUS_OK;
}

uint64_t table_draws_left(const struct table *table)
{
    return uses_up(table)
               ? table->counts.episodes * table->settings.max_times_sampled - table->times_sampled
               : UINT64_MAX;
}

static void note(struct table *table, uint32_t slot_i)
{
    if (!table->slots.at[slot_i].noted) {
        ASSERT(table->n_noted < table->noted_capacity);
        table->noted[table->n_noted++] = slot_i;
        table->slots.at[slot_i].noted = true;
    }
}

bool table_use(struct table *table, uint64_t id)
{
    if (!uses_up(table)) {
        return false;
    }
    const uint32_t s = table_slots_of_id(&table->slots, id);
    ASSERT(s != SLOT_NONE && table->slots.at[s].state == SLOT_RESIDENT);
    table->slots.at[s].times_sampled++;
    table->times_sampled++;
    if (table->slots.at[s].times_sampled == table->settings.max_times_sampled) {
        return table_remove(table, id, false);
    }
    note(table, s);
    return false;
}

void table_set_times_sampled(struct table *table, uint64_t id, uint32_t times)
{
    if (!uses_up(table)) {
        return;
    }
    const uint32_t s = table_slots_of_id(&table->slots, id);
    const uint32_t most = table->settings.max_times_sampled - 1;
    ASSERT(s != SLOT_NONE && table->slots.at[s].times_sampled == 0);
    table->slots.at[s].times_sampled = times < most ? times : most;
    table->times_sampled += table->slots.at[s].times_sampled;
}

void table_note_times(struct table *table, uint64_t id)
{
    const uint32_t s = table_slots_of_id(&table->slots, id);
    if (uses_up(table) && s != SLOT_NONE) {
        note(table, s);
    }
}

uint32_t table_noted_times(const struct table *table)
{
    return table->n_noted;
}

uint32_t table_take_times(struct table *table, struct table_times *times, uint32_t max)
{
    uint32_t n = 0, i = 0;
    for (; i < table->n_noted && n < max; i++) {
        struct table_slot *slot = &table->slots.at[table->noted[i]];
        slot->noted = false;
        /* What has gone, or has come in its place and was not drawn from, has no count to keep. */
        if (slot->state == SLOT_RESIDENT && slot->times_sampled > 0) {
            times[n++] = (struct table_times){slot->episode.id, slot->times_sampled};
        }
    }
    table->n_noted -= i;
    if (i > 0) {
        memmove(table->noted, table->noted + i, table->n_noted * sizeof *table->noted);
    }
    return n;
}
