/* The exchange over MPI. See exchange.h.
 *
 * Rank 0 opens the group with three broadcasts (what it is, texts, the state); then each step is a
 * gather of all ranks' sums to rank 0 and a broadcast of its answer: the total, or the end. The
 * sums are added there, in the order of ranks: the same bits as over gRPC. All operations are begun
 * without waiting and polled, so that a rank can say what it waits for. MPI ends all ranks when one
 * dies; the job goes on from rank 0's checkpoint when it is started again. */
#include <inttypes.h>
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "learner/exchange_kind.h"
#include "learner/group.h"

#define LOG_MODULE "exchange"
#include "common/base/log.h"

#define LIMIT_MS    60000 /* for what all ranks are known to be about to do */
#define END_MS      30000 /* for a rank that is on its way to the barrier */
#define POLLS_FAST  2000  /* polls that only yield; then it sleeps between them */
#define SLEEP_NS    50000
#define FINISH_MS   10 /* between polls while rank 0 lingers */
#define HEADER_SIZE 320

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
    unsigned char pad[HEADER_SIZE - EXCHANGE_TEXT_SIZE - 16];
};

_Static_assert(sizeof(struct word) == 64, "the sums behind it are aligned");
_Static_assert(sizeof(struct answer) == HEADER_SIZE && HEADER_SIZE % 64 == 0, "and here");

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

/* Not all came to an end in order: the job is to be ended. */
static bool mpi_failed;

/* ---- Waiting ---- */

/* Is it done by then? Keeps the processor busy for a short time only. */
static bool done_by(MPI_Request *request, uint64_t deadline_ns)
{
    for (unsigned polls = 0;; polls++) {
        int done = 0;
        if (MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) {
            return false; /* MPI has ended the job by then */
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

static uint64_t deadline_of(uint64_t timeout_ms)
{
    return clock_now_ns() + timeout_ms * NS_PER_MS;
}

static bool broadcast(void *bytes, size_t size, uint64_t timeout_ms)
{
    MPI_Request request;
    MPI_Ibcast(bytes, (int)size, MPI_BYTE, 0, MPI_COMM_WORLD, &request);
    return done_by(&request, deadline_of(timeout_ms));
}

static status too_late(const struct over_mpi *mpi, struct err *err)
{
    return err_set(err, STATUS_INTERNAL, "rank %u of %u: the others did not come within %d s",
                   mpi->base.rank, mpi->base.ranks, LIMIT_MS / 1000);
}

/* ---- Forming ---- */

/* Signature and terms of rank 0, and how each rank likes them. */
static status agree(struct over_mpi *mpi, struct exchange_start *start, char *text, struct err *err)
{
    char mine[EXCHANGE_TEXT_SIZE] = "";
    char *all = mem_array(mpi->base.ranks, EXCHANGE_TEXT_SIZE);
    if (all == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "exchange");
    }
    if (mpi->base.rank != 0) {
        struct err why = {0};
        const char *terms = text + strlen(text) + 1;
        status s = exchange_compare_terms(terms, mpi->terms, &why);
        s = s != STATUS_OK ? s : signature_from_json(&start->signature, text, &why);
        s = s != STATUS_OK ? s : mpi->make(mpi->make_arg, start, &why);
        if (s == STATUS_OK && (start->state->layout.size != mpi->opening.n_parameters ||
                               mpi->n_scalars != mpi->opening.n_scalars)) {
            s = err_set(&why, STATUS_MISMATCH, "%zu parameters, expected %" PRIu64,
                        start->state->layout.size, mpi->opening.n_parameters);
        }
        if (s != STATUS_OK) {
            snprintf(mine, sizeof mine, "rank %u: %.200s", mpi->base.rank, why.text);
        }
    }
    MPI_Request request;
    MPI_Iallgather(mine, EXCHANGE_TEXT_SIZE, MPI_BYTE, all, EXCHANGE_TEXT_SIZE, MPI_BYTE,
                   MPI_COMM_WORLD, &request);
    status s = done_by(&request, deadline_of(LIMIT_MS)) ? STATUS_OK : too_late(mpi, err);
    for (uint32_t r = 0; s == STATUS_OK && r < mpi->base.ranks; r++) {
        const char *said = all + (size_t)r * EXCHANGE_TEXT_SIZE;
        if (said[0]) {
            s = err_set(err, STATUS_MISMATCH, "%.*s", EXCHANGE_TEXT_SIZE - 1, said);
        }
    }
    mem_free(all);
    return s;
}

static status make_room(struct over_mpi *mpi, size_t n_parameters, struct err *err)
{
    if (n_parameters > EXCHANGE_PARAMETERS_MAX) {
        return err_set(err, STATUS_INVALID,
                       "%zu parameters: several learners can share at most %zu", n_parameters,
                       EXCHANGE_PARAMETERS_MAX);
    }
    mpi->sums_size = exchange_sums_size(n_parameters, mpi->n_scalars);
    /* Each rank's piece begins on a line of its own. */
    const size_t piece = (sizeof(struct word) + mpi->sums_size + 63) / 64 * 64;
    mpi->own = mem_aligned(piece);
    mpi->answer = mem_aligned(sizeof(struct answer) + mpi->sums_size);
    mpi->all = mpi->base.rank == 0 ? mem_aligned(piece * mpi->base.ranks) : NULL;
    if (mpi->own == NULL || mpi->answer == NULL || (mpi->base.rank == 0 && mpi->all == NULL)) {
        return err_set(err, STATUS_NO_MEMORY, "exchange: sums");
    }
    mpi->piece = piece;
    for (uint32_t r = 1; mpi->all != NULL && r < mpi->base.ranks; r++) {
        mpi->parts[r - 1] = mpi->all + r * piece + sizeof(struct word);
    }
    return STATUS_OK;
}

/* After the opening: texts, verdicts, the state. All ranks are in here at once. */
static status open_group(struct over_mpi *mpi, struct exchange_start *start, char *text,
                         struct err *err)
{
    if (!broadcast(text, mpi->opening.text_size, LIMIT_MS)) {
        return too_late(mpi, err);
    }
    status s = agree(mpi, start, text, err);
    s = s != STATUS_OK ? s : make_room(mpi, start->state->layout.size, err);
    float *blocks[EXCHANGE_BLOCKS];
    for (size_t i = 0; s == STATUS_OK && i < EXCHANGE_BLOCKS; i++) {
        exchange_blocks(start->state, blocks);
        if (!broadcast(blocks[i], start->state->layout.size * sizeof(float), LIMIT_MS)) {
            s = too_late(mpi, err);
        }
    }
    if (s == STATUS_OK) {
        start->state->step = mpi->opening.step;
        mpi->stage = STAGE_SUMS;
        mpi->base.counts.generation = 1;
        log_info("rank %u of %u learns over MPI step=%" PRIu64 " batch=%" PRIu64, mpi->base.rank,
                 mpi->base.ranks, mpi->opening.step, mpi->opening.next_batch);
    }
    return s;
}

static status form_rank_0(struct over_mpi *mpi, struct exchange_start *start, struct err *err)
{
    char *signature = signature_to_json(&start->signature);
    const size_t n = signature != NULL ? strlen(signature) + 1 : 0;
    const size_t size = n + strlen(mpi->terms) + 1;
    char *text = mem_new(size);
    status s =
        signature == NULL || text == NULL ? err_set(err, STATUS_NO_MEMORY, "exchange") : STATUS_OK;
    if (s == STATUS_OK) {
        memcpy(text, signature, n);
        memcpy(text + n, mpi->terms, size - n);
        mpi->opening = (struct opening){.step = start->state->step,
                                        .next_batch = start->next_batch,
                                        .n_parameters = start->state->layout.size,
                                        .n_scalars = mpi->n_scalars,
                                        .text_size = size,
                                        .learning_seconds = start->learning_seconds};
        snprintf(mpi->opening.run_id, sizeof mpi->opening.run_id, "%s", start->run_id);
        s = broadcast(&mpi->opening, sizeof mpi->opening, LIMIT_MS)
                ? open_group(mpi, start, text, err)
                : too_late(mpi, err);
    }
    mem_free(signature);
    mem_free(text);
    return s;
}

static status end_by(struct over_mpi *mpi, bool finished, const char *reason, struct err *err)
{
    mpi->stage = STAGE_OVER;
    mpi->base.end_of.finished = finished;
    snprintf(mpi->base.end_of.reason, sizeof mpi->base.end_of.reason, "%s", reason);
    return err_set(err, STATUS_CLOSED, "rank 0 has ended: %s", reason);
}

static status form_other(struct over_mpi *mpi, struct exchange_start *start, uint64_t timeout_ms,
                         struct err *err)
{
    if (!mpi->begun) {
        MPI_Ibcast(&mpi->opening, sizeof mpi->opening, MPI_BYTE, 0, MPI_COMM_WORLD, &mpi->request);
        mpi->begun = true;
    }
    if (!done_by(&mpi->request, deadline_of(timeout_ms))) {
        return err_set(err, STATUS_TIMEOUT, "for rank 0 of %u", mpi->base.ranks);
    }
    mpi->begun = false;
    if (mpi->opening.ends) {
        return end_by(mpi, mpi->opening.finished != 0, mpi->opening.reason, err);
    }
    char *text = mem_new(mpi->opening.text_size);
    if (text == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "exchange");
    }
    start->next_batch = mpi->opening.next_batch;
    start->learning_seconds = mpi->opening.learning_seconds;
    memcpy(start->run_id, mpi->opening.run_id, sizeof start->run_id);
    const status s = open_group(mpi, start, text, err);
    mem_free(text);
    return s;
}

static status mpi_form(struct exchange *exchange, struct exchange_start *start, uint64_t timeout_ms,
                       struct err *err)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    ASSERT(mpi->stage == STAGE_FORMING); /* a group that broke is a job that has ended */
    const status s = exchange->rank == 0 ? form_rank_0(mpi, start, err)
                                         : form_other(mpi, start, timeout_ms, err);
    if (s != STATUS_OK && s != STATUS_TIMEOUT) {
        mpi->stage = STAGE_OVER; /* at all ranks: nobody waits for a word more */
    }
    return s;
}

/* ---- The barrier ---- */

/* Begins this rank's part of the gather: its word, and behind it the sums, where there are any. */
static void begin_gather(struct over_mpi *mpi)
{
    MPI_Igather(mpi->own, (int)mpi->piece, MPI_BYTE, mpi->all, (int)mpi->piece, MPI_BYTE, 0,
                MPI_COMM_WORLD, &mpi->request);
    mpi->begun = true;
}

static void begin_answer(struct over_mpi *mpi)
{
    MPI_Ibcast(mpi->answer, (int)(sizeof(struct answer) + mpi->sums_size), MPI_BYTE, 0,
               MPI_COMM_WORLD, &mpi->request);
    mpi->begun = true;
    mpi->stage = STAGE_ANSWER;
}

static void bring_sums(struct over_mpi *mpi, const struct exchange_mark *mark,
                       struct update_sums sums)
{
    const struct word word = {.mark = *mark};
    memcpy(mpi->own, &word, sizeof word);
    exchange_sums_write(mpi->own + sizeof word, sums);
    begin_gather(mpi);
}

/* Rank 0, when all words are there: may they be added? CLOSED: a rank leaves. */
static status look_at_words(struct over_mpi *mpi, const struct exchange_mark *mark, struct err *err)
{
    for (uint32_t r = 1; r < mpi->base.ranks; r++) {
        struct word word;
        memcpy(&word, mpi->all + r * mpi->piece, sizeof word);
        if (word.leaves) {
            return err_set(err, STATUS_CLOSED, "rank %u leaves", r);
        }
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

static void set_answer(struct over_mpi *mpi, enum answer_kind kind, bool finished, const char *text)
{
    struct answer answer = {.kind = kind, .finished = finished};
    snprintf(answer.text, sizeof answer.text, "%s", text);
    memcpy(mpi->answer, &answer, sizeof answer);
}

static status answer_rank_0(struct over_mpi *mpi, const struct exchange_mark *mark,
                            struct update_sums sums, struct err *err)
{
    status s = look_at_words(mpi, mark, err);
    if (s == STATUS_CLOSED) {
        mpi->gathered = true; /* the trainer ends, and end() answers */
        return s;
    }
    if (s == STATUS_OK) {
        set_answer(mpi, ANSWER_TOTAL, false, "");
        exchange_sums_add(mpi->answer + sizeof(struct answer), sums, mpi->parts,
                          mpi->base.ranks - 1);
    } else {
        set_answer(mpi, ANSWER_DIFFERENT, false, err->text);
    }
    begin_answer(mpi);
    if (!done_by(&mpi->request, deadline_of(LIMIT_MS))) {
        return too_late(mpi, err);
    }
    mpi->begun = false;
    mpi->stage = s == STATUS_OK ? STAGE_SUMS : STAGE_OVER;
    return s;
}

static status read_answer(struct over_mpi *mpi, struct update_sums sums, struct err *err)
{
    struct answer answer;
    memcpy(&answer, mpi->answer, sizeof answer);
    mpi->begun = false;
    if (answer.kind == ANSWER_END) {
        return end_by(mpi, answer.finished != 0, answer.text, err);
    }
    if (answer.kind != ANSWER_TOTAL) {
        mpi->stage = STAGE_OVER;
        return err_set(err, STATUS_CORRUPT, "%s", answer.text);
    }
    const unsigned char *total = mpi->answer + sizeof answer;
    const size_t gradients = sums.n_gradients * sizeof(float);
    memcpy(sums.gradients, total, gradients);
    memcpy(sums.scalars, total + gradients, sums.n_scalars * sizeof(double));
    mpi->stage = STAGE_SUMS;
    return STATUS_OK;
}

static status mpi_sum(struct exchange *exchange, const struct exchange_mark *mark,
                      struct update_sums sums, uint64_t timeout_ms, struct err *err)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    const uint64_t deadline_ns = deadline_of(timeout_ms);
    if (mpi->stage == STAGE_SUMS && !mpi->begun) {
        bring_sums(mpi, mark, sums);
        exchange->counts.bytes +=
            2 * mpi->sums_size * (exchange->rank == 0 ? exchange->ranks - 1 : 1);
    }
    while (done_by(&mpi->request, deadline_ns)) {
        if (mpi->stage == STAGE_ANSWER) {
            return read_answer(mpi, sums, err);
        }
        mpi->begun = false;
        if (exchange->rank == 0) {
            return answer_rank_0(mpi, mark, sums, err);
        }
        begin_answer(mpi);
    }
    return err_set(err, STATUS_TIMEOUT, "for the other ranks of %u at step %" PRIu64,
                   exchange->ranks, mark->step + 1);
}

/* There is nothing to look for: all news comes by the answers. */
static status mpi_waits(struct exchange *exchange, const char *what, struct err *err)
{
    (void)exchange;
    (void)what;
    (void)err;
    return STATUS_OK;
}

/* ---- The end ---- */

static void end_rank_0(struct over_mpi *mpi, bool finished, const char *reason)
{
    bool told = true;
    if (mpi->stage == STAGE_FORMING) {
        mpi->opening = (struct opening){.ends = 1, .finished = finished};
        snprintf(mpi->opening.reason, sizeof mpi->opening.reason, "%s", reason);
        told = broadcast(&mpi->opening, sizeof mpi->opening, END_MS);
    } else if (mpi->stage == STAGE_SUMS) {
        if (!mpi->gathered && !mpi->begun) {
            begin_gather(mpi);
        }
        told = mpi->gathered || done_by(&mpi->request, deadline_of(END_MS));
        if (told) {
            set_answer(mpi, ANSWER_END, finished, reason);
            begin_answer(mpi);
            told = done_by(&mpi->request, deadline_of(END_MS));
        }
    }
    if (!told) {
        log_warn("not all ranks have come to the end within %d s", END_MS / 1000);
        mpi_failed = true;
    }
}

/* Another rank was asked to stop: it says so in the place of sums, and rank 0 ends all. */
static void end_other(struct over_mpi *mpi)
{
    const uint64_t deadline_ns = deadline_of(END_MS);
    struct err err = {0};
    if (mpi->stage == STAGE_FORMING) {
        (void)done_by(&mpi->request, deadline_ns);
        return;
    }
    if (mpi->stage == STAGE_SUMS && !mpi->begun) {
        const struct word word = {.leaves = 1};
        memcpy(mpi->own, &word, sizeof word);
        begin_gather(mpi);
    }
    while ((mpi->stage == STAGE_SUMS || mpi->stage == STAGE_ANSWER) &&
           done_by(&mpi->request, deadline_ns)) {
        if (mpi->stage == STAGE_SUMS) {
            begin_answer(mpi);
            continue;
        }
        struct answer answer;
        memcpy(&answer, mpi->answer, sizeof answer);
        if (answer.kind == ANSWER_TOTAL) { /* sums were on their way when we were asked */
            const struct word word = {.leaves = 1};
            memcpy(mpi->own, &word, sizeof word);
            mpi->stage = STAGE_SUMS;
            begin_gather(mpi);
        } else {
            (void)end_by(mpi, answer.finished != 0, answer.text, &err);
        }
    }
    mpi_failed = mpi_failed || mpi->stage != STAGE_OVER;
}

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
    return true; /* end() waits for it */
}

/* ---- Life ---- */

static void mpi_close(struct exchange *exchange)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    /* What MPI may still write into is left to the process's end. */
    if (mpi->stage == STAGE_OVER && !mpi_failed) {
        mem_free(mpi->own);
        mem_free(mpi->all);
        mem_free(mpi->answer);
        mem_free(mpi->terms);
        mem_free(mpi);
    }
}

static const struct exchange_kind KIND = {.form = mpi_form,
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
    mpi->base = (struct exchange){.kind = &KIND, .rank = options->rank, .ranks = options->ranks};
    mpi->terms = terms;
    mpi->n_scalars = options->n_scalars;
    mpi->make = options->make;
    mpi->make_arg = options->make_arg;
    *exchange = &mpi->base;
    return STATUS_OK;
}

/* More than one task, by the environment that launchers give. */
static bool launched(void)
{
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
    int level, own, all;
    if (!launched() || MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS) {
        return false;
    }
    MPI_Comm_rank(MPI_COMM_WORLD, &own);
    MPI_Comm_size(MPI_COMM_WORLD, &all);
    if (all < 2 || level < MPI_THREAD_SERIALIZED) {
        fprintf(stderr,
                "hindcast-learner: started with others, but MPI knows of %d: "
                "srun wants --mpi=pmix\n",
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
    if (failed || mpi_failed) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    /* Rank 0 may linger; nobody should keep a processor busy for it. */
    MPI_Request request;
    int done = MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS;
    while (!done && MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done) {
        clock_sleep_ms(FINISH_MS);
    }
    MPI_Finalize();
}
