/* The barrier over MPI. See exchange_mpi.h.
 *
 * Each rank sends to each other rank the slice of its sums that the other one adds, and behind it
 * the total of its own slice (slices.h). All messages go from rank to rank, so that a rank knows
 * which of the others it waits for, and begins to add while parts are still on their way.
 *
 * Every part begins with a word: the step that it belongs to, or that its sender leaves. All ranks
 * see all words, and so come to the same verdict: a step, or none. Only rank 0 may still end the
 * run in place of its total. A rank that is late says what it waits for with words in front of its
 * part; MPI delivers the messages of one rank to another in their order. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "learner/exchange/exchange_mpi.h"

#define LOG_MODULE "exchange"
#include "common/base/log.h"

#define WAITS_PERIOD_MS 1000 /* between words that say what this rank waits for */

#define PAUSE_MAX_MS 1000 /* between two looks of a process that runs */

enum tag { TAG_PART = 1, TAG_TOTAL };

/* ---- Messages ---- */

/* The part or total that rank r has sent. */
static unsigned char *received(const struct over_mpi *mpi, uint32_t r)
{
    return mpi->in + r * mpi->message;
}

static struct word word_of(const struct over_mpi *mpi, uint32_t r)
{
    struct word word;
    memcpy(&word, received(mpi, r), sizeof word);
    return word;
}

/* Begins the receive of rank r's next message. */
static void await(struct over_mpi *mpi, uint32_t r, enum tag tag)
{
    struct other_rank *other = &mpi->others[r];
    ASSERT(!other->awaited && r != mpi->base.rank);
    MPI_Irecv(received(mpi, r), (int)mpi->message, MPI_BYTE, (int)r, (int)tag, MPI_COMM_WORLD,
              &other->receive);
    other->awaited = true;
}

/* Begins to send a word, and `size` bytes that follow it in the same buffer, to rank r. */
static void send_to(struct over_mpi *mpi, uint32_t r, enum tag tag, const unsigned char *message,
                    size_t size, MPI_Request *request)
{
    ASSERT(*request == MPI_REQUEST_NULL && sizeof(struct word) + size <= mpi->message);
    MPI_Isend(message, (int)(sizeof(struct word) + size), MPI_BYTE, (int)r, (int)tag,
              MPI_COMM_WORLD, request);
    mpi->base.counts.sent_bytes += sizeof(struct word) + size;
}

/* The n-th rank that this one sends to, n = 1 .. ranks-1. Each begins with its neighbour, so that
 * not all send to the same rank first. */
static uint32_t nth_other(const struct over_mpi *mpi, uint32_t n)
{
    return (mpi->base.rank + n) % mpi->base.ranks;
}

/* Sends `mpi->total`, behind a word of this kind, to all others. */
static void send_total(struct over_mpi *mpi, enum word_kind kind, bool finished, size_t size)
{
    const struct word word = {.kind = kind, .finished = finished};
    memcpy(mpi->total, &word, sizeof word);
    for (uint32_t n = 1; n < mpi->base.ranks; n++) {
        const uint32_t r = nth_other(mpi, n);
        send_to(mpi, r, TAG_TOTAL, mpi->total, size, &mpi->others[r].total);
    }
}

/* Looks for messages. A word that its sender waits is taken, and its next message awaited. False:
 * some ranks are still awaited. */
static bool receive(struct over_mpi *mpi, enum tag tag)
{
    bool all = true;
    for (uint32_t r = 0; r < mpi->base.ranks; r++) {
        struct other_rank *other = &mpi->others[r];
        int done = 1, size = 0;
        MPI_Status from;
        while (other->awaited && MPI_Test(&other->receive, &done, &from) == MPI_SUCCESS && done) {
            MPI_Get_count(&from, MPI_BYTE, &size);
            mpi->base.counts.received_bytes += (size_t)size;
            other->awaited = false;
            other->heard_ns = clock_now_ns();
            other->waits[0] = '\0';
            if (word_of(mpi, r).kind == WORD_WAITS) {
                memcpy(other->waits, received(mpi, r) + sizeof(struct word), sizeof other->waits);
                other->waits[sizeof other->waits - 1] = '\0';
                await(mpi, r, tag);
            }
        }
        all = all && !other->awaited;
    }
    return all;
}

/* Has rank r taken all that was sent to it? */
static bool taken_by(struct over_mpi *mpi, uint32_t r)
{
    struct other_rank *other = &mpi->others[r];
    int part = 1, total = 1;
    MPI_Test(&other->part, &part, MPI_STATUS_IGNORE);
    MPI_Test(&other->total, &total, MPI_STATUS_IGNORE);
    return part && total;
}

/* A message leaves only while its sender calls MPI, so a rank does not go back to its gradients
 * before all have taken what it sent. */
static bool taken_by_all(struct over_mpi *mpi)
{
    bool all = true;
    for (uint32_t r = 0; r < mpi->base.ranks; r++) {
        all = taken_by(mpi, r) && all;
    }
    return all;
}

/* ---- The stages ---- */

/* READY -> PARTS. `sums` NULL: this rank leaves. */
static void begin(struct over_mpi *mpi, const struct exchange_mark *mark,
                  const struct update_sums *sums)
{
    ASSERT(mpi->stage == STAGE_READY);
    struct word word = {.kind = sums != NULL ? WORD_SUMS : WORD_LEAVES};
    if (mark != NULL) {
        word.mark = *mark;
    }
    const size_t size = sums != NULL ? mpi->slices.size : 0;
    /* Places for what the others send come first. */
    for (uint32_t n = 1; n < mpi->base.ranks; n++) {
        await(mpi, nth_other(mpi, n), TAG_PART);
    }
    /* This rank's own part is as if it had been received. */
    for (uint32_t n = 0; n < mpi->base.ranks; n++) {
        const uint32_t r = nth_other(mpi, n);
        unsigned char *to = n == 0 ? received(mpi, r) : mpi->out + r * mpi->message;
        memcpy(to, &word, sizeof word);
        if (sums != NULL) {
            slices_write(&mpi->slices, r, *sums, to + sizeof word);
        }
        if (n > 0) {
            send_to(mpi, r, TAG_PART, to, size, &mpi->others[r].part);
        }
    }
    mpi->since_ns = mpi->looked_ns = clock_now_ns();
    mpi->added = 0;
    mpi->stage = STAGE_PARTS;
}

/* Adds the parts that are here, as far as no rank before them is missing: the order of additions
 * decides the bits. */
static void add_parts(struct over_mpi *mpi)
{
    unsigned char *total = mpi->total + sizeof(struct word);
    for (; mpi->added < mpi->base.ranks; mpi->added++) {
        const uint32_t r = mpi->added;
        if (mpi->others[r].awaited || word_of(mpi, r).kind != WORD_SUMS) {
            return;
        }
        const unsigned char *part = received(mpi, r) + sizeof(struct word);
        if (r == 0) {
            memcpy(total, part, mpi->slices.size);
        } else {
            slices_add(&mpi->slices, mpi->base.rank, total, part);
        }
    }
}

/* All words are here: the first rank that leaves; `ranks`: none. */
static uint32_t first_leaver(const struct over_mpi *mpi)
{
    uint32_t r = 0;
    while (r < mpi->base.ranks && word_of(mpi, r).kind == WORD_SUMS) {
        r++;
    }
    return r;
}

/* Are all at the same step, with the same batch and the same parameters? */
static status check_marks(const struct over_mpi *mpi, struct err *err)
{
    const struct exchange_mark mark = word_of(mpi, 0).mark;
    for (uint32_t r = 1; r < mpi->base.ranks; r++) {
        const struct exchange_mark other = word_of(mpi, r).mark;
        if (memcmp(&other, &mark, sizeof mark) != 0) {
            return err_set(err, STATUS_CORRUPT,
                           "rank %u of %u differs from rank 0 before step %" PRIu64
                           ": step %" PRIu64 " batch %" PRIu64 " parameters %016" PRIx64
                           ", expected batch %" PRIu64 " parameters %016" PRIx64,
                           r, mpi->base.ranks, mark.step + 1, other.step + 1, other.batch,
                           other.digest, mark.batch, mark.digest);
        }
    }
    return STATUS_OK;
}

/* Rank 0: all are in the barrier, and none takes the step. */
static void answer_end(struct over_mpi *mpi)
{
    ASSERT(mpi->base.rank == 0 && mpi->ending && !mpi->answered);
    memcpy(mpi->total + sizeof(struct word), mpi->base.end_of.reason, EXCHANGE_TEXT_SIZE);
    send_total(mpi, WORD_END, mpi->base.end_of.finished, EXCHANGE_TEXT_SIZE);
    mpi->answered = true;
}

/* PARTS, all words are here. PENDING: goes on in the next stage. CLOSED: rank 0 has to end the run,
 * as a rank leaves. CORRUPT: at all ranks. */
static status judge(struct over_mpi *mpi, struct err *err)
{
    const uint32_t leaver = first_leaver(mpi);
    if (leaver < mpi->base.ranks) {
        /* Rank 0 answers when the run is in order; there is nothing else to wait for. */
        mpi->stage = STAGE_ANSWER;
        if (mpi->base.rank != 0) {
            await(mpi, 0, TAG_TOTAL);
        } else if (mpi->ending) {
            answer_end(mpi);
        } else {
            return err_set(err, STATUS_CLOSED, "rank %u leaves", leaver);
        }
        return STATUS_PENDING;
    }
    const status s = check_marks(mpi, err);
    if (s != STATUS_OK) {
        /* All ranks say so; none sends anything more. */
        const uint64_t deadline_ns = over_mpi_deadline(OVER_MPI_END_MS);
        for (unsigned polls = 0; !taken_by_all(mpi) && clock_now_ns() < deadline_ns; polls++) {
            over_mpi_pause(polls);
        }
        over_mpi_fail(mpi);
        return s;
    }
    ASSERT(mpi->added == mpi->base.ranks);
    mpi->since_ns = clock_now_ns();
    mpi->stage = STAGE_TOTALS;
    if (mpi->ending) {
        answer_end(mpi);
    } else {
        send_total(mpi, WORD_TOTAL, false, mpi->slices.size);
    }
    for (uint32_t n = 1; n < mpi->base.ranks; n++) {
        await(mpi, nth_other(mpi, n), TAG_TOTAL);
    }
    return STATUS_PENDING;
}

/* TOTALS or ANSWER, and all messages have been received. OK: the totals are here. */
static status settle(struct over_mpi *mpi, struct err *err)
{
    if (mpi->answered) {
        mpi->stage = STAGE_OVER;
        return STATUS_CLOSED;
    }
    const struct word word = word_of(mpi, 0);
    if (mpi->base.rank != 0 && word.kind == WORD_END) {
        char reason[EXCHANGE_TEXT_SIZE];
        memcpy(reason, received(mpi, 0) + sizeof word, sizeof reason);
        reason[sizeof reason - 1] = '\0';
        return over_mpi_closed(mpi, word.finished != 0, reason, err);
    }
    mpi->stage = STAGE_READY;
    return STATUS_OK;
}

/* One look at what has come. PENDING: others are awaited; otherwise as over_mpi_sum. */
static status advance(struct over_mpi *mpi, struct err *err)
{
    if (mpi->stage == STAGE_PARTS) {
        const bool all = receive(mpi, TAG_PART);
        add_parts(mpi);
        return all ? judge(mpi, err) : STATUS_PENDING;
    }
    const bool all = receive(mpi, TAG_TOTAL);
    return taken_by_all(mpi) && all ? settle(mpi, err) : STATUS_PENDING;
}

/* ---- The barrier ---- */

/* The first rank that has not sent or taken its messages; `ranks`: none. */
static uint32_t first_awaited(struct over_mpi *mpi)
{
    uint32_t r = 0;
    while (r < mpi->base.ranks && !mpi->others[r].awaited &&
           (mpi->stage == STAGE_PARTS || taken_by(mpi, r))) {
        r++;
    }
    return r;
}

/* UNAVAILABLE: a rank is awaited that was silent for too long. MPI cannot go on without it, so the
 * job fails. Rank 0 comes first with that, for it has a checkpoint to write. */
static status watch(struct over_mpi *mpi, uint64_t now_ns, struct err *err)
{
    const uint64_t limit_ns = mpi->timeout_ns * (mpi->base.rank == 0 ? 1 : 2);
    /* This process itself was stopped, and the others perhaps with it: their time begins anew. */
    if (now_ns - mpi->looked_ns > PAUSE_MAX_MS * NS_PER_MS) {
        mpi->since_ns = now_ns;
    }
    mpi->looked_ns = now_ns;
    /* Rank 0 writes its last checkpoint before it answers. That may take long. */
    for (uint32_t r = 0; r < mpi->base.ranks && mpi->stage != STAGE_ANSWER; r++) {
        const struct other_rank *other = &mpi->others[r];
        const uint64_t since_ns = other->heard_ns > mpi->since_ns ? other->heard_ns : mpi->since_ns;
        const bool awaited = other->awaited || (mpi->stage == STAGE_TOTALS && !taken_by(mpi, r));
        if (awaited && now_ns > since_ns && now_ns - since_ns >= limit_ns) {
            over_mpi_fail(mpi);
            return err_set(err, STATUS_UNAVAILABLE, "rank %u of %u said nothing for %.3g s", r,
                           mpi->base.ranks, (double)(now_ns - since_ns) / 1e9);
        }
    }
    return STATUS_PENDING;
}

/* sums <- the totals of all slices. */
static void read_totals(const struct over_mpi *mpi, struct update_sums sums)
{
    for (uint32_t r = 0; r < mpi->base.ranks; r++) {
        const unsigned char *message = r == mpi->base.rank ? mpi->total : received(mpi, r);
        slices_read(&mpi->slices, r, message + sizeof(struct word), sums);
    }
}

status over_mpi_sum(struct exchange *exchange, const struct exchange_mark *mark,
                    struct update_sums sums, uint64_t timeout_ms, struct err *err)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    const uint64_t deadline_ns = over_mpi_deadline(timeout_ms);
    /* A call after TIMEOUT goes on polling; the sums are sent once. */
    if (mpi->stage == STAGE_READY) {
        begin(mpi, mark, &sums);
    }
    status s = advance(mpi, err);
    for (unsigned polls = 0; s == STATUS_PENDING; polls++) {
        const uint64_t now_ns = clock_now_ns();
        if (now_ns >= deadline_ns) {
            const struct other_rank *late = &mpi->others[first_awaited(mpi) % exchange->ranks];
            return err_set(err, STATUS_TIMEOUT, "for rank %u of %u at step %" PRIu64 "%s%s",
                           (unsigned)(late - mpi->others), exchange->ranks, mark->step + 1,
                           late->waits[0] ? ", which waits " : "", late->waits);
        }
        over_mpi_pause(polls);
        s = advance(mpi, err);
        s = s == STATUS_PENDING ? watch(mpi, now_ns, err) : s;
    }
    if (s == STATUS_OK) {
        read_totals(mpi, sums);
    }
    return s;
}

/* Tells all others, once a second, unless one of them has not taken the last word yet. */
status over_mpi_waits(struct exchange *exchange, const char *what, struct err *err)
{
    (void)err;
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    const uint64_t now_ns = clock_now_ns();
    if (mpi->stage != STAGE_READY || now_ns - mpi->said_ns < WAITS_PERIOD_MS * NS_PER_MS ||
        !over_mpi_said(mpi)) {
        return STATUS_OK;
    }
    mpi->said_ns = now_ns;
    const struct word word = {.kind = WORD_WAITS};
    memcpy(mpi->saying, &word, sizeof word);
    snprintf((char *)mpi->saying + sizeof word, EXCHANGE_TEXT_SIZE, "%s", what);
    for (uint32_t n = 1; n < exchange->ranks; n++) {
        const uint32_t r = nth_other(mpi, n);
        send_to(mpi, r, TAG_PART, mpi->saying, EXCHANGE_TEXT_SIZE, &mpi->others[r].said);
    }
    return STATUS_OK;
}

bool over_mpi_said(struct over_mpi *mpi)
{
    bool all = true;
    for (uint32_t r = 0; r < mpi->base.ranks; r++) {
        int done = 1;
        MPI_Test(&mpi->others[r].said, &done, MPI_STATUS_IGNORE);
        all = all && done;
    }
    return all;
}

/* ---- The end ---- */

/* Where no group has formed. Rank 0 says the end in place of its opening. Another rank has to form
 * the group first, since rank 0 may be about to do so with it. */
static void end_forming(struct over_mpi *mpi)
{
    struct err err = {0};
    struct exchange_start start = {0};
    if (mpi->base.rank != 0) {
        if (over_mpi_form(&mpi->base, &start, OVER_MPI_END_MS, &err) != STATUS_OK) {
            log_info("left before all began: %s", err.text);
        }
        return;
    }
    mpi->opening = (struct opening){.ends = 1, .finished = mpi->base.end_of.finished};
    memcpy(mpi->opening.reason, mpi->base.end_of.reason, sizeof mpi->opening.reason);
    if (over_mpi_broadcast(&mpi->opening, sizeof mpi->opening, OVER_MPI_END_MS)) {
        mpi->stage = STAGE_OVER;
    }
}

/* Once; later calls find the stage OVER. A rank that simply left would keep the others in the
 * barrier, so it goes through barriers until it has heard, or given, rank 0's answer. */
void over_mpi_end(struct exchange *exchange, bool finished, const char *reason)
{
    struct over_mpi *mpi = (struct over_mpi *)exchange;
    if (mpi->stage == STAGE_OVER) {
        return;
    }
    if (exchange->rank == 0) {
        mpi->ending = true;
        exchange->end_of.finished = finished;
        snprintf(exchange->end_of.reason, sizeof exchange->end_of.reason, "%s", reason);
    }
    const uint64_t deadline_ns = over_mpi_deadline(OVER_MPI_END_MS);
    if (mpi->stage == STAGE_FORMING) {
        end_forming(mpi);
    } else if (mpi->stage == STAGE_ANSWER && exchange->rank == 0) {
        answer_end(mpi);
    }
    struct err err = {0};
    for (unsigned polls = 0; mpi->stage > STAGE_FORMING && mpi->stage < STAGE_OVER; polls++) {
        /* This rank's sums may be on their way: then that step ends first. */
        if (mpi->stage == STAGE_READY) {
            begin(mpi, NULL, NULL);
        }
        if (advance(mpi, &err) != STATUS_PENDING) {
            continue;
        }
        if (clock_now_ns() >= deadline_ns) {
            break;
        }
        over_mpi_pause(polls);
    }
    /* A rank that never comes cannot be waited for; the job is ended by MPI_Abort. */
    if (mpi->stage != STAGE_OVER) {
        log_warn("not all ranks came to the end within %d s", OVER_MPI_END_MS / 1000);
        over_mpi_fail(mpi);
    }
}
