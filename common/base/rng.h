/* Random numbers. Two generators, for two needs.
 *
 * `struct rng` is a stream (xoshiro256**, seeded through splitmix64 from (seed, role, index)) for one
 * user on one thread: shuffles, exploration, start states.
 *
 * `noise_*` is counter-based (Philox 4x32-10, Salmon et al. 2011): a pure function of (seed, step, purpose,
 * element), so the same numbers come out for any thread count and any split over learners.
 *
 * Same seed: same bits, on every machine (normals by Box-Muller in double, rounded to float). */
#ifndef HINDCAST_BASE_RNG_H
#define HINDCAST_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state[4];
};

/* `role` is a short name ("collector", "shuffle"): other role or index, other stream. */
void rng_init(struct rng *rng, uint64_t seed, const char *role, uint64_t index);
uint64_t rng_u64(struct rng *rng);
double rng_uniform(struct rng *rng);                  /* [0, 1), 53 bits */
uint64_t rng_below(struct rng *rng, uint64_t n);      /* 0..n-1 without bias; n >= 1 */
double rng_normal(struct rng *rng);                   /* standard normal */
void rng_shuffle(struct rng *rng, uint32_t *items, size_t n); /* Fisher-Yates */

/* out(n) <- standard normals, elements first .. first + n - 1 of the sequence (seed, step, purpose).
 * Any split of a range into calls gives the same numbers. */
void noise_normal(float *out, size_t n, uint64_t seed, uint64_t step, uint32_t purpose, uint64_t first);

/* Element `i` of (seed, step, purpose), uniform in 0..n-1 (multiply-shift over 64 bits); n >= 1. */
uint64_t noise_below(uint64_t n, uint64_t seed, uint64_t step, uint32_t purpose, uint64_t i);

#endif
