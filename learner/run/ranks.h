/* How a process opens its exchange with the other ranks, from its options. */
#ifndef HINDCAST_LEARNER_RUN_RANKS_H
#define HINDCAST_LEARNER_RUN_RANKS_H

#include "learner/exchange/exchange.h"
#include "learner/run/follower.h"
#include "learner/run/options.h"

/* To be called right after the options were read. Where mpirun or srun started this process with
 * others (*mpi), takes rank and ranks from them; fills in the exchange's address. */
void ranks_settle(struct learner_options *options, const struct experiment *experiment, bool *mpi);

/* Rank 0 has a `server`, not started yet; the others a `follower`. What is not given is NULL. */
status ranks_open(struct exchange **exchange, const struct learner_options *options,
                  const struct experiment *experiment, bool mpi, struct rpc_server *server,
                  struct follower *follower, struct err *err) MUST_CHECK;

#endif
