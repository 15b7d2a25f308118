/* One rank of the exchange over MPI, as its two files share it: exchange_mpi_form.c opens the
 * group, exchange_mpi.c is the barrier, the end, and what waits. Internal to both. */
#ifndef HINDCAST_LEARNER_EXCHANGE_EXCHANGE_MPI_H
#define HINDCAST_LEARNER_EXCHANGE_EXCHANGE_MPI_H

#include <mpi.h>

#include "learner/exchange/exchange_kind.h"
#include "learner/exchange/group.h"

#define OVER_MPI_LIMIT_MS    60000 /* for what all ranks are known to be about to do */
#define OVER_MPI_HEADER_SIZE 320

/* What rank 0 begins with. */
struct opening {
    uint64_t ends, finished; /* nothing begins: the run is over, or rank 0 stops */
    uint64_t step, next_batch, n_parameters, n_scalars;
    uint64_t text_size; /* of the signature, a 0, the terms, a 0 */
    double learning_seconds;
    char run_id[64];
    char reason[EXCHANGE_TEXT_SIZE];
};

/* What each rank comes to the barrier with; its sums follow. */
struct word {
    uint64_t leaves; /* asked to stop: no sums */
    struct exchange_mark mark;
    unsigned char pad[32];
};

enum answer_kind { ANSWER_TOTAL, ANSWER_END, ANSWER_DIFFERENT };

/* What rank 0 says to it; the total follows. */
struct answer {
    uint64_t kind, finished;
    char text[EXCHANGE_TEXT_SIZE];
    unsigned char pad[OVER_MPI_HEADER_SIZE - EXCHANGE_TEXT_SIZE - 16];
};

_Static_assert(sizeof(struct word) == 64, "the sums behind it are aligned");
_Static_assert(sizeof(struct answer) == OVER_MPI_HEADER_SIZE && OVER_MPI_HEADER_SIZE % 64 == 0,
               "and here");

enum stage { STAGE_FORMING, STAGE_SUMS, STAGE_ANSWER, STAGE_OVER };

struct over_mpi {
    struct exchange base;
    char *terms;
    size_t n_scalars;
    exchange_make *make;
    void *make_arg;

    enum stage stage;
    MPI_Request request; /* of the stage, where begun */
    bool begun;
    struct opening opening;
    size_t sums_size;
    unsigned char *own;                    /* word and sums of this rank */
    unsigned char *all;                    /* of all ranks; rank 0 */
    unsigned char *answer;                 /* header and total */
    size_t piece;                          /* bytes of each rank in `all` */
    unsigned char *parts[GROUP_RANKS_MAX]; /* sums of ranks 1 .. in `all` */
    bool gathered; /* all words are there, and rank 0 will answer by the end */
};

/* Is it done by then? Keeps the processor busy for a short time only. */
bool over_mpi_done(MPI_Request *request, uint64_t deadline_ns);
uint64_t over_mpi_deadline(uint64_t timeout_ms); /* of a wait that begins now */
/* From rank 0 to all; false: not within that time. */
bool over_mpi_broadcast(void *bytes, size_t size, uint64_t timeout_ms);
/* INTERNAL: the others did not come. */
status over_mpi_late(const struct over_mpi *mpi, struct err *err) MUST_CHECK;
/* CLOSED: rank 0 has ended. */
status over_mpi_closed(struct over_mpi *mpi, bool finished, const char *reason, struct err *err);

/* exchange_form. */
status over_mpi_form(struct exchange *exchange, struct exchange_start *start, uint64_t timeout_ms,
                     struct err *err) MUST_CHECK;

#endif
