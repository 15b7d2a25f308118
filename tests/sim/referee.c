/* A second implementation of the draw from a sealed table: a sorted array and a linear search. */
#include "tests/sim/referee.h"

#include "common/base/noise.h"
#include "replay_server/table/table.h"

void referee_add(struct referee *referee, const struct episode_identity *identity, uint32_t T)
{
    ASSERT(referee->n < REFEREE_EPISODES_MAX);
    uint32_t i = referee->n++;
    for (; i > 0 && episode_identity_compare(identity, &referee->episodes[i - 1].identity) < 0;
         i--) {
        referee->episodes[i] = referee->episodes[i - 1];
    }
    referee->episodes[i].identity = *identity;
    referee->episodes[i].T = T;
    referee->transitions += T;
}

void referee_draw(const struct referee *referee, uint64_t seed, uint64_t batch, uint32_t i,
                  struct episode_identity *identity, uint32_t *first_row)
{
    uint64_t x = noise_below(referee->transitions, seed, batch, TABLE_DRAW_PURPOSE, i);
    uint32_t at = 0;
    for (; x >= referee->episodes[at].T; at++) {
        x -= referee->episodes[at].T;
    }
    *identity = referee->episodes[at].identity;
    *first_row = (uint32_t)x;
}

bool referee_same(const struct referee *a, const struct referee *b)
{
    bool same = a->n == b->n;
    for (uint32_t i = 0; same && i < a->n; i++) {
        same = episode_identity_compare(&a->episodes[i].identity, &b->episodes[i].identity) == 0 &&
               a->episodes[i].T == b->episodes[i].T;
    }
    return same;
}
