/* The way of an episode to the store and back. On the way there, memory, duplicates, the table's
 * size and its rate limits decide whether the episode goes to the inserter now or its stream waits
 * (parks). On the way back, the result settles index and writer and is acknowledged.
 *
 * The index runs ahead of the store: an episode is pending, and what it evicts is gone, as soon as
 * its job is submitted. All decisions are made on the call thread, so nothing changes between the
 * check of a limit and the insert that it allows. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "replay_server/service/insert_stream_private.h"

#define IN_FLIGHT_MAX 1024u /* episodes of one stream with the inserter */
#define QUEUE_SPARE   256u  /* of the inserter's queue, kept for unary calls and records */
/* Up to here an episode is checked on the call thread, which has just received it and has it in its
 * cache; longer ones would hold up other calls. */
#define PREPARE_CHUNKS 16u

/* What is needed when the job of an episode is back. The stream it came on may have lost its call
 * by then, but still exists. */
struct insert_op {
    struct insert_job job;
    struct insert_stream *stream;
    struct served_table *table;
    struct writer *writer;
    enum insert_kind kind;
    uint64_t sequence;
    uint64_t begun_ns; /* its first chunk came */
    /* Of the insert pool; given back with the job. */
    uint64_t reserved_bytes;
    uint64_t episode_id; /* of the resident one for KIND_DUPLICATE */
};

static void insert_done(struct insert_job *job);

/* ---- To the inserter ---- */

/* Reserves memory for the whole episode; false where there is none now. Chunk 0 is here already, in
 * the slack of the pool. Episodes may wait with their memory for the rates of their table, so no
 * table gets more than its share while there are several, but always one episode. */
static bool reserve(struct insert_stream *stream)
{
    struct service *service = stream->service;
    struct served_table *table = stream->table;
    struct incoming *in = &stream->in;
    if (in->reserved || in->kind != KIND_STORE) {
        return true;
    }
    const uint64_t budget = (uint64_t)service->options.insert_buffer_bytes;
    const uint64_t share = budget / service->n_tables;
    ASSERT(service->insert_reserved <= budget);
    stream->by_share = table->reserved_bytes > 0 && table->reserved_bytes + in->need_bytes > share;
    if (stream->by_share || service->insert_reserved + in->need_bytes > budget) {
        return false;
    }
    /* Counted for the whole server and for the table. */
    service->insert_reserved += in->need_bytes;
    table->reserved_bytes += in->need_bytes;
    in->reserved = true;
    in->reserved_ns = clock_now_ns();
    return true;
}

void insert_unreserve(struct service *service, struct served_table *table, uint64_t bytes)
{
    ASSERT(service->insert_reserved >= bytes);
    ASSERT(table->reserved_bytes >= bytes);
    service->insert_reserved -= bytes;
    table->reserved_bytes -= bytes;
    service->inserts_may_go = true;
}

/* The op of one episode, or of a sequence that is only acknowledged, in the writer's queue. */
static struct insert_op *new_op(struct insert_stream *stream)
{
    struct insert_op *op = mem_new(sizeof *op);
    if (op) {
        op->stream = stream;
        op->table = stream->table;
        op->writer = stream->writer;
        op->kind = stream->in.kind;
        op->sequence = stream->in.sequence;
        op->begun_ns = stream->in.begun_ns;
        /* The inserter fails the job where an earlier one of this writer has failed in the same
         * epoch. */
        op->job.writer_queue = stream->writer;
        op->job.epoch = stream->writer->epoch;
        op->job.done = insert_done;
        op->job.owner = op;
    }
    return op;
}

/* The writer's record as it is to be once this episode is in. */
static void fill_writer(struct insert_op *op, const struct incoming *in)
{
    op->job.has_writer = true;
    served_table_writer_record(op->table, op->writer, &op->job.writer);
    /* Position and cursor move with the episode, in its transaction. */
    op->job.writer.last_sequence = in->sequence;
    op->job.writer.cursor_size = in->cursor_size;
    memcpy(op->job.writer.cursor, in->cursor, in->cursor_size);
}

/* Puts a new episode into index and job, and what it evicts into the job. The limits have
 * agreed. */
static status fill_episode(struct insert_op *op, struct insert_stream *stream,
                           const struct eviction *eviction)
{
    struct service *service = stream->service;
    struct incoming *in = &stream->in;
    struct served_table *table = stream->table;
    const uint32_t T = in->episode.n_rows - 1;
    /* The key of its first chunk, which is the episode's id. */
    in->episode.id = service->next_chunk;
    const struct table_episode episode = {
        .identity = in->episode.identity,
        .id = in->episode.id,
        .bytes = store_episode_bytes(in->episode.n_rows, in->episode.W),
        .priority = in->episode.priority,
        .n_rows = in->episode.n_rows,
        .client = in->episode.client,
    };
    /* What may fail comes first. */
    struct insert_removal *removal = insert_removal_new(eviction->ids, eviction->n);
    status s =
        removal == NULL && eviction->n > 0 ? STATUS_NO_MEMORY : table_begin(table->table, &episode);
    if (s != STATUS_OK) {
        mem_free(removal);
        return s;
    }
    /* Index and rates: */
    service->next_chunk += in->n_chunks;
    for (uint32_t i = 0; i < eviction->n; i++) {
        const bool was_there = table_remove(table->table, eviction->ids[i], false);
        ASSERT(was_there);
    }
    limiter_commit_insert(&table->limiter, in->episode.restored, T, eviction->transitions);
    if (service->options.max_client_bytes_per_s > 0) {
        client_count_insert(stream->client, episode.bytes);
    }
    /* The job: */
    op->job.removal = removal;
    op->job.has_episode = true;
    op->job.episode = in->episode;
    op->job.chunks = in->first;
    op->job.has_history = true;
    served_table_history(table, &op->job.history);
    op->reserved_bytes = in->need_bytes;
    op->episode_id = in->episode.id;
    /* Buffers and reservation belong to the job now, and not to the episode that comes in. */
    in->first = in->last = NULL;
    in->reserved = false;
    if (in->n_chunks <= PREPARE_CHUNKS) {
        insert_job_prepare(&op->job);
    }
    return STATUS_OK;
}

/* Do the rates of the table let the episode in, which evicts so many transitions? They hold nothing as
 * long as there is too little to be sampled from: the samples that they wait for could not come. So it
 * is where episodes were deleted, or made room for an insert that failed. */
static bool rates_allow(const struct insert_stream *stream, uint64_t evict, char *why, size_t size)
{
    const struct limiter *limiter = &stream->table->limiter;
    const struct table_counts *counts = table_counts(stream->table->table);
    return counts->transitions + counts->pending_transitions < limiter->settings.min_transitions ||
           limiter_allow_insert(limiter, stream->in.episode.restored, evict, why, size);
}

/* Does the client hold, or insert, more than one client may? OK, or as admit. */
static status check_client(struct insert_stream *stream, uint64_t bytes,
                           const struct eviction *eviction, struct err *err)
{
    struct service *service = stream->service;
    struct client *client = stream->client;
    const double rate = (double)service->options.max_client_bytes_per_s;
    if (!client_may_insert(client, rate, clock_now_ns())) {
        /* Counted once an episode, and not with every look. */
        service->n_slowed += !stream->by_quota;
        stream->by_quota = true;
        return err_set(err, STATUS_RETRY, "client %s inserts faster than max_client_bytes_per_s",
                       client->name);
    }
    status s = table_check_client(stream->table->table, client->number, bytes, eviction, err);
    if (s != STATUS_OK) {
        service->n_over_quota += s == STATUS_FULL;
        s = err_context(err, s, "client %s", client->name);
    }
    return s;
}

/* Do table and rates take the episode now? OK: `eviction` says what it evicts. RETRY: err says what
 * to wait for. Anything else is final. */
static status admit(struct insert_stream *stream, struct eviction *eviction, struct err *err)
{
    struct served_table *table = stream->table;
    const struct incoming *in = &stream->in;
    *eviction = (struct eviction){0};
    /* The inserter's queue has a limit, and so has what one stream may have in it. */
    if (inserter_queued(stream->service->inserter) + QUEUE_SPARE >= INSERT_QUEUE_MAX ||
        stream->n_jobs >= IN_FLIGHT_MAX) {
        return err_set(err, STATUS_RETRY, "the store is writing");
    }
    /* What is only acknowledged takes no room in the table. */
    if (in->kind != KIND_STORE) {
        return STATUS_OK;
    }
    /* This also ends a wait that began before the seal. */
    if (table->sealing || table_sealed(table->table)) {
        return err_set(err, STATUS_MISMATCH, "table %s is sealed, and this episode is not in it",
                       table->record.name);
    }
    /* The table's size, then its rates. */
    const uint32_t T = in->episode.n_rows - 1;
    const uint64_t bytes = store_episode_bytes(in->episode.n_rows, in->episode.W);
    status s = table_plan_eviction(table->table, T, bytes, eviction, err);
    if (s == STATUS_OK) {
        s = check_client(stream, bytes, eviction, err);
        if (s != STATUS_OK) {
            mem_free(eviction->ids);
        }
    }
    if (s == STATUS_FULL) {
        return err_context(err, s, "table %s", table->record.name);
    }
    /* The rates can be asked now that it is known how much would be evicted. */
    char why[128];
    if (s == STATUS_OK && !rates_allow(stream, eviction->transitions, why, sizeof why)) {
        mem_free(eviction->ids);
        /* still_waits compares with what is noted here. */
        stream->by_rate = true;
        stream->seen = table_counts(table->table)->episodes_inserted;
        return err_set(err, STATUS_RETRY, "%s", why);
    }
    return s;
}

/* Hands the episode to the inserter. Takes what `eviction` holds. */
static status submit(struct insert_stream *stream, struct eviction *eviction)
{
    struct incoming *in = &stream->in;
    struct insert_op *op = new_op(stream);
    status s = op ? STATUS_OK : STATUS_NO_MEMORY;
    /* Only a new episode changes the index. */
    if (s == STATUS_OK && in->kind == KIND_STORE) {
        s = fill_episode(op, stream, eviction);
    }
    mem_free(eviction->ids);
    if (s != STATUS_OK) {
        mem_free(op);
        return s;
    }
    /* The acknowledgement names the episode that is resident. */
    if (in->kind == KIND_DUPLICATE) {
        const struct table_episode *resident =
            table_find(op->table->table, &in->episode.identity, NULL);
        op->episode_id = resident ? resident->id : 0; /* it may have been removed since chunk 0 */
    }
    /* A sequence that was seen before has moved the writer already. */
    if (in->kind != KIND_SEEN) {
        fill_writer(op, in);
        stream->writer->queued = in->sequence;
    }
    stream->n_jobs++;
    /* admit() has seen that there is place in the queue, and only this thread fills it. */
    s = inserter_submit(stream->service->inserter, &op->job);
    ASSERT(s == STATUS_OK);
    return STATUS_OK;
}

/* Is the same episode on its way to the store from another writer? Where it has arrived meanwhile,
 * this one becomes a duplicate. */
static bool await_duplicate(struct insert_stream *stream)
{
    struct incoming *in = &stream->in;
    bool pending = false;
    if (in->kind != KIND_STORE) {
        return false;
    }
    /* It has arrived: the rows that came in here are not needed. */
    if (table_find(stream->table->table, &in->episode.identity, &pending) && !pending) {
        insert_incoming_drop(stream);
        in->kind = KIND_DUPLICATE;
    }
    return pending;
}

/* Asks for an insert that evicts nothing. Who waits for samples_per_eviction is therefore not
 * covered: false, and the closer look is taken. */
bool insert_stream_rate(const struct insert_stream *stream, char *why, size_t size)
{
    return stream->by_rate && !rates_allow(stream, 0, why, size);
}

/* Hundreds of streams may wait for one rate, and every batch that is drawn asks all of them. The
 * closer look is not needed as long as the limiter refuses any insert of this kind, no episode has
 * come in that might be the same one, and the table is not sealed, which ends the wait. */
static bool still_waits(const struct insert_stream *stream)
{
    const struct served_table *table = stream->table;
    return stream->parked && stream->by_rate && !table->sealing && !table_sealed(table->table) &&
           stream->seen == table_counts(table->table)->episodes_inserted &&
           insert_stream_rate(stream, NULL, 0);
}

bool insert_stream_advance(struct insert_stream *stream)
{
    struct incoming *in = &stream->in;
    if (stream->failed || stream->state != RECEIVING || still_waits(stream)) {
        return false;
    }
    stream->by_rate = false;
    /* Memory for the whole episode before its second chunk is read, so that two episodes never wait
     * for each other half way. */
    if (!reserve(stream)) {
        insert_stream_park(stream, stream->by_share ? "memory: the table's share of "
                                                      "replay_server.insert_buffer_bytes"
                                                    : "memory: replay_server.insert_buffer_bytes");
        return false;
    }
    /* More chunks are to come; with its memory reserved, the episode can be read to its end. */
    if (!in->complete) {
        const bool was_parked = stream->parked;
        insert_stream_resume(stream);
        return was_parked;
    }
    /* All rows are here: memory is no longer a question. */
    if (await_duplicate(stream)) {
        insert_stream_park(stream, "the same episode is on its way from another writer");
        return false;
    }
    /* Table and rates are asked, and then it goes to the inserter. */
    struct err err;
    struct eviction eviction;
    status s = admit(stream, &eviction, &err);
    if (s == STATUS_RETRY) {
        insert_stream_park(stream, err.text);
        return false;
    }
    if (s == STATUS_OK) {
        s = submit(stream, &eviction);
        snprintf(err.text, sizeof err.text, "%s", status_text(s));
    }
    if (s != STATUS_OK) {
        insert_stream_fail(stream, s, err.text);
        return false;
    }
    /* The next episode may come in while this one is being written. */
    stream->state = READY;
    stream->by_quota = false;
    insert_stream_resume(stream);
    return true;
}

/* ---- Back from the inserter ---- */

/* Brings index and writer up to date with what became of the episode. */
static void settle_op(struct insert_op *op)
{
    struct insert_job *job = &op->job;
    struct writer *writer = op->writer;
    /* What was pending becomes resident, or disappears without having counted. */
    if (op->kind == KIND_STORE) {
        if (job->result == STATUS_OK) {
            table_commit(op->table->table, op->episode_id);
        } else {
            table_cancel(op->table->table, op->episode_id);
            limiter_cancel_insert(&op->table->limiter, job->episode.restored,
                                  job->episode.n_rows - 1);
        }
    }
    /* The writer's position moves; or it falls back, with everything that is queued behind. */
    if (job->result != STATUS_OK) {
        writer_fail(writer, job->epoch);
    } else if (job->has_writer) {
        writer_commit(writer, op->sequence, job->writer.cursor, job->writer.cursor_size);
    }
}

/* The job's `done`: on the call thread, in order of submission. */
static void insert_done(struct insert_job *job)
{
    struct insert_op *op = job->owner;
    struct insert_stream *stream = op->stream;
    struct service *service = stream->service;
    settle_op(op);
    /* Jobs come back in order, so what was queued under this sequence has been decided by now. */
    if (op->kind == KIND_SEEN && job->result == STATUS_OK && op->writer->committed < op->sequence) {
        job->result =
            err_set(&job->err, STATUS_RETRY, "what was queued under this sequence was not stored");
    }
    /* What the client hears: the end of the stream, or an acknowledgement that goes out with
     * others. */
    stream->n_jobs--;
    if (job->result != STATUS_OK) {
        char text[1200];
        snprintf(text, sizeof text, "sequence %" PRIu64 ": %s", op->sequence, job->err.text);
        insert_stream_fail(stream, job->result, text);
    } else if (stream->call) {
        service_observe(service, CALL_INSERT, op->begun_ns);
        stream->ack_sequence = op->sequence;
        stream->ack_episode_id = op->episode_id;
        stream->ack_episodes++;
        stream->ack_duplicates += op->kind != KIND_STORE;
    }
    if (op->kind == KIND_DUPLICATE) {
        table_count_duplicate(op->table->table);
    }
    /* Buffers and memory go back, and others may go on. */
    while (job->chunks) {
        struct buffer *chunk = job->chunks;
        job->chunks = chunk->next;
        buffer_give_back(chunk);
    }
    /* The table's reservation, even where the stream is gone. */
    insert_unreserve(service, op->table, op->reserved_bytes);
    if (stream->call == NULL && stream->n_jobs == 0) {
        mem_free(stream);
    }
    service->inserts_may_go = true;
    service->samples_may_go = true;
    mem_free(job->removal); /* NULL where the inserter has kept it */
    mem_free(op);
}
