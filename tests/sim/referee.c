/* A second implementation of the draw from a sealed table: a sorted array and a linear search. */
#include "tests/sim/referee.h"

#include "common/base/noise.h"
#include "replay_server/table/table.h"

void referee_add(struct referee *referee, const struct episode_identity *identity, uint32_t T,
                 double priority)
{
    ASSERT(referee->n < REFEREE_EPISODES_MAX);
    uint32_t i = referee->n++;
    for (; i > 0 && episode_identity_compare(identity, &referee->episodes[i - 1].identity) < 0;
         i--) {
        referee->episodes[i] = referee->episodes[i - 1];
    }
    referee->episodes[i].identity = *identity;
    referee->episodes[i].T = T;
    referee->episodes[i].priority = priority;
    referee->transitions += T;
}

void referee_draw(const struct referee *referee, uint64_t seed, uint64_t batch, uint32_t i,
                  struct episode_identity *identity, uint32_t *first_row)
{
    double sum = 0;
    bool even = true;
    for (uint32_t k = 0; k < referee->n; k++) {
        sum += referee->episodes[k].T * referee->episodes[k].priority;
        even = even && referee->episodes[k].priority == 1;
    }
    double x =
        even ? (double)noise_below(referee->transitions, seed, batch, TABLE_DRAW_PURPOSE, i)
             : (double)noise_below(1ull << 53, seed, batch, TABLE_DRAW_PURPOSE, i) * 0x1p-53 * sum;
    uint32_t at = 0;
    for (; at + 1 < referee->n && x >= referee->episodes[at].T * referee->episodes[at].priority;
         at++) {
        x -= referee->episodes[at].T * referee->episodes[at].priority;
    }
    *identity = referee->episodes[at].identity;
    *first_row = (uint32_t)(x / referee->episodes[at].priority);
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

bool referee_same_priorities(const struct referee *a, const struct referee *b)
{
    bool same = a->n == b->n;
    for (uint32_t i = 0; same && i < a->n; i++) {
        same = a->episodes[i].priority == b->episodes[i].priority;
    }
    return same;
}
