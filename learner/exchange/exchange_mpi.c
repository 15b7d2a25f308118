/* The exchange over MPI. See exchange.h.
 *
 * Rank 0 opens the group with three broadcasts (an opening, texts, the state; exchange_mpi_form.c).
 * Then each step is a barrier (exchange_mpi_barrier.c) in which each rank adds a slice of the sums,
 * in the order of ranks, which gives the same bits as over gRPC. Here are the waiting that both
 * share, and the beginning and end of MPI in a process.
 *
 * All operations are started without waiting and polled, so that a rank can say what it waits for.
 * MPI ends all ranks when one dies; when the job is started again, it goes on from rank 0's
 * checkpoint. */
#include "learner/exchange/exchange_mpi.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/memory.h"

#define LOG_MODULE "exchange"
#include "common/base/log.h"

#define POLLS_FAST 2000 /* polls that only yield the processor; later ones sleep first */
#define SLEEP_NS   50000
#define FINISH_MS  10 /* between polls while rank 0 lingers */

/* Some rank did not come to the end: the whole job has to be aborted. Read by exchange_mpi_finish,
 * when the exchange is closed already. */
static bool mpi_failed;

/* ---- Waiting ---- */

void over_mpi_pause(unsigned polls)
{
    /* Most operations complete within the fast polls; long waits must not burn a processor. */
    if (polls < POLLS_FAST) {
        sched_yield();
    } else {
        nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
    }
}

bool over_mpi_done(MPI_Request *request, uint64_t deadline_ns)
{
    for (unsigned polls = 0;; polls++) {
        int done = 0;
        if (MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) {
            return false; /* in practice MPI has ended the job before */
        }
        if (done) {
            return true;
        }
        if (polls >= POLLS_FAST && clock_now_ns() >= deadline_ns) {
            return false;
        }
        over_mpi_pause(polls);
    }
}

/* A point in time, for waits that consist of several operations. */
uint64_t over_mpi_deadline(uint64_t timeout_ms)
{
    return clock_now_ns() + timeout_ms * NS_PER_MS;
}

bool over_mpi_broadcast(void *bytes, size_t size, uint64_t timeout_ms)
{
    /* An operation that does not complete is left behind: the job fails then. */
    MPI_Request request;
    MPI_Ibcast(bytes, (int)size, MPI_BYTE, 0, MPI_COMM_WORLD, &request);
    return over_mpi_done(&request, over_mpi_deadline(timeout_ms));
}

status over_mpi_late(const struct over_mpi *mpi, struct err *err)
{
    /* An internal error, because MPI would have ended the job if a rank had died. */
    return err_set(err, STATUS_INTERNAL, "rank %u of %u: the others did not come within %d s",
                   mpi->base.rank, mpi->base.ranks, OVER_MPI_LIMIT_MS / 1000);
}

status over_mpi_closed(struct over_mpi *mpi, bool finished, const char *reason, struct err *err)
{
    /* No more operations are begun; the reason is kept for exchange_end_of. */
    mpi->stage = STAGE_OVER;
    mpi->base.end_of.finished = finished;
    snprintf(mpi->base.end_of.reason, sizeof mpi->base.end_of.reason, "%s", reason);
    return err_set(err, STATUS_CLOSED, "rank 0 has ended: %s", reason);
}

void over_mpi_fail(struct over_mpi *mpi)
{
    mpi->stage = STAGE_OVER;
    mpi_failed = true;
}

/* ---- Opening and closing ---- */

static bool mpi_told(struct exchange *exchange)
{
    (void)exchange;
    return true; /* over_mpi_end has waited for it */
}

static void mpi_close(struct exchange *exchange)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    /* MPI may still use buffers of an operation that did not complete: then they stay until the
     * process ends. */
    if (mpi->stage == STAGE_OVER && !mpi_failed && over_mpi_said(mpi)) {
        mem_free(mpi->out);
        mem_free(mpi->in);
        mem_free(mpi->total);
        mem_free(mpi->saying);
        mem_free(mpi->terms);
        mem_free(mpi);
    }
}

static const struct exchange_kind KIND = {.form = over_mpi_form,
                                          .sum = over_mpi_sum,
                                          .waits = over_mpi_waits,
                                          .end = over_mpi_end,
                                          .told = mpi_told,
                                          .close = mpi_close};

status exchange_open_mpi(struct exchange **exchange, const struct exchange_options *options,
                         struct err *err)
{
    if (options->ranks > GROUP_RANKS_MAX) {
        return err_set(err, STATUS_INVALID, "%u ranks: several learners are at most %d",
                       options->ranks, GROUP_RANKS_MAX);
    }
    struct over_mpi *mpi = mem_new(sizeof *mpi);
    char *terms = mem_text(options->terms);
    if (mpi == NULL || terms == NULL) {
        mem_free(mpi);
        mem_free(terms);
        return err_set(err, STATUS_NO_MEMORY, "exchange");
    }
    /* Buffers are made when the group forms and the sizes are known. */
    mpi->base = (struct exchange){.kind = &KIND, .rank = options->rank, .ranks = options->ranks};
    mpi->terms = terms;
    mpi->n_scalars = options->n_scalars;
    mpi->make = options->make;
    mpi->make_arg = options->make_arg;
    mpi->timeout_ns = (uint64_t)(options->timeout_seconds * 1e9);
    for (uint32_t r = 0; r < GROUP_RANKS_MAX; r++) {
        struct other_rank *other = &mpi->others[r];
        other->receive = other->part = other->total = other->said = MPI_REQUEST_NULL;
    }
    *exchange = &mpi->base;
    return STATUS_OK;
}

/* Does the environment say that a launcher started more than one task? MPI is only initialized
 * then: it takes a second, and must not happen in a learner on its own. */
static bool launched(void)
{
    /* What the launchers of Open MPI, MPICH and Slurm set. */
    static const char *const counts[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE",
                                         "SLURM_STEP_NUM_TASKS"};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        const char *text = getenv(counts[i]);
        if (text != NULL && strtol(text, NULL, 10) > 1) {
            return true;
        }
    }
    return false;
}

bool exchange_mpi_started(uint32_t *rank, uint32_t *ranks)
{
    /* One thread of each process calls MPI at a time: the main thread here, then the training
     * thread. */
    int level, own, all;
    if (!launched() || MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS) {
        return false;
    }
    /* The launcher's numbers are those of the options: rank, and ranks in all. */
    MPI_Comm_rank(MPI_COMM_WORLD, &own);
    MPI_Comm_size(MPI_COMM_WORLD, &all);
    /* A launcher of another MPI starts processes that each believe to be alone: n learners would
     * then write to one run. */
    if (all < 2 || level < MPI_THREAD_SERIALIZED) {
        fprintf(stderr,
                "hindcast-learner: started together with others, but MPI reports %d process(es): "
                "use srun --mpi=pmix\n",
                all);
        MPI_Finalize();
        return false;
    }
    *rank = (uint32_t)own;
    *ranks = (uint32_t)all;
    return true;
}

void exchange_mpi_finish(bool failed)
{
    /* Abort does not return, and ends the ranks that others would wait for. */
    if (failed || mpi_failed) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    /* Rank 0 may linger. MPI_Finalize would wait for it with a busy processor. */
    MPI_Request request;
    int done = MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS;
    while (!done && MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done) {
        clock_sleep_ms(FINISH_MS);
    }
    MPI_Finalize();
}
