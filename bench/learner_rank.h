/* The process of one rank for bench_learner --ranks, and the page of memory by which the ranks of a
 * group and the program that measures them share times. All run on one machine, so their clocks
 * are the same. */
#ifndef HINDCAST_BENCH_LEARNER_RANK_H
#define HINDCAST_BENCH_LEARNER_RANK_H

#include <stdatomic.h>
#include <stdint.h>

#include "bench/learner_steps.h"
#include "learner/exchange/group.h"

/* Pieces of a step, in their order. */
#define RANK_PIECES_MAP(X)                                                                         \
    X(GRADIENTS, "gradients") /* of this rank's part of the batch */                               \
    X(DIGEST, "digest")       /* of the state, which the ranks compare */                          \
    X(WAIT, "wait")           /* for the last rank to come */                                      \
    X(EXCHANGE, "exchange")   /* from then on, until the total is here */                          \
    X(APPLY, "apply")         /* the step with the total */

enum rank_piece {
#define RANK_PIECE_NAME(name, text) RANK_##name,
    RANK_PIECES_MAP(RANK_PIECE_NAME)
#undef RANK_PIECE_NAME
        RANK_PIECES
};

/* Written by one rank; sums over the steps that count. */
struct rank_place {
    _Alignas(64) _Atomic uint64_t arrived_ns[2]; /* of even and of odd steps */
    _Atomic uint64_t steps, ns[RANK_PIECES], sent_bytes, received_bytes;
    _Atomic uint64_t exchange_cpu_ns; /* processor time of all threads in wait and exchange */
};

struct rank_page {
    _Atomic uint64_t asked, answered; /* turns; `seconds` is that of the turn asked for */
    _Atomic double seconds;           /* 0: the last turn, all end */
    atomic_bool bare;                 /* exchange only, without learning */
    atomic_bool paused;               /* no turn is under way: ranks sleep */
    _Atomic uint64_t first_step;      /* of this turn; it does not count */
    struct rank_place places[GROUP_RANKS_MAX];
};

struct rank_job {
    struct settings settings;
    struct learner_size size; /* of the whole batch */
    int rank, ranks;
    const char *address; /* of rank 0, over gRPC; NULL: over MPI */
    struct rank_page *page;
};

/* Steps whenever rank 0 does, which takes turns as the page asks for them. Ends the process. */
_Noreturn void learner_rank_run(const struct rank_job *job);

/* The page in this file, which exists. Ends the program where it cannot. */
struct rank_page *learner_rank_page(const char *path);

#endif
