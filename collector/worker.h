/* A worker: one thread's environments, and what acts in them.
 *
 * A worker takes sequences from the reorder buffer, chooses what to act with (the newest policy, the
 * environment's script, or chance), acts their episodes side by side (rollout_group.h), and puts them
 * back, from where worker_pool_next passes them on in order. An episode in which the environment fails
 * is counted, discarded and acted again from another stream. */
#ifndef HINDCAST_COLLECTOR_WORKER_H
#define HINDCAST_COLLECTOR_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "collector/reorder_buffer.h"
#include "collector/worker_pool.h"
#include "common/base/metrics.h"

/* What the workers of a pool share with it. The mutex is held for bookkeeping only, never while an
 * environment steps. */
struct worker_shared {
    struct worker_pool_settings settings; /* constant */
    struct metric *steps_total;
    struct metric *failed_total;
    _Atomic bool stopping;
    _Atomic uint64_t steps;
    _Atomic uint32_t n_waiting; /* environments for which the first parameters are awaited */

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* anything below, or in the pool */
    struct reorder_buffer buffer;
    char waits_for[256]; /* of the environment that was not ready last; "": ready */
};

/* Waits until something changed or the time is `until_ns` (clock_now_ns); returns false in the latter
 * case. With the mutex held. */
bool worker_shared_wait(struct worker_shared *shared, uint64_t until_ns);

struct worker;

/* Opens n_environments (>= 1). `shared` is borrowed. */
status worker_new(struct worker **worker, struct worker_shared *shared, uint32_t n_environments,
                  struct err *err) MUST_CHECK;
void worker_free(struct worker *worker); /* NULL is fine */

/* Episode after episode, on the thread of the worker. OK and CLOSED: there is nothing more to do; the
 * others: a failure after which the pool cannot go on. */
status worker_act(struct worker *worker, struct err *err) MUST_CHECK;

#endif
