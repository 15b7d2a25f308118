/* Insert: episodes arrive in chunks, wait where a limit says so, go to the inserter, and are
 * acknowledged when they come back.
 *
 * A stream takes one episode at a time:
 *
 *   READY --chunk 0--> RECEIVING --last chunk--> (limits) --> handed to the inserter --> READY
 *                          |                        |
 *                          '----- PARKED <----------'     reads nothing; tried again when something
 * has changed
 *
 * Several episodes of a stream may be with the inserter, which returns them in order; so
 * acknowledgements are in order too. */
#define LOG_MODULE "insert"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/service_private.h"

#define IN_FLIGHT_MAX 1024u /* episodes of one stream with the inserter */
#define UNSENT_MAX    4u    /* acknowledgements waiting to be sent before they are merged */
#define QUEUE_SPARE   256u  /* of the inserter's queue, kept for unary calls and records */

enum insert_state { READY, RECEIVING };
enum insert_kind {
    KIND_STORE, /* a new episode */
    KIND_SEEN,  /* its sequence was queued before: acknowledged when what was queued then is through
                 */
    KIND_DUPLICATE, /* its identity is resident: only the writer's sequence moves */
};

struct incoming {
    enum insert_kind kind;
    struct store_episode episode;
    uint64_t sequence;
    uint32_t n_chunks, next_chunk;
    struct buffer *first, *last; /* chunks so far */
    uint64_t need_bytes;         /* of insert_pool, for all chunks */
    bool reserved;               /* need_bytes are counted in service->insert_reserved */
    bool complete;
    uint32_t cursor_size;
    uint8_t cursor[WRITER_CURSOR_MAX];
};

struct insert_stream {
    struct service *service;
    struct rpc_call *call; /* NULL: over; only jobs still refer to the stream */
    struct insert_stream *next, *previous;
    struct served_table *table; /* NULL before the first message */
    struct writer *writer;
    uint64_t generation;
    enum insert_state state;
    bool parked, held, failed, half_closed;
    uint64_t park_number;
    uint64_t since_ns; /* parked since */
    uint64_t heard_ns; /* last message */
    char why[128];
    struct incoming in;
    uint32_t n_jobs;        /* with the inserter */
    uint64_t last_sequence; /* of this stream */
    /* What can be acknowledged and has not been: */
    uint64_t ack_sequence, ack_episode_id;
    uint32_t ack_episodes, ack_duplicates;
};

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

/* ---- Life ---- */

void on_insert_start(struct rpc_call *call)
{
    struct service *service = rpc_call_service(call);
    struct insert_stream *stream = mem_new(sizeof *stream);
    if (stream == NULL) {
        rpc_call_finish(call, STATUS_NO_MEMORY, "out of memory");
        return;
    }
    stream->service = service;
    stream->call = call;
    stream->heard_ns = clock_now_ns();
    stream->next = service->insert_streams;
    if (stream->next) {
        stream->next->previous = stream;
    }
    service->insert_streams = stream;
    rpc_call_set_state(call, stream);
}

struct insert_stream *insert_stream_next(const struct insert_stream *stream)
{
    return stream->next;
}

static void drop_incoming(struct insert_stream *stream)
{
    struct incoming *in = &stream->in;
    while (in->first) {
        struct buffer *chunk = in->first;
        in->first = chunk->next;
        buffer_give_back(chunk);
    }
    if (in->reserved) {
        stream->service->insert_reserved -= in->need_bytes;
        stream->service->inserts_may_go = true;
    }
    in->reserved = false;
    in->last = NULL;
}

static void resume(struct insert_stream *stream)
{
    stream->parked = false;
    if (stream->held && stream->call) {
        stream->held = false;
        rpc_call_resume(stream->call);
    }
}

static void park(struct insert_stream *stream, const char *why)
{
    if (!stream->parked) {
        stream->parked = true;
        stream->park_number = ++stream->service->last_park;
        stream->since_ns = clock_now_ns();
    }
    snprintf(stream->why, sizeof stream->why, "%s", why);
    if (!stream->held) {
        stream->held = true;
        rpc_call_hold(stream->call);
    }
}

/* Ends the stream with an error; what is with the inserter goes on. */
static void fail(struct insert_stream *stream, status code, const char *text)
{
    if (stream->failed || stream->call == NULL) {
        return;
    }
    if (code != STATUS_CLOSED) {
        log_warn("insert refused writer=%s: %s", stream->writer ? stream->writer->name : "?", text);
    }
    stream->failed = true;
    stream->state = READY;
    drop_incoming(stream);
    rpc_call_finish(stream->call, code, text);
    resume(stream);
}

void on_insert_done(struct rpc_call *call)
{
    struct insert_stream *stream = rpc_call_state(call);
    if (stream == NULL) {
        return;
    }
    struct service *service = stream->service;
    drop_incoming(stream);
    if (stream->previous) {
        stream->previous->next = stream->next;
    } else {
        service->insert_streams = stream->next;
    }
    if (stream->next) {
        stream->next->previous = stream->previous;
    }
    stream->call = NULL;
    stream->parked = false;
    if (stream->n_jobs == 0) {
        mem_free(stream);
    }
    service->inserts_may_go = true;
    service_settle(service);
}

void insert_streams_fence(struct service *service, const struct writer *writer,
                          const struct insert_stream *keep)
{
    for (struct insert_stream *stream = service->insert_streams; stream; stream = stream->next) {
        if (stream->writer == writer && stream != keep) {
            fail(stream, stream->generation < writer->generation ? STATUS_MISMATCH : STATUS_BUSY,
                 "this writer has opened again elsewhere");
        }
    }
}

/* ---- The first message ---- */

static status open_stream(struct insert_stream *stream, const Hindcast__InsertRequest *request,
                          struct err *err)
{
    struct served_table *table = service_table(stream->service, request->table);
    if (table == NULL || !table->stored) {
        return err_set(err, STATUS_NOT_FOUND, "table %s: not there; OpenInsert makes it",
                       request->table);
    }
    struct writer *writer = writers_find(&table->writers, request->writer);
    if (writer == NULL || writer->generation == 0) {
        return err_set(err, STATUS_NOT_FOUND, "writer %s: unknown; OpenInsert comes first",
                       request->writer);
    }
    if (request->generation != writer->generation) {
        return err_set(err, STATUS_MISMATCH, "writer %s: generation %" PRIu64 ", now is %" PRIu64,
                       writer->name, request->generation, writer->generation);
    }
    stream->table = table;
    stream->writer = writer;
    stream->generation = request->generation;
    insert_streams_fence(stream->service, writer, stream);
    return STATUS_OK;
}

/* ---- Chunk 0 ---- */

static status begin_episode(struct insert_stream *stream, const Hindcast__InsertRequest *request,
                            struct err *err)
{
    struct served_table *table = stream->table;
    const double priority = request->priority == 0 ? 1 : request->priority;
    if (request->sequence <= stream->last_sequence) {
        return err_set(err, STATUS_INVALID, "sequence %" PRIu64 " after %" PRIu64 ": must rise",
                       request->sequence, stream->last_sequence);
    }
    if (request->identity == NULL) {
        return err_set(err, STATUS_INVALID, "sequence %" PRIu64 ": chunk 0 without identity",
                       request->sequence);
    }
    if (request->n_rows < 2 || request->n_rows > EPISODE_TRANSITIONS_MAX + 1) {
        return err_set(err, STATUS_INVALID, "n_rows %u: expected 2..%u", request->n_rows,
                       EPISODE_TRANSITIONS_MAX + 1);
    }
    if (!isfinite(priority) || priority < 0) {
        return err_set(err, STATUS_INVALID, "priority %g: expected a finite number > 0", priority);
    }
    if (request->cursor.len > WRITER_CURSOR_MAX) {
        return err_set(err, STATUS_INVALID, "cursor of %zu bytes: expected at most %d",
                       request->cursor.len, WRITER_CURSOR_MAX);
    }
    struct incoming *in = &stream->in;
    *in = (struct incoming){
        .sequence = request->sequence,
        .episode = {.table = table->record.number,
                    .n_rows = request->n_rows,
                    .W = table->W,
                    .restored = request->restored,
                    .priority = priority,
                    .identity = {.source = request->identity->source,
                                 .shard = request->identity->shard,
                                 .episode = request->identity->episode,
                                 .relabel = request->identity->relabel}},
        .n_chunks = store_n_chunks(request->n_rows, table->W),
        .cursor_size = (uint32_t)request->cursor.len,
        .kind = request->sequence <= stream->writer->queued ? KIND_SEEN : KIND_STORE,
    };
    in->need_bytes = (uint64_t)in->n_chunks * 65536;
    memcpy(in->cursor, request->cursor.data, request->cursor.len);
    if (in->need_bytes > (uint64_t)stream->service->options.insert_buffer_bytes) {
        return err_set(err, STATUS_INVALID,
                       "an episode of %u rows of %u floats needs %" PRIu64
                       " bytes; replay_server.insert_buffer_bytes is %" PRId64,
                       request->n_rows, table->W, in->need_bytes,
                       stream->service->options.insert_buffer_bytes);
    }
    /* What is resident need not be kept in memory while it comes in. */
    bool pending;
    if (in->kind == KIND_STORE && table_find(table->table, &in->episode.identity, &pending) &&
        !pending) {
        in->kind = KIND_DUPLICATE;
    }
    stream->last_sequence = request->sequence;
    stream->state = RECEIVING;
    return STATUS_OK;
}

/* ---- Every chunk ---- */

static status take_chunk(struct insert_stream *stream, const Hindcast__InsertRequest *request,
                         struct err *err)
{
    struct incoming *in = &stream->in;
    const struct rpc_pieces *rows = rpc_call_payload(stream->call);
    if (request->sequence != in->sequence || request->chunk != in->next_chunk) {
        return err_set(err, STATUS_INVALID,
                       "sequence %" PRIu64 " chunk %u: expected sequence %" PRIu64 " chunk %u",
                       request->sequence, request->chunk, in->sequence, in->next_chunk);
    }
    const uint32_t chunk_rows = stream->table->chunk_rows;
    const uint32_t rest = in->episode.n_rows - in->next_chunk * chunk_rows;
    const bool last = rest <= chunk_rows;
    const size_t size = (size_t)(last ? rest : chunk_rows) * in->episode.W * 4;
    if (rows->size != size || request->last_chunk != last) {
        return err_set(err, STATUS_INVALID,
                       "sequence %" PRIu64 " chunk %u: %zu bytes%s; expected %zu%s", in->sequence,
                       in->next_chunk, rows->size, request->last_chunk ? ", last" : "", size,
                       last ? ", last" : "");
    }
    if (in->kind == KIND_STORE) {
        struct buffer *chunk = buffer_pool_take(stream->service->insert_pool, 65536);
        if (chunk == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "out of memory");
        }
        ASSERT(rpc_pieces_copy(rows, chunk->bytes + STORE_CHUNK_HEADER, 0, size));
        if (in->last) {
            in->last->next = chunk;
        } else {
            in->first = chunk;
        }
        in->last = chunk;
    }
    in->next_chunk++;
    in->complete = last;
    return STATUS_OK;
}

/* ---- On to the inserter ---- */

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

/* Do table and rates take the episode now? OK; BUSY with the reason to wait in err; else final. */
static status admit(struct insert_stream *stream, struct room *room, struct err *err)
{
    struct served_table *table = stream->table;
    const struct incoming *in = &stream->in;
    *room = (struct room){0};
    if (inserter_queued(stream->service->inserter) + QUEUE_SPARE >= INSERT_QUEUE_MAX ||
        stream->n_jobs >= IN_FLIGHT_MAX) {
        return err_set(err, STATUS_BUSY, "the store is writing");
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
        return err_set(err, STATUS_BUSY, "%s", why);
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
        drop_incoming(stream);
        in->kind = KIND_DUPLICATE;
    }
    return pending;
}

/* As far as the episode under way can go now. True when it went on. */
static bool advance(struct insert_stream *stream)
{
    struct incoming *in = &stream->in;
    if (stream->failed || stream->state != RECEIVING) {
        return false;
    }
    if (!reserve(stream)) {
        park(stream, "memory: replay_server.insert_buffer_bytes");
        return false;
    }
    if (!in->complete) {
        const bool was_parked = stream->parked;
        resume(stream);
        return was_parked;
    }
    if (await_twin(stream)) {
        park(stream, "the same episode is on its way from another writer");
        return false;
    }
    struct err err;
    struct room room;
    status s = admit(stream, &room, &err);
    if (s == STATUS_BUSY) {
        park(stream, err.text);
        return false;
    }
    if (s == STATUS_OK) {
        s = submit(stream, &room);
        snprintf(err.text, sizeof err.text, "%s", status_text(s));
    }
    if (s != STATUS_OK) {
        fail(stream, s, err.text);
        return false;
    }
    stream->state = READY;
    resume(stream);
    return true;
}

/* ---- Parked streams ---- */

/* The parked stream with the smallest number above `after`. */
static struct insert_stream *next_parked(struct service *service, uint64_t after)
{
    struct insert_stream *best = NULL;
    for (struct insert_stream *stream = service->insert_streams; stream; stream = stream->next) {
        if (stream->parked && stream->park_number > after &&
            (best == NULL || stream->park_number < best->park_number)) {
            best = stream;
        }
    }
    return best;
}

bool insert_streams_advance(struct service *service)
{
    bool any = false;
    bool memory_short = false;
    struct insert_stream *stream;
    for (uint64_t after = 0; (stream = next_parked(service, after)) != NULL;) {
        after = stream->park_number;
        const bool needs_memory = stream->in.kind == KIND_STORE && !stream->in.reserved;
        /* Memory goes in order, so that a long episode is not overtaken for ever by short ones. */
        if (!(needs_memory && memory_short)) {
            any = advance(stream) || any;
            memory_short = memory_short || (needs_memory && !stream->in.reserved && stream->parked);
        }
    }
    return any;
}

void insert_streams_check_idle(struct service *service, uint64_t now_ns)
{
    const uint64_t limit_ns = (uint64_t)service->options.idle_seconds * NS_PER_S;
    for (struct insert_stream *stream = service->insert_streams; stream; stream = stream->next) {
        if (stream->state == RECEIVING && !stream->parked && now_ns - stream->heard_ns > limit_ns) {
            fail(stream, STATUS_TIMEOUT,
                 "no further chunk of the episode came in replay_server.idle_seconds");
        }
    }
}

bool insert_stream_waits(const struct insert_stream *stream, const struct served_table **table,
                         const char **who, const char **why, uint64_t *since_ns)
{
    *table = stream->table;
    *who = stream->writer ? stream->writer->name : "?";
    *why = stream->why;
    *since_ns = stream->since_ns;
    return stream->parked;
}

/* ---- Handlers ---- */

static void maybe_finish(struct insert_stream *stream)
{
    if (stream->half_closed && !stream->failed && stream->n_jobs == 0 &&
        stream->ack_episodes == 0 && stream->call) {
        if (stream->state == RECEIVING && !stream->in.complete) {
            fail(stream, STATUS_INVALID, "the stream ended within an episode");
        } else if (stream->state == READY) {
            stream->failed = true; /* over: nothing more is taken */
            rpc_call_finish(stream->call, STATUS_OK, "");
        }
    }
}

void on_insert_message(struct rpc_call *call, const ProtobufCMessage *message)
{
    const Hindcast__InsertRequest *request = (const Hindcast__InsertRequest *)message;
    struct insert_stream *stream = rpc_call_state(call);
    if (stream == NULL || stream->failed) {
        return;
    }
    struct err err;
    status s = STATUS_OK;
    stream->heard_ns = clock_now_ns();
    if (stream->table == NULL) {
        s = open_stream(stream, request, &err);
    }
    if (s == STATUS_OK && stream->state == READY) {
        s = begin_episode(stream, request, &err);
    }
    if (s == STATUS_OK) {
        s = take_chunk(stream, request, &err);
    }
    if (s == STATUS_OK) {
        (void)advance(stream);
    } else {
        fail(stream, s, err.text);
    }
    service_settle(stream->service);
}

void on_insert_half_closed(struct rpc_call *call)
{
    struct insert_stream *stream = rpc_call_state(call);
    if (stream) {
        stream->half_closed = true;
        maybe_finish(stream);
    }
}

/* ---- Acknowledging ---- */

static void acknowledge(struct insert_stream *stream)
{
    if (stream->ack_episodes == 0 || stream->failed || stream->call == NULL ||
        rpc_call_unsent(stream->call) >= UNSENT_MAX) {
        return;
    }
    Hindcast__InsertResponse response = HINDCAST__INSERT_RESPONSE__INIT;
    response.sequence = stream->ack_sequence;
    response.n_episodes = stream->ack_episodes;
    response.n_duplicates = stream->ack_duplicates;
    response.episode_id = stream->ack_episode_id;
    if (rpc_call_send(stream->call, &response.base, NULL) == STATUS_OK) {
        stream->ack_episodes = stream->ack_duplicates = 0;
    }
    maybe_finish(stream);
}

void insert_streams_acknowledge(struct service *service)
{
    for (struct insert_stream *stream = service->insert_streams; stream; stream = stream->next) {
        acknowledge(stream);
        maybe_finish(stream);
    }
}

void on_insert_sent(struct rpc_call *call)
{
    struct insert_stream *stream = rpc_call_state(call);
    if (stream) {
        acknowledge(stream);
    }
}

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
            err_set(&job->err, STATUS_BUSY, "what was queued under this sequence was not stored");
    }
    stream->n_jobs--;
    if (job->result != STATUS_OK) {
        char text[1200];
        snprintf(text, sizeof text, "sequence %" PRIu64 ": %s", op->sequence, job->err.text);
        fail(stream, job->result, text);
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
