/* From options to an exchange. See ranks.h.
 *
 * The generation's counter_file (RUN_DIR/learner.generation) is written by rank 0 alone: a rank 0
 * that is started again must not open a group under a number that other ranks have already seen. */
#include "learner/run/ranks.h"

#include <limits.h>
#include <stdio.h>

#include "common/base/memory.h"
#include "learner/exchange/group.h"
#include "learner/step/operators.h"

#define LOG_MODULE "ranks"
#include "common/base/log.h"

_Static_assert(GROUP_RANKS_MAX <= BATCH_PARTS_MAX, "each rank has its part of the batch");

#define GRPC_RANKS_WELL 8 /* beyond that rank 0's link takes longer than a step */

void ranks_settle(struct learner_options *options, const struct experiment *experiment, bool *mpi)
{
    /* A launcher's word counts more than the options: it knows how many it has started. */
    uint32_t rank, ranks;
    *mpi = exchange_mpi_started(&rank, &ranks);
    if (*mpi) {
        options->rank = rank;
        options->ranks = ranks;
    }
    /* By default the exchange is served where parameters are. */
    if (options->ranks > 1 && !options->exchange[0]) {
        snprintf(options->exchange, sizeof(options->exchange), "%s", experiment->parameters);
    }
}

status ranks_open(struct exchange **exchange, const struct learner_options *options,
                  const struct experiment *experiment, bool mpi, struct rpc_server *server,
                  struct follower *follower, struct err *err)
{
    char record[PATH_MAX];
    /* The numbers of generations. Only rank 0 over gRPC uses the file. */
    snprintf(record, sizeof(record), "%s/learner.generation", experiment->run_dir);
    /* What all ranks must agree on, as one text. */
    char *terms = learner_options_terms(options, experiment->seed);
    if (terms == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "exchange");
    }
    if (!mpi && options->rank == 0 && options->ranks > GRPC_RANKS_WELL) {
        log_warn("%lld ranks over gRPC: rank 0 sends and receives %lld times the gradients in each "
                 "step; over MPI each rank less than twice (docs/several_learners.md)",
                 (long long)options->ranks, (long long)options->ranks - 1);
    }
    /* Only ranks other than 0 make a state: rank 0 sends its own. */
    const struct exchange_options wanted = {.rank = (uint32_t)options->rank,
                                            .ranks = (uint32_t)options->ranks,
                                            .address = options->exchange,
                                            .experiment = experiment,
                                            .timeout_seconds = options->exchange_timeout_seconds,
                                            .terms = terms,
                                            .server = server,
                                            .record_path = record,
                                            .n_scalars = SUMS_COUNT,
                                            .make = follower != NULL ? follower_make : NULL,
                                            .make_arg = follower};
    const status s = mpi ? exchange_open_mpi(exchange, &wanted, err)
                         : exchange_open_grpc(exchange, &wanted, err);
    /* Each kind keeps a copy of the terms. */
    mem_free(terms);
    return s;
}
