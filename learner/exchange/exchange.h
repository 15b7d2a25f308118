/* The exchange of several learners: ranks 0 .. R-1 begin from rank 0's state, and add up the sums
 * of each step in the order of ranks, so that all take the same step, that of one learner with the
 * whole batch. Two ways to do it, chosen when it is opened: gRPC (exchange_host.c at rank 0,
 * exchange_client.c at the others) and MPI (exchange_mpi.c). docs/several_learners.md.
 *
 *     form -> { sum .. } -> end          GROUP_BROKEN from sum: the group broke; form again
 *
 * One thread, but for exchange_told. What may take long returns TIMEOUT, with a
 * few words about what it waits for, and is called again with the same arguments. */
#ifndef HINDCAST_LEARNER_EXCHANGE_EXCHANGE_H
#define HINDCAST_LEARNER_EXCHANGE_EXCHANGE_H

#include "common/base/experiment.h"
#include "common/rpc/server.h"
#include "common/trajectory/signature.h"
#include "learner/step/state.h"
#include "learner/step/update.h"

#define EXCHANGE_TEXT_SIZE      256
#define EXCHANGE_MESSAGE_MAX    ((64u << 20) + 65536u) /* as the server of Parameters has it */
#define EXCHANGE_PARAMETERS_MAX ((size_t)15 << 20)     /* a block or sums fit a message */

struct exchange;

/* What all ranks begin from. */
struct exchange_start {
    char run_id[64];
    uint64_t next_batch;
    double learning_seconds;
    struct signature signature; /* of the table */
    struct state *state;
};

/* Makes start->state for start->signature: called at ranks that are told what to begin from, once
 * all else in `start` is known. A rank that begins again may leave the state it has. */
typedef status exchange_make(void *arg, struct exchange_start *start, struct err *err);

struct exchange_options {
    uint32_t rank, ranks; /* ranks 2 or more */
    const char *address;  /* gRPC: of rank 0, where others find it */
    const struct experiment *experiment;
    double timeout_seconds;    /* a rank that is waited for may be silent so long */
    const char *terms;         /* what all must have in common (learner_options_terms) */
    struct rpc_server *server; /* gRPC, rank 0: gets the service; not started yet */
    const char
        *record_path; /* gRPC, rank 0: file that keeps the number of the generation; NULL: none */
    size_t n_scalars; /* of the sums */
    exchange_make *make; /* other ranks */
    void *make_arg;
};

/* Everything but `server` is copied or lives as long as the exchange. */
status exchange_open_grpc(struct exchange **exchange, const struct exchange_options *options,
                          struct err *err) MUST_CHECK;

/* Was this process started by mpirun or srun with others? Then *rank and *ranks are set, and
 * exchange_open_mpi is the way. False, always, in a build without MPI. To be called first of all.
 */
bool exchange_mpi_started(uint32_t *rank, uint32_t *ranks);
status exchange_open_mpi(struct exchange **exchange, const struct exchange_options *options,
                         struct err *err) MUST_CHECK;
/* The last that a process does with MPI; `failed`: all others of the job are ended, too. */
void exchange_mpi_finish(bool failed);

/* All ranks together, with the same state. Rank 0 gives `start` whole; at the others it is filled
 * in. OK. TIMEOUT: not yet, also where another process has this rank. CLOSED: the run has ended
 * (exchange_end_of). MISMATCH, INVALID, CORRUPT, DENIED: final, the text says why. */
status exchange_form(struct exchange *exchange, struct exchange_start *start, uint64_t timeout_ms,
                     struct err *err) MUST_CHECK;

/* Where the step begins. */
struct exchange_mark {
    uint64_t step;   /* learner steps done */
    uint64_t batch;  /* that the sums are of */
    uint64_t digest; /* of the state before the step: compared */
};

/* sums <- those of all ranks, added in their order. TIMEOUT: some are still awaited. GROUP_BROKEN: the
 * group broke and this step was not taken by rank 0 (others may have): form again. CLOSED: the end.
 * CORRUPT: the ranks' parameters differ; the text names rank and step. Only after OK have the sums
 * changed. Over MPI rank 0, too, is told CLOSED: a rank leaves, and all stop. */
status exchange_sum(struct exchange *exchange, const struct exchange_mark *mark,
                    struct update_sums sums, uint64_t timeout_ms, struct err *err) MUST_CHECK;

/* Between sums, while something keeps this rank from coming: says that it is alive, and looks for
 * news. OK, or what exchange_sum would say: GROUP_BROKEN, CLOSED, or final. */
status exchange_waits(struct exchange *exchange, const char *what, struct err *err) MUST_CHECK;

/* Rank 0: no step more; all are told. `finished`: the run is over for good; else it will go on.
 * Other ranks: this one leaves. */
void exchange_end(struct exchange *exchange, bool finished, const char *reason);
struct exchange_end {
    bool finished;
    char reason[EXCHANGE_TEXT_SIZE];
};
/* Other ranks, after CLOSED: what rank 0 said. */
struct exchange_end exchange_end_of(const struct exchange *exchange);
/* Rank 0, any thread: do all the others know of the end? */
bool exchange_told(struct exchange *exchange);

/* What it has cost, at this rank. */
struct exchange_counts {
    uint64_t generation;
    uint64_t sums;    /* barriers passed */
    uint64_t bytes;   /* sent and received, messages' payloads */
    uint64_t wait_ns; /* in exchange_sum */
};
struct exchange_counts exchange_counts(const struct exchange *exchange);

/* gRPC: after the server is closed. NULL is fine. */
void exchange_close(struct exchange *exchange);

#endif
