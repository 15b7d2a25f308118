/* The exchange over MPI. See exchange.h.
 *
 * Rank 0 opens the group with three broadcasts (an opening, texts, the state; exchange_mpi_form.c).
 * Then each step is a gather of all ranks' sums to rank 0 and a broadcast of its answer: the total,
 * or the end. Rank 0 adds the sums in the order of ranks, which gives the same bits as over gRPC.
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

#define END_MS     30000 /* for a rank that is busy with its step */
#define POLLS_FAST 2000  /* polls that only yield the processor; later ones sleep first */
#define SLEEP_NS   50000
#define FINISH_MS  10 /* between polls while rank 0 lingers */

/* Some rank did not come to the end: the whole job has to be aborted. Read by exchange_mpi_finish,
 * when the exchange is closed already. */
static bool mpi_failed;

/* ---- Waiting ---- */

bool over_mpi_done(MPI_Request *request, uint64_t deadline_ns)
{
    /* Most operations complete within the fast polls; long waits must not burn a processor. */
    for (unsigned polls = 0;; polls++) {
        int done = 0;
        if (MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) {
            return false; /* in practice MPI has ended the job before */
        }
        if (done) {
            return true;
        }
        if (polls < POLLS_FAST) {
            sched_yield();
        } else if (clock_now_ns() >= deadline_ns) {
            return false;
        } else {
            nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
        }
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

/* ---- The barrier ---- */

/* Starts this rank's part of the gather: its word, followed by its sums. */
static void begin_gather(struct over_mpi *mpi)
{
    /* Igather takes a place for the result at all ranks; only rank 0's is written. */
    MPI_Igather(mpi->own, (int)mpi->piece, MPI_BYTE, mpi->all, (int)mpi->piece, MPI_BYTE, 0,
                MPI_COMM_WORLD, &mpi->request);
    mpi->begun = true;
}

/* Starts the broadcast of the answer: rank 0 sends, the others receive. */
static void begin_answer(struct over_mpi *mpi)
{
    /* The header and the total are one message, whatever kind of answer it is. */
    MPI_Ibcast(mpi->answer, (int)(sizeof(struct answer) + mpi->sums_size), MPI_BYTE, 0,
               MPI_COMM_WORLD, &mpi->request);
    mpi->begun = true;
    mpi->stage = STAGE_ANSWER;
}

/* Starts the barrier of a step with this rank's sums. */
static void bring_sums(struct over_mpi *mpi, const struct exchange_mark *mark,
                       struct update_sums sums)
{
    /* The word stands in front of the sums, so one gather brings both. */
    const struct word word = {.mark = *mark};
    memcpy(mpi->own, &word, sizeof word);
    exchange_sums_write(mpi->own + sizeof word, sums);
    begin_gather(mpi);
}

/* Rank 0, when all words are there: may the sums be added? CLOSED: a rank leaves. */
static status check_words(struct over_mpi *mpi, const struct exchange_mark *mark, struct err *err)
{
    for (uint32_t r = 1; r < mpi->base.ranks; r++) {
        struct word word;
        memcpy(&word, mpi->all + r * mpi->piece, sizeof word);
        if (word.leaves) {
            return err_set(err, STATUS_CLOSED, "rank %u leaves", r);
        }
        /* All three must agree: step, batch, and the digest of the parameters. */
        if (memcmp(&word.mark, mark, sizeof *mark) != 0) {
            return err_set(err, STATUS_CORRUPT,
                           "rank %u of %u differs from rank 0 before step %" PRIu64
                           ": step %" PRIu64 " batch %" PRIu64 " parameters %016" PRIx64
                           ", expected batch %" PRIu64 " parameters %016" PRIx64,
                           r, mpi->base.ranks, mark->step + 1, word.mark.step + 1, word.mark.batch,
                           word.mark.digest, mark->batch, mark->digest);
        }
    }
    return STATUS_OK;
}

/* The header of rank 0's answer. */
static void set_answer(struct over_mpi *mpi, enum answer_kind kind, bool finished, const char *text)
{
    struct answer answer = {.kind = kind, .finished = finished};
    snprintf(answer.text, sizeof answer.text, "%s", text);
    memcpy(mpi->answer, &answer, sizeof answer);
}

/* Rank 0: adds and answers, or tells all why there is no total. */
static status answer_rank_0(struct over_mpi *mpi, const struct exchange_mark *mark,
                            struct update_sums sums, struct err *err)
{
    status s = check_words(mpi, mark, err);
    if (s == STATUS_CLOSED) {
        mpi->gathered = true; /* the trainer ends the run, and mpi_end() answers */
        return s;
    }
    /* Rank 0's own sums become the total, which is copied behind the header. */
    if (s == STATUS_OK) {
        set_answer(mpi, ANSWER_TOTAL, false, "");
        exchange_sums_add(mpi->answer + sizeof(struct answer), sums, mpi->parts,
                          mpi->base.ranks - 1);
    } else {
        set_answer(mpi, ANSWER_DIFFERENT, false, err->text);
    }
    /* All ranks hear the answer, also one that says why there is no total. */
    begin_answer(mpi);
    if (!over_mpi_done(&mpi->request, over_mpi_deadline(OVER_MPI_LIMIT_MS))) {
        return over_mpi_late(mpi, err);
    }
    mpi->begun = false;
    mpi->stage = s == STATUS_OK ? STAGE_SUMS : STAGE_OVER;
    return s;
}

/* Ranks other than 0: the total, in place of the sums, or the end. */
static status read_answer(struct over_mpi *mpi, struct update_sums sums, struct err *err)
{
    /* What kind of answer is it? */
    struct answer answer;
    memcpy(&answer, mpi->answer, sizeof answer);
    mpi->begun = false;
    if (answer.kind == ANSWER_END) {
        return over_mpi_closed(mpi, answer.finished != 0, answer.text, err);
    }
    if (answer.kind != ANSWER_TOTAL) {
        mpi->stage = STAGE_OVER;
        return err_set(err, STATUS_CORRUPT, "%s", answer.text);
    }
    /* The total replaces the sums. */
    const unsigned char *total = mpi->answer + sizeof answer;
    const size_t gradients = sums.n_gradients * sizeof(float);
    memcpy(sums.gradients, total, gradients);
    memcpy(sums.scalars, total + gradients, sums.n_scalars * sizeof(double));
    mpi->stage = STAGE_SUMS;
    return STATUS_OK;
}

/* See exchange_sum. Rank 0 returns after its answer is sent, the others when they have it. */
static status mpi_sum(struct exchange *exchange, const struct exchange_mark *mark,
                      struct update_sums sums, uint64_t timeout_ms, struct err *err)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    const uint64_t deadline_ns = over_mpi_deadline(timeout_ms);
    /* A call after TIMEOUT goes on polling; the sums are sent once. */
    if (mpi->stage == STAGE_SUMS && !mpi->begun) {
        bring_sums(mpi, mark, sums);
        exchange->counts.bytes +=
            2 * mpi->sums_size * (exchange->rank == 0 ? exchange->ranks - 1 : 1);
    }
    /* Gather, then answer: each is polled until it is complete or the deadline has come. */
    while (over_mpi_done(&mpi->request, deadline_ns)) {
        if (mpi->stage == STAGE_ANSWER) {
            return read_answer(mpi, sums, err);
        }
        /* The gather is complete: rank 0 answers, the others receive the answer. */
        mpi->begun = false;
        if (exchange->rank == 0) {
            return answer_rank_0(mpi, mark, sums, err);
        }
        begin_answer(mpi);
    }
    return err_set(err, STATUS_TIMEOUT, "for the other ranks of %u at step %" PRIu64,
                   exchange->ranks, mark->step + 1);
}

/* Nothing to do: MPI has no messages outside the barrier. */
static status mpi_waits(struct exchange *exchange, const char *what, struct err *err)
{
    (void)exchange;
    (void)what;
    (void)err;
    return STATUS_OK;
}

/* ---- The end ---- */

/* Rank 0 ends the group, wherever the others are: in the opening, or in the barrier. */
static void end_rank_0(struct over_mpi *mpi, bool finished, const char *reason)
{
    /* In the opening the end takes the place of the first broadcast; in the barrier, of the
     * total. */
    bool told = true;
    if (mpi->stage == STAGE_FORMING) {
        mpi->opening = (struct opening){.ends = 1, .finished = finished};
        snprintf(mpi->opening.reason, sizeof mpi->opening.reason, "%s", reason);
        told = over_mpi_broadcast(&mpi->opening, sizeof mpi->opening, END_MS);
    } else if (mpi->stage == STAGE_SUMS) {
        if (!mpi->gathered && !mpi->begun) {
            begin_gather(mpi);
        }
        told = mpi->gathered || over_mpi_done(&mpi->request, over_mpi_deadline(END_MS));
        /* All ranks are in the barrier now, and wait for the answer. */
        if (told) {
            set_answer(mpi, ANSWER_END, finished, reason);
            begin_answer(mpi);
            told = over_mpi_done(&mpi->request, over_mpi_deadline(END_MS));
        }
    }
    /* A rank that never comes cannot be waited for; the job is ended by MPI_Abort. */
    if (!told) {
        log_warn("some ranks did not come to the end within %d s", END_MS / 1000);
        mpi_failed = true;
    }
}

/* A rank other than 0 was asked to stop: it says so in the place of its sums, and rank 0 ends the
 * group. A rank that simply left would keep the others in the barrier. */
static void end_other(struct over_mpi *mpi)
{
    struct err err = {0};
    if (mpi->stage == STAGE_FORMING) { /* rank 0 may be about to form the group with this rank */
        struct exchange_start start = {0};
        if (over_mpi_form(&mpi->base, &start, END_MS, &err) != STATUS_OK) {
            log_info("left before all began: %s", err.text);
        }
    }
    /* It takes part in one more barrier, with a word instead of sums. */
    const uint64_t deadline_ns = over_mpi_deadline(END_MS);
    if (mpi->stage == STAGE_SUMS && !mpi->begun) {
        const struct word word = {.leaves = 1};
        memcpy(mpi->own, &word, sizeof word);
        begin_gather(mpi);
    }
    while ((mpi->stage == STAGE_SUMS || mpi->stage == STAGE_ANSWER) &&
           over_mpi_done(&mpi->request, deadline_ns)) {
        if (mpi->stage == STAGE_SUMS) {
            begin_answer(mpi);
            continue;
        }
        /* Either rank 0 has ended the group, or it has added one more step. */
        struct answer answer;
        memcpy(&answer, mpi->answer, sizeof answer);
        if (answer.kind == ANSWER_TOTAL) { /* this rank was asked after it had sent its sums */
            const struct word word = {.leaves = 1};
            memcpy(mpi->own, &word, sizeof word);
            mpi->stage = STAGE_SUMS;
            begin_gather(mpi);
        } else {
            (void)over_mpi_closed(mpi, answer.finished != 0, answer.text, &err);
        }
    }
    if (mpi->stage != STAGE_OVER) {
        log_warn("rank 0 has not answered within %d s", END_MS / 1000);
        mpi_failed = true;
    }
}

/* Once; later calls find the stage OVER. */
static void mpi_end(struct exchange *exchange, bool finished, const char *reason)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    if (mpi->stage == STAGE_OVER) {
        return;
    }
    if (exchange->rank == 0) {
        end_rank_0(mpi, finished, reason);
    } else {
        end_other(mpi);
    }
    mpi->stage = STAGE_OVER;
}

static bool mpi_told(struct exchange *exchange)
{
    (void)exchange;
    return true; /* mpi_end() has waited for it */
}

/* ---- Opening and closing ---- */

static void mpi_close(struct exchange *exchange)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    /* MPI may still write into buffers of an operation that did not complete: then they stay until
     * the process ends. */
    if (mpi->stage == STAGE_OVER && !mpi_failed) {
        mem_free(mpi->own);
        mem_free(mpi->all);
        mem_free(mpi->answer);
        mem_free(mpi->terms);
        mem_free(mpi);
    }
}

static const struct exchange_kind KIND = {.form = over_mpi_form,
                                          .sum = mpi_sum,
                                          .waits = mpi_waits,
                                          .end = mpi_end,
                                          .told = mpi_told,
                                          .close = mpi_close};

status exchange_open_mpi(struct exchange **exchange, const struct exchange_options *options,
                         struct err *err)
{
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
