/* Several learners on this machine for bench_learner --ranks: what they exchange, and what it
 * costs. */
#ifndef HINDCAST_BENCH_LEARNER_RANKS_H
#define HINDCAST_BENCH_LEARNER_RANKS_H

#include "bench/learner_steps.h"

/* Measures `ranks` (2 or more) processes, each pinned to a core (in turn, where there are fewer
 * cores), with even slices of the batch, over gRPC and, where it is built in, over MPI, beside one
 * process with 1 thread and with a thread for each rank or core, all in turns of `seconds`,
 * `rounds` of them; prints a line for each way. `argv` is this program's own: mpirun starts it again
 * with it. To be called before this process has any thread. Ends the program where it cannot. */
void learner_ranks_run(const struct settings *settings, const struct learner_size *size, int ranks,
                       int rounds, double seconds, char **argv);

/* What mpirun starts: a rank of the group whose page is in this file. */
_Noreturn void learner_ranks_serve(const struct settings *settings, const struct learner_size *size,
                                   const char *page);

#endif
