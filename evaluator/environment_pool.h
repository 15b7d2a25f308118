/* The evaluator's environments, opened once and reset for each episode, and a thread for each of
 * them. Both live as long as the pool, which is that of the process.
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
    struct thread_pool *threads;       /* of n; the caller of a measurement is one of them */
};

/* Opens `wanted` (>= 1) environments of this URI, or as many as may be open at once. Errors as
 * environment_open; NO_MEMORY, also where a thread cannot be started. */
status environment_pool_open(struct environment_pool **pool, const char *uri, uint32_t wanted,
                             struct err *err) MUST_CHECK;
void environment_pool_close(struct environment_pool *pool); /* NULL is fine */

#endif
