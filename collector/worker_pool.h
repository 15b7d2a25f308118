/* The worker pool: workers, each with environments on a thread of its own, and the order in which the
 * episodes they finish are passed on.
 *
 * What happens in episode n is a function of (seed, index, n) and of the parameters that were
 * there: start state, task and exploration come from a stream derived from these, so a restarted
 * collector continues with new episodes and does not repeat old ones. With reset_episodes R above 1 it
 * is also one of the episodes before it that share its scene (1 .. R, R + 1 .. 2R, ..): an environment
 * acts all of them, so that the log is the same for any number of environments and threads; a restart
 * goes on with a new scene. */
#ifndef HINDCAST_COLLECTOR_WORKER_POOL_H
#define HINDCAST_COLLECTOR_WORKER_POOL_H

#include "collector/finished_episode.h"
#include "collector/policy_cache.h"
#include "common/environments/environment.h"

struct worker_pool;

struct worker_pool_settings {
    const struct environment_description *environment; /* borrowed */
    uint64_t seed;
    uint64_t index;          /* of this collector */
    uint32_t n_environments; /* at most environment->open_max; times reset_episodes, below
                              * REORDER_WINDOW_MAX where there are several */
    uint32_t n_threads;      /* 1 .. n_environments */
    uint64_t done;           /* last sequence kept by earlier starts; 0: none */
    uint64_t last;           /* no sequence after this one; 0: no end */
    const bool *pursued;     /* (K) tasks that episodes are for; borrowed. NULL: all */
    uint64_t random_episodes;
    uint32_t refresh_steps;
    bool script;                   /* by the environment's script, behind the random_episodes */
    const double *script_noise;    /* (n_script_noise) each episode draws one; borrowed */
    uint32_t n_script_noise;       /* >= 1 where `script` */
    double noise_correlation;      /* actor_correlate */
    uint32_t reset_episodes;       /* a new start state each so many episodes; 0 is 1 */
    double advanced;               /* probability that they are ADVANCED (environment.h) */
    bool wait_for_policy;          /* rather than act at random until there is one */
    struct policy_cache *policies; /* borrowed; NULL: always at random */
};

/* Opens the environments and starts the workers. An environment that cannot be opened is reported
 * here. */
status worker_pool_start(struct worker_pool **pool, const struct worker_pool_settings *settings,
                         struct err *err) MUST_CHECK;

/* The next finished episode in order of sequence; the caller frees it (finished_episode_free).
 * TIMEOUT; CLOSED: no more will come (all done, stopped, or the run is finished); others: a worker
 * failed, and the pool has stopped. One thread. */
status worker_pool_next(struct worker_pool *pool, uint64_t timeout_ms,
                        struct finished_episode **finished, struct err *err) MUST_CHECK;

/* Workers leave at their next step; unfinished episodes are lost. Any thread, idempotent. */
void worker_pool_stop(struct worker_pool *pool);
/* Control steps taken so far. Any thread. */
uint64_t worker_pool_steps(const struct worker_pool *pool);
/* Does a worker wait for the first parameters at this moment? Any thread. */
bool worker_pool_waits_for_policy(const struct worker_pool *pool);
/* What an environment waits for at this moment, such as a robot's operator; "" where none waits. Any
 * thread. */
void worker_pool_waits_for(struct worker_pool *pool, char *text, size_t size);
/* Stops, joins and frees. No thread may be in worker_pool_next. NULL is fine. */
void worker_pool_free(struct worker_pool *pool);

#endif
