/* A team of threads that run one function together, one thread per core: the caller is thread 0.
 * Waits are short turns, then a condition variable: a team at rest costs nothing. Used from one
 * thread. */
#ifndef HINDCAST_LEARNER_STEP_TEAM_H
#define HINDCAST_LEARNER_STEP_TEAM_H

#include "common/base/status.h"

struct team;

/* Starts n - 1 threads. NO_MEMORY, also where a thread cannot be started. */
status team_new(struct team **team, int n, struct err *err) MUST_CHECK;
void team_free(struct team *team);
int team_size(const struct team *team);

/* Calls work(arg, i) for i = 0 .. n-1, each on its thread; returns when all have. */
void team_run(struct team *team, void (*work)(void *arg, int i), void *arg);

#endif
