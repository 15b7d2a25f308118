/* One episode: acts in an environment with an actor and records the rows. Evaluators and collectors
 * act in several at a time (rollout_group.h). */
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

/* The sources of an episode's randomness: two independent streams, one for the start state, one for
 * the actor, both functions of (seed, role, index, episode) alone. */
struct rollout_stream {
    uint64_t start_seed; /* of the environment_start; 32 bits, as numpy's RandomState takes */
    struct rng rng;      /* for the actor, and the choice of its task */
};
void rollout_stream(struct rollout_stream *stream, uint64_t seed, const char *role, uint64_t index,
                    uint64_t episode);

/* An episode under way. */
struct rollout {
    struct environment *environment;
    struct episode *episode; /* receives the rows; the caller's */
    uint32_t step;           /* the next to take */
    bool last;               /* it is whole: no step is left */
    float *observation;      /* (O) the newest, from which the next action is chosen */
    float *next_observation; /* (O) */
    float *rewards;          /* (K) */
};

/* Buffers for episodes of `environment`, one after the other. NO_MEMORY. */
status rollout_init(struct rollout *rollout, struct environment *environment,
                    struct err *err) MUST_CHECK;
void rollout_fini(struct rollout *rollout);
/* Resets the environment to `start`; `episode` (initialised for its row width, emptied) gets the first
 * observation. RETRY, CORRUPT, IO, ..: as environment_reset. */
status rollout_begin(struct rollout *rollout, const struct environment_start *start,
                     struct episode *episode, struct err *err) MUST_CHECK;
/* One step with action(A), recorded. After the last one the episode is checked as a whole. CORRUPT,
 * IO, ..: the environment failed. After any status but OK the episode is over and must not be
 * stored. */
status rollout_step(struct rollout *rollout, const float *action, struct err *err) MUST_CHECK;

/* A whole episode with `actor`, which was started. Errors as above. */
status rollout_run(struct environment *environment, const struct environment_start *start,
                   struct actor *actor, struct episode *episode, struct err *err) MUST_CHECK;

#endif
