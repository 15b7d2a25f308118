/* Several learners on this machine for bench_learner --ranks: what they exchange, and what it
 * costs.
 */
#ifndef HINDCAST_BENCH_LEARNER_RANKS_H
#define HINDCAST_BENCH_LEARNER_RANKS_H

#include "bench/learner_steps.h"

/* Measures `ranks` (2 or more) processes, each pinned to a core, with even slices of the batch,
 * over loopback and over a Unix socket, beside one process with 1 thread and with `ranks` threads,
 * all in turns of `seconds`, `rounds` of them; prints a line for each way. To be called before this
 * process has any thread. Ends the program where it cannot. */
void learner_ranks_run(const struct settings *settings, const struct learner_size *size, int ranks,
                       int rounds, double seconds);

#endif
