/* Small signatures and episodes for tests. Sizes and limits differ from one another, so that
 * mistaking one for another shows. */
#ifndef HINDCAST_TESTS_TRAJECTORIES_H
#define HINDCAST_TESTS_TRAJECTORIES_H

#include "common/trajectory/episode.h"

/* Slices position (3) and velocity (2), actions -1..1 and 0..4, the first K <= 3 of the rewards
 * "run", "walk" and "stand", and a control period of 0.02 s. */
void trajectories_signature(struct signature *signature, uint32_t K);

/* Initialises `episode` with T transitions, a function of `seed`. Its identity is (77, 0, seed, 0).
 * The caller releases it with episode_fini. */
void trajectories_episode(struct episode *episode, const struct signature *signature, uint32_t T,
                          uint64_t seed, bool terminated);

/* The largest absolute difference between the used rows of two episodes. Fails the test if their
 * shapes differ. */
double trajectories_difference(const struct episode *a, const struct episode *b);

#endif
