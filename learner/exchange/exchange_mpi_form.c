/* Opening the group over MPI. See exchange_mpi.h.
 *
 * Rank 0 broadcasts the opening (sizes, step, run), then the texts (signature, terms). Each rank
 * checks them, and all ranks exchange their verdicts, so that each knows why the group is refused.
 * Then rank 0 broadcasts the four blocks of the state.
 *
 * All ranks call the same operations in the same order: MPI would wait for ever for one that takes
 * another way. A rank that refuses therefore says so in its verdict, and all ranks stop
 * together. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "learner/exchange/exchange_mpi.h"

#define LOG_MODULE "exchange"
#include "common/base/log.h"

/* Checks signature and terms of rank 0 and exchanges the verdicts. MISMATCH: a rank refuses. */
static status agree(struct over_mpi *mpi, struct exchange_start *start, char *text, struct err *err)
{
    /* Every rank has a verdict of fixed size, which the gather needs. */
    char mine[EXCHANGE_TEXT_SIZE] = "";
    char *all = mem_array(mpi->base.ranks, EXCHANGE_TEXT_SIZE);
    if (all == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "exchange");
    }
    /* This rank's verdict; empty: it agrees. */
    if (mpi->base.rank != 0) {
        struct err why = {0};
        const char *terms = text + strlen(text) + 1;
        status s = exchange_compare_terms(terms, mpi->terms, &why);
        s = s != STATUS_OK ? s : signature_from_json(&start->signature, text, &why);
        start->n_parameters = mpi->opening.n_parameters;
        s = s != STATUS_OK ? s : mpi->make(mpi->make_arg, start, &why);
        if (s == STATUS_OK && (state_layout(start->state)->size != mpi->opening.n_parameters ||
                               mpi->n_scalars != mpi->opening.n_scalars)) {
            s = err_set(&why, STATUS_MISMATCH, "%zu parameters, expected %" PRIu64,
                        state_layout(start->state)->size, mpi->opening.n_parameters);
        }
        /* The rank names itself, as all ranks show the same text. */
        if (s != STATUS_OK) {
            snprintf(mine, sizeof mine, "rank %u: %.200s", mpi->base.rank, why.text);
        }
    }
    /* Everyone's verdicts. The first refusal ends all ranks, with the same text. */
    MPI_Request request;
    MPI_Iallgather(mine, EXCHANGE_TEXT_SIZE, MPI_BYTE, all, EXCHANGE_TEXT_SIZE, MPI_BYTE,
                   MPI_COMM_WORLD, &request);
    status s = over_mpi_done(&request, over_mpi_deadline(OVER_MPI_LIMIT_MS))
                   ? STATUS_OK
                   : over_mpi_late(mpi, err);
    for (uint32_t r = 0; s == STATUS_OK && r < mpi->base.ranks; r++) {
        const char *said = all + (size_t)r * EXCHANGE_TEXT_SIZE;
        if (said[0]) {
            s = err_set(err, STATUS_MISMATCH, "%.*s", EXCHANGE_TEXT_SIZE - 1, said);
        }
    }
    mem_free(all);
    return s;
}

/* Makes the buffers of the barrier for sums of this size. */
static status make_buffers(struct over_mpi *mpi, size_t n_parameters, struct err *err)
{
    if (n_parameters > EXCHANGE_PARAMETERS_MAX) {
        return err_set(err, STATUS_INVALID,
                       "%zu parameters: several learners can share at most %zu", n_parameters,
                       EXCHANGE_PARAMETERS_MAX);
    }
    /* The same sizes at all ranks; agree has made sure of it. */
    slices_init(&mpi->slices, n_parameters, mpi->n_scalars, mpi->base.ranks);
    const size_t after =
        mpi->slices.size > EXCHANGE_TEXT_SIZE ? mpi->slices.size : EXCHANGE_TEXT_SIZE;
    mpi->message = sizeof(struct word) + after;
    mpi->out = mem_aligned(mpi->message * mpi->base.ranks);
    mpi->in = mem_aligned(mpi->message * mpi->base.ranks);
    mpi->total = mem_aligned(mpi->message);
    mpi->saying = mem_aligned(mpi->message);
    if (mpi->out == NULL || mpi->in == NULL || mpi->total == NULL || mpi->saying == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "exchange: sums");
    }
    return STATUS_OK;
}

/* After the opening: texts, verdicts, the state. All ranks are here at the same time. */
static status open_group(struct over_mpi *mpi, struct exchange_start *start, char *text,
                         struct err *err)
{
    /* The texts: the opening has said how long they are. */
    if (!over_mpi_broadcast(text, mpi->opening.text_size, OVER_MPI_LIMIT_MS)) {
        return over_mpi_late(mpi, err);
    }
    status s = agree(mpi, start, text, err);
    s = s != STATUS_OK ? s : make_buffers(mpi, state_layout(start->state)->size, err);
    for (size_t i = 0; s == STATUS_OK && i < EXCHANGE_BLOCKS; i++) {
        /* MPI takes a place to write on rank 0, too, which it only reads. */
        float *block = state_write(start->state, (enum state_block)i);
        if (!over_mpi_broadcast(block, state_layout(start->state)->size * sizeof(float),
                                OVER_MPI_LIMIT_MS)) {
            s = over_mpi_late(mpi, err);
        }
    }
    /* Now all ranks have the state of rank 0 and can take a step. */
    if (s == STATUS_OK) {
        state_set_step(start->state, mpi->opening.step);
        mpi->stage = STAGE_READY;
        mpi->base.counts.generation = 1;
        log_info("rank %u of %u learns over MPI step=%" PRIu64 " batch=%" PRIu64, mpi->base.rank,
                 mpi->base.ranks, mpi->opening.step, mpi->opening.next_batch);
    }
    return s;
}

/* Rank 0: sends the opening, then goes on with the others. */
static status form_rank_0(struct over_mpi *mpi, struct exchange_start *start, struct err *err)
{
    /* The signature and the terms are one text, each with its terminating 0. */
    char *signature = signature_to_json(&start->signature);
    const size_t n = signature != NULL ? strlen(signature) + 1 : 0;
    const size_t size = n + strlen(mpi->terms) + 1;
    char *text = mem_new(size);
    status s =
        signature == NULL || text == NULL ? err_set(err, STATUS_NO_MEMORY, "exchange") : STATUS_OK;
    if (s == STATUS_OK) {
        memcpy(text, signature, n);
        memcpy(text + n, mpi->terms, size - n);
        mpi->opening = (struct opening){.step = state_step(start->state),
                                        .next_batch = start->next_batch,
                                        .n_parameters = state_layout(start->state)->size,
                                        .n_scalars = mpi->n_scalars,
                                        .text_size = size,
                                        .learning_seconds = start->learning_seconds};
        snprintf(mpi->opening.run_id, sizeof mpi->opening.run_id, "%s", start->run_id);
        /* The others may still be starting, so this waits long. */
        s = over_mpi_broadcast(&mpi->opening, sizeof mpi->opening, OVER_MPI_LIMIT_MS)
                ? open_group(mpi, start, text, err)
                : over_mpi_late(mpi, err);
    }
    mem_free(signature);
    mem_free(text);
    return s;
}

/* The others: wait for the opening, which may also be the end. */
static status form_other(struct over_mpi *mpi, struct exchange_start *start, uint64_t timeout_ms,
                         struct err *err)
{
    /* The receive is begun once; calls after TIMEOUT poll it again. */
    if (!mpi->begun) {
        MPI_Ibcast(&mpi->opening, sizeof mpi->opening, MPI_BYTE, 0, MPI_COMM_WORLD, &mpi->request);
        mpi->begun = true;
    }
    if (!over_mpi_done(&mpi->request, over_mpi_deadline(timeout_ms))) {
        return err_set(err, STATUS_TIMEOUT, "for rank 0 of %u", mpi->base.ranks);
    }
    mpi->begun = false;
    /* The opening may be the end: rank 0 was asked to stop before it formed the group. */
    if (mpi->opening.ends) {
        return over_mpi_closed(mpi, mpi->opening.finished != 0, mpi->opening.reason, err);
    }
    char *text = mem_new(mpi->opening.text_size);
    if (text == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "exchange");
    }
    /* Where the run stands, then the rest of the opening. */
    start->next_batch = mpi->opening.next_batch;
    start->learning_seconds = mpi->opening.learning_seconds;
    memcpy(start->run_id, mpi->opening.run_id, sizeof start->run_id);
    const status s = open_group(mpi, start, text, err);
    mem_free(text);
    return s;
}

status over_mpi_form(struct exchange *exchange, struct exchange_start *start, uint64_t timeout_ms,
                     struct err *err)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    ASSERT(mpi->stage == STAGE_FORMING); /* a group over MPI never forms again: the job ends */
    const status s = exchange->rank == 0 ? form_rank_0(mpi, start, err)
                                         : form_other(mpi, start, timeout_ms, err);
    if (s != STATUS_OK && s != STATUS_TIMEOUT) {
        mpi->stage = STAGE_OVER; /* at all ranks; none waits for another message */
    }
    return s;
}
