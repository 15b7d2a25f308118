/* From the last chunk to the store and back: memory, twins, limits and rates decide whether an
 * episode goes to the inserter now; what comes back settles index and writer. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "replay_server/service/insert_stream_private.h"

#define IN_FLIGHT_MAX 1024u /* episodes of one stream with the inserter */
#define QUEUE_SPARE   256u  /* of the inserter's queue, kept for unary calls and records */

struct insert_op {
    struct insert_job job;
    struct insert_stream *stream;
    struct served_table *table;
    struct writer *writer;
    enum insert_kind kind;
    uint64_t sequence;
    uint64_t reserved_bytes;
    uint64_t episode_id; /* of the resident one for KIND_DUPLICATE */
    struct room room;
};

static void insert_done(struct insert_job *job);

/* ---- There ---- */

/* May this stream's episode have its memory? Chunk 0 is here already; the promise is for the rest.
 */
static bool reserve(struct insert_stream *stream)
{
    struct service *service = stream->service;
    struct incoming *in = &stream->in;
    if (!in->reserved && in->kind == KIND_STORE) {
        const uint64_t budget = (uint64_t)service->options.insert_buffer_bytes;
        if (service->insert_reserved + in->need_bytes > budget) {
            return false;
        }
        service->insert_reserved += in->need_bytes;
        in->reserved = true;
    }
    return true;
}

static struct insert_op *new_op(struct insert_stream *stream)
{
    struct insert_op *op = mem_new(sizeof *op);
    if (op) {
        op->stream = stream;
        op->table = stream->table;
        op->writer = stream->writer;
        op->kind = stream->in.kind;
        op->sequence = stream->in.sequence;
        op->job.lane = stream->writer;
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
    op->job.writer.last_sequence = in->sequence;
    op->job.writer.cursor_size = in->cursor_size;
    memcpy(op->job.writer.cursor, in->cursor, in->cursor_size);
}

/* Puts a new episode into index and job. The limits have agreed. */
static status fill_episode(struct insert_op *op, struct insert_stream *stream, struct room *room)
{
    struct service *service = stream->service;
    struct incoming *in = &stream->in;
    struct served_table *table = stream->table;
    const uint32_t T = in->episode.n_rows - 1;
    in->episode.id = service->next_chunk;
    const struct table_episode episode = {
        .identity = in->episode.identity,
        .id = in->episode.id,
        .bytes = store_episode_bytes(in->episode.n_rows, in->episode.W),
        .priority = in->episode.priority,
        .n_rows = in->episode.n_rows,
        .n_chunks = in->n_chunks,
        .restored = in->episode.restored,
    };
    status s = table_begin(table->table, &episode);
    if (s != STATUS_OK) {
        return s;
    }
    service->next_chunk += in->n_chunks;
    for (uint32_t i = 0; i < room->n; i++) {
        ASSERT(table_remove(table->table, room->ids[i], false));
    }
    limiter_commit_insert(&table->limiter, in->episode.restored, T, room->transitions);
    op->room = *room;
    op->job.removed = room->ids;
    op->job.n_removed = room->n;
    op->job.has_episode = true;
    op->job.episode = in->episode;
    op->job.chunks = in->first;
    op->job.has_history = true;
    served_table_history(table, &op->job.history);
    op->reserved_bytes = in->need_bytes;
    op->episode_id = in->episode.id;
    in->first = in->last = NULL;
    in->reserved = false;
    return STATUS_OK;
}

/* Do table and rates take the episode now? OK; RETRY with the reason to wait in err; else final. */
static status admit(struct insert_stream *stream, struct room *room, struct err *err)
{
    struct served_table *table = stream->table;
    const struct incoming *in = &stream->in;
    *room = (struct room){0};
    if (inserter_queued(stream->service->inserter) + QUEUE_SPARE >= INSERT_QUEUE_MAX ||
        stream->n_jobs >= IN_FLIGHT_MAX) {
        return err_set(err, STATUS_RETRY, "the store is writing");
    }
    if (in->kind != KIND_STORE) {
        return STATUS_OK;
    }
    if (table->sealing || table_sealed(table->table)) {
        return err_set(err, STATUS_MISMATCH, "table %s is sealed, and this episode is not in it",
                       table->record.name);
    }
    const uint32_t T = in->episode.n_rows - 1;
    status s = served_table_make_room(
        table, T, store_episode_bytes(in->episode.n_rows, in->episode.W), room, err);
    char why[128];
    if (s == STATUS_OK && !limiter_allow_insert(&table->limiter, in->episode.restored,
                                                room->transitions, why, sizeof why)) {
        mem_free(room->ids);
        return err_set(err, STATUS_RETRY, "%s", why);
    }
    return s;
}

static status submit(struct insert_stream *stream, struct room *room)
{
    struct incoming *in = &stream->in;
    struct insert_op *op = new_op(stream);
    status s = op ? STATUS_OK : STATUS_NO_MEMORY;
    if (s == STATUS_OK && in->kind == KIND_STORE) {
        s = fill_episode(op, stream, room);
    }
    if (s != STATUS_OK) {
        mem_free(op);
        mem_free(room->ids);
        return s;
    }
    if (in->kind == KIND_DUPLICATE) {
        const struct table_episode *twin =
            table_find(op->table->table, &in->episode.identity, NULL);
        op->episode_id = twin ? twin->id : 0; /* it may have been removed since chunk 0 */
    }
    if (in->kind != KIND_SEEN) {
        fill_writer(op, in);
        stream->writer->queued = in->sequence;
    }
    stream->n_jobs++;
    /* admit() has seen room in the queue, and only this thread fills it. */
    s = inserter_submit(stream->service->inserter, &op->job);
    ASSERT(s == STATUS_OK);
    return STATUS_OK;
}

/* Is an episode of this identity on its way from somewhere else, or there already? */
static bool await_twin(struct insert_stream *stream)
{
    struct incoming *in = &stream->in;
    bool pending = false;
    if (in->kind != KIND_STORE) {
        return false;
    }
    if (table_find(stream->table->table, &in->episode.identity, &pending) && !pending) {
        insert_incoming_drop(stream);
        in->kind = KIND_DUPLICATE;
    }
    return pending;
}

bool insert_stream_advance(struct insert_stream *stream)
{
    struct incoming *in = &stream->in;
    if (stream->failed || stream->state != RECEIVING) {
        return false;
    }
    if (!reserve(stream)) {
        insert_stream_park(stream, "memory: replay_server.insert_buffer_bytes");
        return false;
    }
    if (!in->complete) {
        const bool was_parked = stream->parked;
        insert_stream_resume(stream);
        return was_parked;
    }
    if (await_twin(stream)) {
        insert_stream_park(stream, "the same episode is on its way from another writer");
        return false;
    }
    struct err err;
    struct room room;
    status s = admit(stream, &room, &err);
    if (s == STATUS_RETRY) {
        insert_stream_park(stream, err.text);
        return false;
    }
    if (s == STATUS_OK) {
        s = submit(stream, &room);
        snprintf(err.text, sizeof err.text, "%s", status_text(s));
    }
    if (s != STATUS_OK) {
        insert_stream_fail(stream, s, err.text);
        return false;
    }
    stream->state = READY;
    insert_stream_resume(stream);
    return true;
}

/* ---- And back ---- */

/* What became of the episode, in index and writer. */
static void settle_op(struct insert_op *op)
{
    struct insert_job *job = &op->job;
    struct writer *writer = op->writer;
    if (op->kind == KIND_STORE) {
        if (job->result == STATUS_OK) {
            table_commit(op->table->table, op->episode_id);
        } else {
            table_cancel(op->table->table, op->episode_id);
            served_table_owe(op->table, op->room.ids, op->room.n);
            limiter_cancel_insert(&op->table->limiter, job->episode.restored,
                                  job->episode.n_rows - 1);
        }
    }
    if (job->result != STATUS_OK) {
        if (writer->epoch == job->epoch) {
            writer->epoch++;
            writer->queued = writer->committed;
        }
    } else if (job->has_writer) {
        writer->committed = op->sequence;
        writer->cursor_size = job->writer.cursor_size;
        memcpy(writer->cursor, job->writer.cursor, job->writer.cursor_size);
    }
}

static void insert_done(struct insert_job *job)
{
    struct insert_op *op = job->owner;
    struct insert_stream *stream = op->stream;
    struct service *service = stream->service;
    settle_op(op);
    if (op->kind == KIND_SEEN && job->result == STATUS_OK && op->writer->committed < op->sequence) {
        job->result =
            err_set(&job->err, STATUS_RETRY, "what was queued under this sequence was not stored");
    }
    stream->n_jobs--;
    if (job->result != STATUS_OK) {
        char text[1200];
        snprintf(text, sizeof text, "sequence %" PRIu64 ": %s", op->sequence, job->err.text);
        insert_stream_fail(stream, job->result, text);
    } else if (stream->call) {
        stream->ack_sequence = op->sequence;
        stream->ack_episode_id = op->episode_id;
        stream->ack_episodes++;
        stream->ack_duplicates += op->kind != KIND_STORE;
    }
    if (op->kind == KIND_DUPLICATE) {
        table_count_duplicate(op->table->table);
    }
    while (job->chunks) {
        struct buffer *chunk = job->chunks;
        job->chunks = chunk->next;
        buffer_give_back(chunk);
    }
    service->insert_reserved -= op->reserved_bytes;
    if (stream->call == NULL && stream->n_jobs == 0) {
        mem_free(stream);
    }
    service->inserts_may_go = true;
    service->samples_may_go = true;
    mem_free(op->room.ids);
    mem_free(op);
}
