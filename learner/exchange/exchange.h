/* The exchange of several learners. Ranks 0 .. R-1 begin from rank 0's state and add the sums of
 * each step in the order of ranks, so that all take the same step: that of one learner with the
 * whole batch. There are two kinds, chosen when the exchange is opened: gRPC (exchange_host.c at
 * rank 0, exchange_client.c at the others) and MPI (exchange_mpi.c). docs/several_learners.md.
 *
 *     form -> { sum .. } -> end          GROUP_BROKEN from sum: form again
 *
 * One thread, except for exchange_told. A function with `timeout_ms` returns TIMEOUT, with a text
 * that says what it waits for, and is then called again with the same arguments. */
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
    uint64_t n_parameters;      /* of rank 0's state; set before exchange_make is called */
    struct state *state;
};

/* Makes start->state for start->signature. Called at ranks other than 0 once everything else in
 * `start` is known. A rank that begins again may keep the state it has. */
typedef status exchange_make(void *arg, struct exchange_start *start, struct err *err);

struct exchange_options {
    uint32_t rank, ranks; /* ranks 2 or more */
    const char *address;  /* gRPC: of rank 0, where others find it */
    const struct experiment *experiment;
    double timeout_seconds;    /* how long a rank that is waited for may be silent */
    const char *terms;         /* what all ranks must have in common (learner_options_terms) */
    struct rpc_server *server; /* gRPC, rank 0: gets the service; not started yet */
    /* gRPC, rank 0: a counter_file with the number of the newest generation, so that a rank 0 that
     * is started again does not use a number that other ranks have seen. NULL: none. */
    const char *record_path;
    size_t n_scalars;    /* of the sums */
    exchange_make *make; /* other ranks */
    void *make_arg;
};

/* `server` and `experiment` must outlive the exchange; the rest is copied. */
status exchange_open_grpc(struct exchange **exchange, const struct exchange_options *options,
                          struct err *err) MUST_CHECK;

/* Was this process started by mpirun or srun with others? Then *rank and *ranks are set, and
 * exchange_open_mpi is to be used. Always false in a build without MPI. Must be called before
 * anything else of this header. */
bool exchange_mpi_started(uint32_t *rank, uint32_t *ranks);
status exchange_open_mpi(struct exchange **exchange, const struct exchange_options *options,
                         struct err *err) MUST_CHECK;
/* Ends this process's use of MPI. `failed`: all other processes of the job are ended, too. */
void exchange_mpi_finish(bool failed);

/* Brings all ranks together, with the same state. Rank 0 gives `start` complete; at the others it
 * is filled in. TIMEOUT: not all are there yet, or another process has this rank. CLOSED: the run
 * has ended (exchange_end_of). MISMATCH, INVALID, CORRUPT, DENIED: final; the text says why. */
status exchange_form(struct exchange *exchange, struct exchange_start *start, uint64_t timeout_ms,
                     struct err *err) MUST_CHECK;

/* Where the step begins. */
struct exchange_mark {
    uint64_t step;   /* learner steps done */
    uint64_t batch;  /* number of the batch that the sums come from */
    uint64_t digest; /* of the state before the step; compared with rank 0's */
};

/* sums <- those of all ranks, added in their order. They change only where OK is returned. TIMEOUT:
 * some are still awaited. GROUP_BROKEN: rank 0 has not taken this step (others may have); form
 * again. CLOSED: the run has ended; over MPI rank 0 returns it, too, when a rank leaves and all
 * stop. CORRUPT: parameters differ between ranks; the text names rank and step. */
status exchange_sum(struct exchange *exchange, const struct exchange_mark *mark,
                    struct update_sums sums, uint64_t timeout_ms, struct err *err) MUST_CHECK;

/* To be called between sums while something keeps this rank from its step: tells rank 0 that it is
 * alive and what it waits for, and looks for messages. OK, or what exchange_sum would return:
 * GROUP_BROKEN, CLOSED, or a final status. */
status exchange_waits(struct exchange *exchange, const char *what, struct err *err) MUST_CHECK;

/* Can these sums be added to those of up to GROUP_RANKS_MAX - 1 other ranks, with a finite result?
 * CORRUPT: no; the text says which number is at fault. */
status exchange_sums_check(struct update_sums sums, struct err *err) MUST_CHECK;

/* Rank 0: takes no further step and tells all ranks. `finished`: the run is over for good;
 * otherwise it will go on later. Other ranks: this one leaves the group. */
void exchange_end(struct exchange *exchange, bool finished, const char *reason);
struct exchange_end {
    bool finished;
    char reason[EXCHANGE_TEXT_SIZE];
};
/* Other ranks, after CLOSED: what rank 0 sent. */
struct exchange_end exchange_end_of(const struct exchange *exchange);
/* Rank 0, any thread: have all other ranks been told of the end? */
bool exchange_told(struct exchange *exchange);

/* What the exchange has cost at this rank. */
struct exchange_counts {
    uint64_t generation;
    uint64_t sums;                       /* barriers passed */
    uint64_t sent_bytes, received_bytes; /* payloads of sums and totals */
    uint64_t wait_ns;                    /* in exchange_sum */
};
struct exchange_counts exchange_counts(const struct exchange *exchange);

/* gRPC: after the server is closed. NULL is fine. */
void exchange_close(struct exchange *exchange);

#endif
