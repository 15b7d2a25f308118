/* Signatures and episodes for tests: small, odd and different from one another. */
#ifndef HINDCAST_TESTS_TRAJECTORIES_H
#define HINDCAST_TESTS_TRAJECTORIES_H

#include "common/trajectory/episode.h"

/* Slices position (3) and velocity (2), actions -1..1 and 0..4, rewards "run", "walk", .. (K <= 3),
 * 0.02 s. */
void trajectories_signature(struct signature *signature, uint32_t K);

/* An episode of T transitions, a function of `seed`; initialised here, episode_fini is the
 * caller's. Identity (77, 0, seed, 0). */
void trajectories_episode(struct episode *episode, const struct signature *signature, uint32_t T,
                          uint64_t seed, bool terminated);

/* The largest difference between two episodes' used rows; fails the test when their shapes differ.
 */
double trajectories_difference(const struct episode *a, const struct episode *b);

#endif
