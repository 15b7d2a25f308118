/* Random numbers. Two generators, for two needs.
 *
 * `struct rng` is a stream (xoshiro256**, seeded through splitmix64 from (seed, role, index)) for
 * one user on one thread: shuffles, exploration, start states.
 *
 * `noise_*` (common/base/noise.h) is counter-based: a pure function of (seed, step, purpose,
 * element), so the same numbers come out for any thread count and any split over learners. It is
 * also the fast one for many normals.
 *
 * Same seed: same bits, on every machine (no libm: Box-Muller over series of our own). */
#ifndef HINDCAST_BASE_RNG_H
#define HINDCAST_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/noise.h"

struct rng {
    uint64_t state[4];
};

/* `role` is a short name ("collector", "shuffle"): other role or index, other stream. */
void rng_init(struct rng *rng, uint64_t seed, const char *role, uint64_t index);
uint64_t rng_u64(struct rng *rng);
double rng_uniform(struct rng *rng);                          /* [0, 1), 53 bits */
uint64_t rng_below(struct rng *rng, uint64_t n);              /* 0..n-1 without bias; n >= 1 */
double rng_normal(struct rng *rng);                           /* standard normal */
void rng_shuffle(struct rng *rng, uint32_t *items, size_t n); /* Fisher-Yates */

#endif
