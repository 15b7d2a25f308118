/* How a process opens its exchange with the other ranks, from its options. */
#ifndef HINDCAST_LEARNER_RUN_RANKS_H
#define HINDCAST_LEARNER_RUN_RANKS_H

#include "learner/exchange/exchange.h"
#include "learner/run/follower.h"
#include "learner/run/options.h"

/* First of all, after the options were read: rank and ranks are those that mpirun or srun gave,
 * where they started this process with others (*mpi); the exchange's address is filled in. */
void ranks_settle(struct learner_options *options, const struct experiment *experiment, bool *mpi);

/* Rank 0 has a `server`, not started yet; the others a `follower`. What is not given is NULL. */
status ranks_open(struct exchange **exchange, const struct learner_options *options,
                  const struct experiment *experiment, bool mpi, struct rpc_server *server,
                  struct follower *follower, struct err *err) MUST_CHECK;

#endif
