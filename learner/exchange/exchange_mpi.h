/* One rank of the exchange over MPI, as its two files share it: exchange_mpi_form.c opens the
 * group; exchange_mpi.c has the barrier, the end, and the waiting. Internal to both. */
#ifndef HINDCAST_LEARNER_EXCHANGE_EXCHANGE_MPI_H
#define HINDCAST_LEARNER_EXCHANGE_EXCHANGE_MPI_H

#include <mpi.h>

#include "learner/exchange/exchange_kind.h"
#include "learner/exchange/group.h"

#define OVER_MPI_LIMIT_MS    60000 /* for an operation that all ranks are known to begin soon */
#define OVER_MPI_HEADER_SIZE 320

/* The first broadcast of rank 0. */
struct opening {
    uint64_t ends, finished; /* no group is formed: rank 0 stops; the run is over */
    uint64_t step, next_batch, n_parameters, n_scalars;
    uint64_t text_size; /* of the second broadcast: signature, a 0, terms, a 0 */
    double learning_seconds;
    char run_id[64];
    char reason[EXCHANGE_TEXT_SIZE];
};

/* What each rank brings to the barrier; its sums follow. */
struct word {
    uint64_t leaves; /* this rank was asked to stop; the sums have no meaning */
    struct exchange_mark mark;
    unsigned char pad[32];
};

enum answer_kind { ANSWER_TOTAL, ANSWER_END, ANSWER_DIFFERENT };

/* What rank 0 answers; the total follows. */
struct answer {
    uint64_t kind, finished;
    char text[EXCHANGE_TEXT_SIZE];
    unsigned char pad[OVER_MPI_HEADER_SIZE - EXCHANGE_TEXT_SIZE - 16];
};

_Static_assert(sizeof(struct word) == 64, "the sums that follow are aligned");
_Static_assert(sizeof(struct answer) == OVER_MPI_HEADER_SIZE && OVER_MPI_HEADER_SIZE % 64 == 0,
               "the total that follows is aligned");

enum stage { STAGE_FORMING, STAGE_SUMS, STAGE_ANSWER, STAGE_OVER };

struct over_mpi {
    struct exchange base;
    char *terms;
    size_t n_scalars;
    exchange_make *make;
    void *make_arg;

    enum stage stage;
    MPI_Request request; /* of the stage's operation, if `begun` */
    bool begun;
    struct opening opening;
    size_t sums_size;
    unsigned char *own;                    /* word and sums of this rank */
    unsigned char *all;                    /* of all ranks; rank 0 */
    unsigned char *answer;                 /* header and total */
    size_t piece;                          /* bytes of each rank in `all` */
    unsigned char *parts[GROUP_RANKS_MAX]; /* sums of ranks 1 .. in `all` */
    bool gathered; /* rank 0: all words are there; the answer will be the end */
};

/* Waits for an operation until the deadline. Polls fast at first, then sleeps between polls. */
bool over_mpi_done(MPI_Request *request, uint64_t deadline_ns);
uint64_t over_mpi_deadline(uint64_t timeout_ms); /* of a wait that begins now */
/* Broadcasts from rank 0 to all; false: not complete within that time. */
bool over_mpi_broadcast(void *bytes, size_t size, uint64_t timeout_ms);
/* INTERNAL: the others did not come. */
status over_mpi_late(const struct over_mpi *mpi, struct err *err) MUST_CHECK;
/* CLOSED: rank 0 has ended. Keeps what it said for exchange_end_of. */
status over_mpi_closed(struct over_mpi *mpi, bool finished, const char *reason, struct err *err);

/* exchange_form. */
status over_mpi_form(struct exchange *exchange, struct exchange_start *start, uint64_t timeout_ms,
                     struct err *err) MUST_CHECK;

#endif
