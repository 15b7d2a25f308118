/* In place of exchange_mpi.c in a build without MPI. See exchange.h.
 *
 * No process is started by MPI in such a build, so learners ask once, hear no, and never come to
 * the other two functions. */
#include "learner/exchange/exchange_kind.h"

bool exchange_mpi_started(uint32_t *rank, uint32_t *ranks)
{
    (void)rank;
    (void)ranks;
    return false;
}

status exchange_open_mpi(struct exchange **exchange, const struct exchange_options *options,
                         struct err *err)
{
    (void)exchange;
    (void)options;
    return err_set(err, STATUS_UNIMPLEMENTED, "built without MPI");
}

void exchange_mpi_finish(bool failed)
{
    (void)failed;
}
