/* numpy's RandomState: MT19937 and its legacy distributions, number for number.
 *
 * The control suite draws its start states from it, so that a seed gives the same episode as in
 * dm_control. For anything else use common/base/rng.h. Sources: Matsumoto and Nishimura
 * 1998 (MT19937, and the 2002 initialisation); numpy.random.RandomState. */
#ifndef HINDCAST_ENVIRONMENTS_RANDOM_STATE_H
#define HINDCAST_ENVIRONMENTS_RANDOM_STATE_H

#include <stdbool.h>
#include <stdint.h>

#define RANDOM_STATE_WORDS 624

struct random_state {
    uint32_t words[RANDOM_STATE_WORDS];
    uint32_t next;   /* index of the next word; RANDOM_STATE_WORDS: new ones are due */
    bool has_normal; /* `normal` holds the second of two */
    double normal;
};

/* RandomState(seed); a seed above 2^32 - 1 is RandomState([seed % 2^32, seed / 2^32]). */
void random_state_init(struct random_state *random, uint64_t seed);
uint32_t random_state_u32(struct random_state *random);
/* rand(), in [0, 1); uniform(low, high); randn(). */
double random_state_double(struct random_state *random);
double random_state_uniform(struct random_state *random, double low, double high);
double random_state_normal(struct random_state *random);

#endif
