/* A pool of threads that run one function together, one thread per core: the caller is thread 0.
 * Threads spin briefly, then sleep on a condition variable: an idle pool costs nothing. Used from
 * one thread. */
#ifndef HINDCAST_BASE_THREAD_POOL_H
#define HINDCAST_BASE_THREAD_POOL_H

#include "common/base/status.h"

struct thread_pool;

/* Starts n - 1 threads. NO_MEMORY, also where a thread cannot be started. */
status thread_pool_new(struct thread_pool **pool, int n, struct err *err) MUST_CHECK;
void thread_pool_free(struct thread_pool *pool);
int thread_pool_size(const struct thread_pool *pool);

/* Calls work(arg, i) for i = 0 .. n-1, each on its thread; returns when all have returned. */
void thread_pool_run(struct thread_pool *pool, void (*work)(void *arg, int i), void *arg);

#endif
