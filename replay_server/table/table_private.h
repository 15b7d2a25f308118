/* What the table's files share:
 *
 *   table.c           episodes in and out, priorities, sealing, draws
 *   table_eviction.c  what the remover takes out of a full table
 *   table_use.c       how often episodes were sampled, where that has a limit */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_TABLE_PRIVATE_H
#define HINDCAST_REPLAY_SERVER_TABLE_TABLE_PRIVATE_H

#include "replay_server/table/table.h"
#include "replay_server/table/table_clients.h"
#include "replay_server/table/table_slots.h"

struct table {
    struct table_settings settings;
    struct table_slots slots;
    struct table_clients clients; /* of pending and resident slots */
    struct selector *sampler;     /* of the resident slots, by transitions */
    struct selector *remover;     /* of the same, each of weight 1; NULL: none, or sealed */
    uint64_t times_sampled;       /* the sum over the resident slots */
    uint32_t *noted; /* (slots) those whose times_sampled the store does not know, oldest first */
    uint32_t n_noted, noted_capacity;
    uint64_t last_id;
    bool sealed;
    uint64_t contents;   /* of a sealed table: digest of identities and lengths, .. */
    uint64_t priorities; /* .. and of the priorities that change its draws; 0: there are none */
    struct table_counts counts;
};

/* Room to note every slot. NO_MEMORY. */
status table_use_reserve(struct table *table) MUST_CHECK;

static inline uint32_t table_transitions(const struct table_episode *episode)
{
    return episode->n_rows - 1;
}

static inline struct selector_item table_sampler_item(const struct table *table, uint32_t slot_i)
{
    const struct table_episode *episode = &table->slots.at[slot_i].episode;
    return (struct selector_item){slot_i, table_transitions(episode), episode->priority};
}

static inline struct selector_item table_remover_item(const struct table *table, uint32_t slot_i)
{
    return (struct selector_item){slot_i, 1, table->slots.at[slot_i].episode.priority};
}

#endif
