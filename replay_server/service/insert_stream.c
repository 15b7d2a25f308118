/* Insert: episodes arrive in chunks, wait where a limit says so, go to the inserter, and are
 * acknowledged when they come back.
 *
 * A stream takes one episode at a time:
 *
 *   READY --chunk 0--> RECEIVING --last chunk--> (limits) --> handed to the inserter --> READY
 *                          |                        |
 *                          '----- PARKED <----------'     reads nothing; tried again when
 *                                                         something has changed
 *
 * Several episodes of a stream may be with the inserter, which returns them in order; so
 * acknowledgements are in order too. */
#define LOG_MODULE "insert"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/service/insert_stream_private.h"

#define UNSENT_MAX        4u          /* acknowledgements that wait to be sent; more are merged */
#define LEAST_BYTES_PER_S (64u << 10) /* at which an episode must come in when memory is short */

/* ---- Life ---- */

/* The stream's state lives until the call is over and the last of its jobs is back. */
void on_insert_start(struct rpc_call *call)
{
    struct service *service = rpc_call_service(call);
    struct insert_stream *stream = mem_new(sizeof *stream);
    struct client *client = stream ? client_enter(&service->clients, rpc_call_client(call)) : NULL;
    if (client == NULL) {
        mem_free(stream);
        rpc_call_finish(call, STATUS_NO_MEMORY, "out of memory");
        return;
    }
    stream->client = client;
    stream->service = service;
    stream->call = call;
    stream->heard_ns = clock_now_ns();
    /* The stream goes to the head of the list. */
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

/* Takes the stream out of the list of those that wait. */
static void unpark(struct insert_stream *stream)
{
    struct service *service = stream->service;
    if (!stream->parked) {
        return;
    }
    if (service->advancing == stream) { /* insert_streams_advance goes on behind it */
        service->advancing = stream->parked_next;
    }
    /* Its neighbours are linked with each other; at either end the list itself is. */
    *(stream->parked_previous ? &stream->parked_previous->parked_next : &service->parked_first) =
        stream->parked_next;
    *(stream->parked_next ? &stream->parked_next->parked_previous : &service->parked_last) =
        stream->parked_previous;
    stream->parked_next = stream->parked_previous = NULL;
    stream->parked = false;
}

/* Ends the wait, if there is one, and lets messages come again where the call still exists. */
void insert_stream_resume(struct insert_stream *stream)
{
    unpark(stream);
    if (stream->held && stream->call) {
        stream->held = false;
        rpc_call_resume(stream->call);
    }
}

/* At the end of the list, unless it is in it already. */
void insert_stream_park(struct insert_stream *stream, const char *why)
{
    struct service *service = stream->service;
    if (!stream->parked) {
        stream->parked = true;
        stream->since_ns = clock_now_ns();
        stream->parked_previous = service->parked_last;
        *(service->parked_last ? &service->parked_last->parked_next : &service->parked_first) =
            stream;
        service->parked_last = stream;
    }
    snprintf(stream->why, sizeof stream->why, "%s", why);
    /* The call's messages are not read until it is resumed. */
    if (!stream->held) {
        stream->held = true;
        rpc_call_hold(stream->call);
    }
}

/* What is with the inserter is written and counted all the same; the client asks for it when it
 * opens again. */
void insert_stream_fail(struct insert_stream *stream, status code, const char *text)
{
    if (stream->failed || stream->call == NULL) {
        return;
    }
    /* A refusal is the client's mistake or a full table: it is logged once, here. */
    if (code != STATUS_CLOSED) {
        log_warn("insert refused writer=%s: %s", stream->writer ? stream->writer->name : "?", text);
    }
    /* Without an episode under way nothing advances the stream any more. */
    stream->failed = true;
    stream->state = READY;
    insert_incoming_drop(stream);
    rpc_call_finish(stream->call, code, text);
    insert_stream_resume(stream);
}

/* The call is over, for whatever reason. Jobs that are still with the inserter refer to the stream,
 * and the last of them frees it. */
void on_insert_done(struct rpc_call *call)
{
    struct insert_stream *stream = rpc_call_state(call);
    if (stream == NULL) {
        return;
    }
    struct service *service = stream->service;
    insert_incoming_drop(stream);
    /* The stream leaves the list. */
    if (stream->previous) {
        stream->previous->next = stream->next;
    } else {
        service->insert_streams = stream->next;
    }
    if (stream->next) {
        stream->next->previous = stream->previous;
    }
    /* From here on there is nobody to acknowledge to. */
    stream->call = NULL;
    client_leave(stream->client);
    stream->client = NULL;
    unpark(stream);
    if (stream->n_jobs == 0) {
        mem_free(stream);
    }
    /* Its memory may be what others wait for. */
    service->inserts_may_go = true;
    service_settle(service);
}

/* Two streams of one writer would insert in two orders. */
void insert_streams_fence(struct service *service, const struct writer *writer,
                          const struct insert_stream *keep)
{
    /* A stream of an older generation is told so; one of the same generation has been replaced. */
    for (struct insert_stream *stream = service->insert_streams; stream; stream = stream->next) {
        if (stream->writer == writer && stream != keep) {
            insert_stream_fail(stream,
                               stream->generation < writer->generation ? STATUS_MISMATCH
                                                                       : STATUS_SUPERSEDED,
                               "this writer has opened again elsewhere");
        }
    }
}

/* ---- The first message ---- */

/* The first message names table, writer and generation. Only the newest generation may insert, and
 * only one stream of it: an older one is fenced off. */
static status open_stream(struct insert_stream *stream, const Hindcast__InsertRequest *request,
                          struct err *err)
{
    /* OpenInsert has made table and writer, and has stored both. */
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
    /* The writer is known and current: whatever stream it had before ends. */
    stream->table = table;
    stream->writer = writer;
    stream->generation = request->generation;
    insert_streams_fence(stream->service, writer, stream);
    return STATUS_OK;
}

/* ---- Parked streams ---- */

/* Tries every parked stream once, in order of parking. */
bool insert_streams_advance(struct service *service)
{
    bool any = false;
    bool memory_short = false;
    ASSERT(service->advancing == NULL);
    struct insert_stream *stream = service->parked_first;
    while (stream) {
        /* What follows may take any stream out of the list, or put this one at its end again. */
        service->advancing = stream->parked_next;
        const bool needs_memory = stream->in.kind == KIND_STORE && !stream->in.reserved;
        /* Memory goes in order, so that a long episode is not overtaken for ever by short ones. */
        if (!(needs_memory && memory_short)) {
            any = insert_stream_advance(stream) || any;
            memory_short = memory_short || (needs_memory && !stream->in.reserved &&
                                            stream->parked && !stream->by_share);
        }
        stream = service->advancing;
    }
    return any;
}

/* Does a stream wait for the memory of its episode? */
static bool anyone_short_of_memory(const struct service *service)
{
    const struct insert_stream *stream = service->parked_first;
    while (stream && (stream->in.kind != KIND_STORE || stream->in.reserved)) {
        stream = stream->parked_next;
    }
    return stream != NULL;
}

/* Does the episode come in so slowly that its memory is held for nothing? */
static bool is_trickling(const struct insert_stream *stream, uint64_t now_ns, uint64_t idle_ns)
{
    const struct incoming *in = &stream->in;
    /* The time allowed grows with what has come in. */
    const uint64_t bytes = (uint64_t)in->next_chunk * STORE_CHUNK_BYTES;
    const uint64_t allowed_ns = idle_ns + bytes * NS_PER_S / LEAST_BYTES_PER_S;
    return in->reserved && !in->complete && now_ns > in->reserved_ns &&
           now_ns - in->reserved_ns > allowed_ns;
}

/* An insert that holds memory must make progress while others wait for that memory: it is cut off
 * where it is silent, or slower than LEAST_BYTES_PER_S. */
void insert_streams_check_idle(struct service *service, uint64_t now_ns)
{
    const uint64_t limit_ns = (uint64_t)service->options.idle_seconds * NS_PER_S;
    const bool memory_short = anyone_short_of_memory(service);
    for (struct insert_stream *stream = service->insert_streams; stream; stream = stream->next) {
        /* A parked stream is not being read: its silence is not the client's. */
        if (stream->state != RECEIVING || stream->parked) {
            continue;
        }
        if (now_ns - stream->heard_ns > limit_ns) {
            insert_stream_fail(
                stream, STATUS_TIMEOUT,
                "no further chunk of the episode came in replay_server.idle_seconds");
        } else if (memory_short && is_trickling(stream, now_ns, limit_ns)) {
            insert_stream_fail(stream, STATUS_TIMEOUT,
                               "the episode came in at less than 64 KiB a second while others "
                               "waited for replay_server.insert_buffer_bytes");
        }
    }
}

/* For Info: what the episode under way has reserved. */
bool insert_stream_holds(const struct insert_stream *stream, const struct served_table **table,
                         const char **who, size_t *bytes, uint64_t *since_ns)
{
    *table = stream->table;
    *who = stream->writer ? stream->writer->name : "?";
    *bytes = stream->in.reserved ? stream->in.need_bytes : 0;
    *since_ns = stream->in.reserved_ns;
    return *bytes > 0;
}

bool insert_stream_waits(struct insert_stream *stream, const struct served_table **table,
                         const char **who, const char **why, uint64_t *since_ns)
{
    /* The numbers in the reason change while the stream waits. */
    if (stream->parked) {
        (void)insert_stream_rate(stream, stream->why, sizeof stream->why);
    }
    *table = stream->table;
    *who = stream->writer ? stream->writer->name : "?";
    *why = stream->why;
    *since_ns = stream->since_ns;
    return stream->parked;
}

/* ---- Handlers ---- */

/* The client sends no more: the call ends OK when everything has been acknowledged. */
static void maybe_finish(struct insert_stream *stream)
{
    /* Nothing is with the inserter, and nothing waits to be acknowledged. */
    if (stream->half_closed && !stream->failed && stream->n_jobs == 0 &&
        stream->ack_episodes == 0 && stream->call) {
        if (stream->state == RECEIVING && !stream->in.complete) {
            insert_stream_fail(stream, STATUS_INVALID, "the stream ended within an episode");
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
    /* What was on its way when the stream failed is dropped. */
    if (stream == NULL || stream->failed) {
        return;
    }
    struct err err;
    status s = STATUS_OK;
    /* The first message opens, chunk 0 begins an episode, every chunk brings rows. */
    stream->heard_ns = clock_now_ns();
    if (stream->table == NULL) {
        s = open_stream(stream, request, &err);
    }
    if (s == STATUS_OK && stream->state == READY) {
        s = insert_incoming_begin(stream, request, &err);
    }
    if (s == STATUS_OK) {
        s = insert_incoming_take(stream, request, &err);
    }
    /* On to memory, limits and the inserter, as far as the episode can go now. */
    if (s == STATUS_OK) {
        (void)insert_stream_advance(stream);
    } else {
        insert_stream_fail(stream, s, err.text);
    }
    service_settle(stream->service);
}

/* The client sends no more. */
void on_insert_half_closed(struct rpc_call *call)
{
    struct insert_stream *stream = rpc_call_state(call);
    if (stream) {
        stream->half_closed = true;
        maybe_finish(stream);
    }
}

/* ---- Acknowledging ---- */

/* Sends one acknowledgement for all that came back since the last. While several wait to be sent,
 * what comes back is merged into the next. */
static void acknowledge(struct insert_stream *stream)
{
    if (stream->ack_episodes == 0 || stream->failed || stream->call == NULL ||
        rpc_call_unsent(stream->call) >= UNSENT_MAX) {
        return;
    }
    /* One message, whatever has come back: sequences rise, so the last one stands for all. */
    Hindcast__InsertResponse response = HINDCAST__INSERT_RESPONSE__INIT;
    response.sequence = stream->ack_sequence;
    response.n_episodes = stream->ack_episodes;
    response.n_duplicates = stream->ack_duplicates;
    response.episode_id = stream->ack_episode_id;
    /* What could not be sent stays counted and goes with the next. */
    if (rpc_call_send(stream->call, &response.base, NULL) == STATUS_OK) {
        stream->ack_episodes = stream->ack_duplicates = 0;
    }
    maybe_finish(stream);
}

/* Called after a group of jobs has come back. */
void insert_streams_acknowledge(struct service *service)
{
    for (struct insert_stream *stream = service->insert_streams; stream; stream = stream->next) {
        acknowledge(stream);
        maybe_finish(stream);
    }
}

/* An acknowledgement has left: there is place for the next. */
void on_insert_sent(struct rpc_call *call)
{
    struct insert_stream *stream = rpc_call_state(call);
    if (stream) {
        acknowledge(stream);
    }
}
