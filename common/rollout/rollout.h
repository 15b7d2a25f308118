/* One episode: acts in an environment with an actor and records the rows. Used by evaluators and
 * collectors. */
#ifndef HINDCAST_ROLLOUT_ROLLOUT_H
#define HINDCAST_ROLLOUT_ROLLOUT_H

#include "common/environments/environment.h"
#include "common/rollout/actor.h"
#include "common/trajectory/episode.h"

/* Did the episode succeed in the task with reward k? False where the description does not define
 * success (environment.h), or the episode has no steps. */
bool rollout_success(const struct environment_description *environment,
                     const struct episode *episode, uint32_t reward);

/* environment_script of the environment that `arg` points to: an actor_script. */
void rollout_script(const void *arg, uint32_t task, const float *observation, float *action);

/* Called before each step (step 0: before the first). On OK the episode goes on; any other status
 * ends it and is returned. It may give the actor another policy of the same tasks. */
typedef status rollout_before_step(void *arg, uint32_t step, struct err *err);

/* The sources of an episode's randomness: two independent streams, one for the start state, one for
 * the actor, both functions of (seed, role, index, episode) alone. */
struct rollout_stream {
    uint64_t start_seed; /* of the environment_start; 32 bits, as numpy's RandomState takes */
    struct rng rng;      /* for the actor, and the choice of its task */
};
void rollout_stream(struct rollout_stream *stream, uint64_t seed, const char *role, uint64_t index,
                    uint64_t episode);

/* Resets `environment` to `start` and acts in it with `actor`, which was started, until the last
 * step. `episode` (initialised for the environment's row width) receives the rows. Returns OK; what
 * before_step (may be NULL) returned; CORRUPT, IO, ..: the environment failed. After any status but
 * OK the episode must not be stored. */
status rollout_run(struct environment *environment, const struct environment_start *start,
                   struct actor *actor, struct episode *episode, rollout_before_step *before_step,
                   void *arg, struct err *err) MUST_CHECK;

#endif
