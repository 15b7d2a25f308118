/* The evaluator's environments, opened once and reset for each episode, and the threads that act in
 * them, each in the same number of environments or one more. Both live as long as the pool, which is
 * that of the process.
 *
 * Opening and closing one per episode would cost a model compilation each time, and could not be
 * done with an environment that is leased exclusively. Measurements borrow the pool, one at a time;
 * within a measurement each environment belongs to one thread, always the same. */
#ifndef HINDCAST_EVALUATOR_ENVIRONMENT_POOL_H
#define HINDCAST_EVALUATOR_ENVIRONMENT_POOL_H

#include "common/base/thread_pool.h"
#include "common/environments/environment.h"

struct environment_pool {
    struct environment_description description;
    uint32_t n;                        /* environments, >= 1 */
    struct environment **environments; /* (n) */
    uint32_t n_threads;                /* 1 .. n */
    struct thread_pool *threads;       /* the caller of a measurement is one of them */
};

/* Opens n_environments (0: as many as suit so many threads) of this URI, or as many as may be open at
 * once, and starts n_threads (>= 1) threads; or one for each environment where there are fewer of
 * these, or where a step takes real time. Errors as environment_open; NO_MEMORY, also where a thread cannot be started. */
status environment_pool_open(struct environment_pool **pool, const char *uri, uint32_t n_threads,
                             uint32_t n_environments, struct err *err) MUST_CHECK;
/* The environments of thread i are those from here up to those of thread i + 1. */
uint32_t environment_pool_first(const struct environment_pool *pool, uint32_t i);
void environment_pool_close(struct environment_pool *pool); /* NULL is fine */

#endif
