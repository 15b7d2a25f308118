/* One rank of the exchange over MPI, as its files share it: exchange_mpi_form.c opens the group;
 * exchange_mpi_barrier.c has the barrier and the end; exchange_mpi.c opens and closes. Internal to
 * them.
 *
 * A barrier, in which each rank sends each other rank two messages:
 *
 *     READY --begin--> PARTS --all ranks bring sums--> TOTALS --all totals are here--> READY
 *                        |                                |
 *                        '--a rank leaves--> ANSWER       | rank 0 answers END
 *                                              |          v
 *                                              '-------> OVER */
#ifndef HINDCAST_LEARNER_EXCHANGE_EXCHANGE_MPI_H
#define HINDCAST_LEARNER_EXCHANGE_EXCHANGE_MPI_H

#include <mpi.h>

#include "learner/exchange/exchange_kind.h"
#include "learner/exchange/group.h"
#include "learner/exchange/slices.h"

#define OVER_MPI_LIMIT_MS 60000 /* for an operation that all ranks are known to begin soon */
#define OVER_MPI_END_MS   30000 /* for a rank that is busy with its step */

/* The first broadcast of rank 0. */
struct opening {
    uint64_t ends, finished; /* no group is formed: rank 0 stops; the run is over */
    uint64_t step, next_batch, n_parameters, n_scalars;
    uint64_t text_size; /* of the second broadcast: signature, a 0, terms, a 0 */
    double learning_seconds;
    char run_id[64];
    char reason[EXCHANGE_TEXT_SIZE];
};

/* What a message is, and what follows its word. */
enum word_kind {
    WORD_SUMS = 1, /* the receiver's slice of the sender's sums */
    WORD_WAITS,    /* a text: the sender's sums will come later, and why */
    WORD_LEAVES,   /* nothing: the sender was asked to stop, no step is taken */
    WORD_TOTAL,    /* the total of the sender's slice */
    WORD_END,      /* a text, from rank 0 in the place of its total: why all stop */
};

struct word {
    uint32_t kind;
    uint32_t finished;         /* END: the run is over for good */
    struct exchange_mark mark; /* SUMS */
    unsigned char pad[32];
};
_Static_assert(sizeof(struct word) == 64, "the slice that follows is aligned");

enum stage { STAGE_FORMING, STAGE_READY, STAGE_PARTS, STAGE_TOTALS, STAGE_ANSWER, STAGE_OVER };

/* Another rank, in the barrier under way. */
struct other_rank {
    MPI_Request receive;            /* of its part, then of its total */
    bool awaited;                   /* the receive is not complete */
    MPI_Request part, total;        /* what is sent to it */
    MPI_Request said;               /* the last word that this rank waits */
    uint64_t heard_ns;              /* time of its last message */
    char waits[EXCHANGE_TEXT_SIZE]; /* what it said it waits for; empty: nothing */
};

struct over_mpi {
    struct exchange base;
    char *terms;
    size_t n_scalars;
    exchange_make *make;
    void *make_arg;
    uint64_t timeout_ns; /* how long a rank that is waited for may be silent */

    enum stage stage;
    MPI_Request request; /* other ranks: of the opening, if `begun` */
    bool begun;
    struct opening opening;

    /* Made when the group forms. A message is a word and a slice or text: `message` bytes. */
    struct slices slices;
    size_t message;
    unsigned char *out;    /* (ranks) messages: this rank's part for each rank */
    unsigned char *in;     /* (ranks) messages: the part or total that each rank has sent */
    unsigned char *total;  /* a message: the total of this rank's slice */
    unsigned char *saying; /* a message: what this rank waits for */

    /* The barrier under way. */
    struct other_rank others[GROUP_RANKS_MAX]; /* this rank's own place is not used */
    uint64_t since_ns;                         /* when this stage of it began */
    uint64_t looked_ns;                        /* when it last looked for silent ranks */
    uint32_t added;                            /* parts of ranks 0 .. added-1 are in `total` */
    bool ending, answered; /* rank 0: is to answer END from now on, has done so */
    uint64_t said_ns;      /* when the others were last told that this rank waits */
};

/* Waits for an operation until the deadline. Polls fast at first, then sleeps between polls. */
bool over_mpi_done(MPI_Request *request, uint64_t deadline_ns);
/* Between two polls: yields at first, then sleeps. `polls` counts them. */
void over_mpi_pause(unsigned polls);
uint64_t over_mpi_deadline(uint64_t timeout_ms); /* of a wait that begins now */
/* Broadcasts from rank 0 to all; false: not complete within that time. */
bool over_mpi_broadcast(void *bytes, size_t size, uint64_t timeout_ms);
/* INTERNAL: the others did not come. */
status over_mpi_late(const struct over_mpi *mpi, struct err *err) MUST_CHECK;
/* CLOSED: rank 0 has ended. Keeps what it said for exchange_end_of. */
status over_mpi_closed(struct over_mpi *mpi, bool finished, const char *reason, struct err *err);
/* Operations may be incomplete for ever: the job is aborted by exchange_mpi_finish, and buffers
 * stay until the process ends. No operation is begun after this. */
void over_mpi_fail(struct over_mpi *mpi);
/* Have all others taken the last word that this rank waits? */
bool over_mpi_said(struct over_mpi *mpi);

/* exchange_form, exchange_sum, exchange_waits, exchange_end. */
status over_mpi_form(struct exchange *exchange, struct exchange_start *start, uint64_t timeout_ms,
                     struct err *err) MUST_CHECK;
status over_mpi_sum(struct exchange *exchange, const struct exchange_mark *mark,
                    struct update_sums sums, uint64_t timeout_ms, struct err *err) MUST_CHECK;
status over_mpi_waits(struct exchange *exchange, const char *what, struct err *err) MUST_CHECK;
void over_mpi_end(struct exchange *exchange, bool finished, const char *reason);

#endif
