/* One episode: an environment and an actor in, rows out. Shared by evaluators and collectors. */
#ifndef HINDCAST_ROLLOUT_ROLLOUT_H
#define HINDCAST_ROLLOUT_ROLLOUT_H

#include "common/environments/environment.h"
#include "common/rollout/actor.h"
#include "common/trajectory/episode.h"

/* Asked before each step (step 0: before the first). OK goes on; anything else ends the episode
 * with that status. It may give the actor another policy of the same tasks. */
typedef status rollout_before_step(void *arg, uint32_t step, struct err *err);

/* Where an episode's randomness comes from: two independent streams, one for the start state, one
 * for the actor, both functions of (seed, role, index, episode) alone. */
struct rollout_stream {
    uint64_t start_seed; /* for environment_open: 32 bits, as numpy's RandomState wants */
    struct rng rng;      /* for the actor, and the choice of its task */
};
void rollout_stream(struct rollout_stream *stream, uint64_t seed, const char *role, uint64_t index,
                    uint64_t episode);

/* Resets `environment` and acts in it with `actor`, which was started, until the last step.
 * `episode` (initialised for the environment's row width) holds what happened. OK; what before_step
 * (may be NULL) said; CORRUPT, IO, ..: the environment failed. After anything but OK the episode
 * must not be stored. */
status rollout_run(struct environment *environment, struct actor *actor, struct episode *episode,
                   rollout_before_step *before_step, void *arg, struct err *err) MUST_CHECK;

#endif
