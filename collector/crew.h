/* The crew: workers, each with an environment and an actor on a thread of its own, and the order
 * in which what they finish is handed on.
 *
 * What happens in episode n is a function of (seed, index, n) and of the parameters that were
 * there: start state, task and exploration come from a stream derived from these, so a restarted
 * collector goes on with new episodes, not old ones again. An episode in which the environment
 * fails is counted, thrown away and acted again from another stream. */
#ifndef HINDCAST_COLLECTOR_CREW_H
#define HINDCAST_COLLECTOR_CREW_H

#include "collector/finished_episode.h"
#include "collector/policy_source.h"

struct crew;

struct crew_settings {
    const char *environment; /* name; borrowed */
    uint64_t seed;
    uint64_t index;     /* of this collector */
    uint32_t n_workers; /* 1 .. 256 */
    uint64_t done;      /* last sequence kept by earlier starts; 0: none */
    uint64_t last;      /* no sequence after this one; 0: no end */
    uint64_t random_episodes;
    uint32_t refresh_steps;
    bool wait_for_policy;           /* rather than act at random until there is one */
    struct policy_source *policies; /* borrowed; NULL: always at random */
};

/* Starts the workers. What is wrong with the environment is said here. */
status crew_start(struct crew **crew, const struct crew_settings *settings,
                  const struct signature *signature, struct err *err) MUST_CHECK;

/* The next finished episode in order; the caller's (finished_episode_free). OK; TIMEOUT; CLOSED:
 * no more will come (all done, stopped, or the run is finished); others: a worker could not go on,
 * and the crew has stopped. One thread. */
status crew_next(struct crew *crew, uint64_t timeout_ms, struct finished_episode **finished,
                 struct err *err) MUST_CHECK;

/* Workers leave at their next step; unfinished episodes are lost. Any thread, idempotent. */
void crew_stop(struct crew *crew);
/* Control steps taken so far. Any thread. */
uint64_t crew_steps(const struct crew *crew);
/* crew_stop, join, free. Nobody may be in crew_next. */
void crew_free(struct crew *crew);

#endif
