/* What a sealed table's batches must be: the definition in replay_server/table/table.h, written
 * once more and as plainly as it can be. */
#ifndef HINDCAST_SIM_REFEREE_H
#define HINDCAST_SIM_REFEREE_H

#include "common/trajectory/episode.h"

#define REFEREE_EPISODES_MAX 1024u

struct referee {
    uint32_t n;
    uint64_t transitions;
    struct {
        struct episode_identity identity;
        uint32_t T;
        double priority;
    } episodes[REFEREE_EPISODES_MAX]; /* in order of identity */
};

/* Priorities are powers of two, so that sums of them are exact. */
void referee_add(struct referee *referee, const struct episode_identity *identity, uint32_t T,
                 double priority);
/* Where snippet i of the batch begins. */
void referee_draw(const struct referee *referee, uint64_t seed, uint64_t batch, uint32_t i,
                  struct episode_identity *identity, uint32_t *first_row);
bool referee_same(const struct referee *a, const struct referee *b);
/* The priorities of what is the same otherwise. */
bool referee_same_priorities(const struct referee *a, const struct referee *b);

#endif
