/* Sample: credit comes in, batches go out in order of their number.
 *
 * A response is an op:
 *
 *     drawn (call thread) --> gathered (here when small, else by a gather thread) --> sent in turn
 *
 * A few ops of a stream are under way at once, so that drawing, gathering and sending overlap. A
 * snippet whose episode was removed between draw and gather is drawn again.
 *
 * Memory. Responses come from one pool of sample_buffer_bytes. A client may be granted batches that
 * it does not read, so two rules keep one stream from holding what others wait for: a stream starts
 * a second response only within its share of the pool, and while somebody waits for memory, a
 * stream of which nothing could be sent for idle_seconds is ended. */
#define LOG_MODULE "sample"
#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/service/sample_op.h"

#define OPS_MAX     4u          /* responses of one stream under way */
#define SMALL_BYTES (64u << 10) /* gathered on the call thread up to here */
#define POLL_NS     100000u     /* for a client that takes batches one by one */
#define CREDIT_MAX  (1ull << 40)

struct sample_stream {
    struct service *service;
    struct rpc_call *call; /* NULL: over; ops still refer to the stream */
    struct sample_stream *next, *previous;
    struct sample_request request;
    uint64_t next_batch;
    uint64_t credit;
    bool failed, half_closed;
    struct sample_op *first, *last; /* under way, in order */
    struct sample_op *spare;        /* free; without a buffer */
    uint32_t n_ops;                 /* under way */
    uint32_t n_gathering;           /* with a gather thread */
    bool wants;                     /* counted in service->sample_wanting: has credit */
    uint64_t moved_ns;              /* when a response left, or began to wait for that */
    size_t held_bytes;              /* of the pool: ops under way, and responses not sent yet .. */
    size_t unsent_bytes[RPC_SEND_QUEUE_MAX + 1]; /* .. whose sizes are these, in order: a ring */
    unsigned unsent_begin, n_unsent;
    /* Waiting, for memory or for what `why` says: */
    bool waiting, short_of_memory;
    uint64_t since_ns;
    char why[128];
};

/* ---- Life ---- */

/* The stream's state lives until the call is over and no gather thread has one of its ops. */
void on_sample_start(struct rpc_call *call)
{
    struct service *service = rpc_call_service(call);
    struct sample_stream *stream = mem_new(sizeof *stream);
    if (stream == NULL) {
        rpc_call_finish(call, STATUS_NO_MEMORY, "out of memory");
        return;
    }
    stream->service = service;
    stream->call = call;
    /* The stream goes to the head of the list. */
    stream->next = service->sample_streams;
    if (stream->next) {
        stream->next->previous = stream;
    }
    service->sample_streams = stream;
    rpc_call_set_state(call, stream);
}

struct sample_stream *sample_stream_next(const struct sample_stream *stream)
{
    return stream->next;
}

/* Among how many streams the pool is shared: those that have credit. */
static void count_wanting(struct sample_stream *stream)
{
    const bool wants = stream->call && !stream->failed && stream->credit > 0;
    ASSERT(!stream->wants || stream->service->sample_wanting > 0);
    stream->service->sample_wanting += (uint32_t)wants - (uint32_t)stream->wants;
    stream->wants = wants;
}

/* Frees the stream with its ops, under way and spare; those under way give their buffers back. */
static void stream_free(struct sample_stream *stream)
{
    ASSERT(stream->n_gathering == 0);
    for (int list = 0; list < 2; list++) {
        struct sample_op *op = list == 0 ? stream->first : stream->spare;
        while (op) {
            struct sample_op *next = op->next;
            sample_op_free(op);
            op = next;
        }
    }
    mem_free(stream);
}

void on_sample_done(struct rpc_call *call)
{
    struct sample_stream *stream = rpc_call_state(call);
    if (stream == NULL) {
        return;
    }
    struct service *service = stream->service;
    /* The stream leaves the list. */
    if (stream->previous) {
        stream->previous->next = stream->next;
    } else {
        service->sample_streams = stream->next;
    }
    if (stream->next) {
        stream->next->previous = stream->previous;
    }
    /* Ops that are with a gather thread keep the stream; the last of them to come back frees it. */
    stream->call = NULL;
    count_wanting(stream);
    if (stream->n_gathering == 0) {
        stream_free(stream);
    }
    service->samples_may_go = true; /* a share became free */
    service_settle(service);
}

/* Ends the call, once. Ops that have not been handed to gRPC are not sent any more. */
static void fail(struct sample_stream *stream, status code, const char *text)
{
    if (!stream->failed && stream->call) {
        stream->failed = true;
        stream->waiting = stream->short_of_memory = false;
        count_wanting(stream);
        rpc_call_finish(stream->call, code, text);
    }
}

/* While somebody waits for memory, ends the streams of which nothing has left for too long. Their
 * clients may come again. */
void sample_streams_check_idle(struct service *service, uint64_t now_ns)
{
    const uint64_t limit_ns = (uint64_t)service->options.idle_seconds * NS_PER_S;
    bool short_of_memory = false;
    /* Is there anybody who waits for memory? Otherwise a client may take its time. */
    for (const struct sample_stream *s = service->sample_streams; s; s = s->next) {
        short_of_memory = short_of_memory || s->short_of_memory;
    }
    for (struct sample_stream *s = service->sample_streams; short_of_memory && s; s = s->next) {
        if (rpc_call_unsent(s->call) > 0 && now_ns > s->moved_ns &&
            now_ns - s->moved_ns > limit_ns) {
            log_warn("a sampler does not read what it was granted and is ended peer=%s bytes=%zu",
                     rpc_call_peer(s->call), s->held_bytes);
            s->failed = true;
            s->waiting = s->short_of_memory = false;
            count_wanting(s);
            /* Finishing would wait for what the client does not read. */
            rpc_call_abort(
                s->call, STATUS_TIMEOUT,
                "nothing was read for replay_server.idle_seconds while others waited for "
                "replay_server.sample_buffer_bytes");
        }
    }
}

/* ---- Sending ---- */

/* Hands the response to gRPC. The buffer goes with it and returns to the pool when it has been
 * sent. */
static void send_op(struct sample_stream *stream, struct sample_op *op)
{
    Hindcast__SampleResponse response;
    struct rpc_payload payload;
    if (rpc_call_unsent(stream->call) == 0) {
        stream->moved_ns = clock_now_ns(); /* from now on it depends on the client */
    }
    /* The size is needed when the response has left; they leave in this order. */
    ASSERT(stream->n_unsent <= RPC_SEND_QUEUE_MAX);
    stream->unsent_bytes[(stream->unsent_begin + stream->n_unsent++) % (RPC_SEND_QUEUE_MAX + 1)] =
        op->bytes;
    sample_op_fill(op, &response, &payload);
    status s = rpc_call_send(stream->call, &response.base, &payload);
    if (s != STATUS_OK) {
        fail(stream, s, "a batch could not be sent");
    }
}

/* Sends what is gathered, in order. */
static void flush(struct sample_stream *stream)
{
    while (stream->first && stream->first->gathered && stream->call && !stream->failed &&
           rpc_call_unsent(stream->call) < RPC_SEND_QUEUE_MAX) {
        /* The op leaves the list. Once its response has been handed to gRPC it is free for another
         * one. */
        struct sample_op *op = stream->first;
        stream->first = op->next;
        if (stream->first == NULL) {
            stream->last = NULL;
        }
        stream->n_ops--;
        send_op(stream, op);
        op->next = stream->spare;
        stream->spare = op;
    }
}

/* The gathering is over: done, or again with other draws. Gathering again is rare and of few
 * snippets: it is done here. */
static void gathered(struct sample_stream *stream, struct sample_op *op)
{
    while (op->job.n_bad > 0) {
        if (!sample_op_draw_again(op, stream->service)) {
            fail(stream, STATUS_UNAVAILABLE,
                 "episodes were removed faster than they could be read");
            return;
        }
        gather_run(&op->job, stream->service->reader);
    }
    op->gathered = true;
    service_observe(stream->service, CALL_SAMPLE, op->drawn_ns);
    used_up_delete(stream->service);
    flush(stream);
}

/* A gather thread has finished an op. The call may be over by now. */
void sample_streams_gathered(struct gather_job *job)
{
    struct sample_stream *stream = job->owner;
    /* The job is the first thing in its op. */
    struct sample_op *op = (struct sample_op *)job;
    struct service *service = stream->service;
    stream->n_gathering--;
    /* The call has ended meanwhile. */
    if (stream->call == NULL) {
        if (stream->n_gathering == 0) {
            stream_free(stream);
        }
        return;
    }
    gathered(stream, op);
    /* The stream may have place for another op. */
    service->samples_may_go = true;
}

/* ---- Pumping ---- */

/* Notes what the stream waits for; since when is when it began to wait for anything. */
static void wait_for(struct sample_stream *stream, const char *why)
{
    stream->short_of_memory = false;
    if (!stream->waiting) {
        stream->waiting = true;
        stream->since_ns = clock_now_ns();
    }
    snprintf(stream->why, sizeof stream->why, "%s", why);
}

/* May the next response be drawn? */
static bool may_draw(struct sample_stream *stream)
{
    struct served_table *table = stream->request.table;
    const bool sealed = table_sealed(table->table);
    char why[128];
    /* The seal comes first, then the table's rates. */
    if (stream->request.require_sealed && !sealed) {
        snprintf(why, sizeof why, "sealed: %zu writers have said that they are done",
                 writers_n_done(&table->writers));
        wait_for(stream, why);
        return false;
    }
    if (!limiter_allow_sample(&table->limiter, table_counts(table->table)->transitions, sealed, why,
                              sizeof why)) {
        wait_for(stream, why);
        return false;
    }
    /* Draws that use episodes up: there must be enough for a batch, and none may leave the table while
     * its seal is on the way to the store. */
    const uint64_t left = table_draws_left(table->table);
    if (left != UINT64_MAX && table->sealing) {
        wait_for(stream, "the table is being sealed");
        return false;
    }
    if (left < stream->request.count) {
        snprintf(why, sizeof why, "max_times_sampled: %" PRIu64 " draws left of %u", left,
                 stream->request.count);
        wait_for(stream, why);
        return false;
    }
    return true;
}

/* An op that is free, or a new one. */
static struct sample_op *take_op(struct sample_stream *stream)
{
    struct sample_op *op = stream->spare;
    if (op) {
        stream->spare = op->next;
        return op;
    }
    return sample_op_new(&stream->request);
}

static void append_op(struct sample_stream *stream, struct sample_op *op)
{
    if (stream->last) {
        stream->last->next = op;
    } else {
        stream->first = op;
    }
    stream->last = op;
    stream->n_ops++;
}

/* Starts one response. False: not now. */
static bool start_op(struct sample_stream *stream)
{
    struct service *service = stream->service;
    const struct served_table *table = stream->request.table;
    /* may_draw has asked for one batch: where a draw counts against a rate, or uses episodes up, it is
     * one at a time. */
    const bool uses_up = table_draws_left(table->table) != UINT64_MAX;
    const bool one =
        uses_up || (limiter_couples_samples(&table->limiter) && !table_sealed(table->table));
    /* As many batches as the client takes at once, has credit for, and may have. */
    const uint32_t k = one ? 1 : stream->request.k;
    const uint32_t n_batches = stream->credit < k ? (uint32_t)stream->credit : k;
    const size_t bytes = sample_op_bytes(&stream->request, n_batches);
    const size_t held = stream->held_bytes;
    const size_t share = (size_t)service->options.sample_buffer_bytes /
                         (service->sample_wanting ? service->sample_wanting : 1);
    /* The first response of a stream is always tried, so that a share which is smaller than a
     * response stops nobody. */
    if (held > 0 && held + bytes > share) {
        return false; /* goes on when one of its own has been sent */
    }
    /* All that may fail comes before the draw: draws are counted against the rates and cannot be
     * taken back. */
    struct buffer *buffer = buffer_pool_take(service->sample_pool, bytes);
    if (buffer == NULL) {
        wait_for(stream, "memory: replay_server.sample_buffer_bytes");
        stream->short_of_memory = true;
        return false;
    }
    struct sample_op *op = take_op(stream);
    struct used_up *used_up =
        uses_up ? used_up_new(stream->request.table, stream->request.count) : NULL;
    if (op == NULL || (uses_up && used_up == NULL)) {
        buffer_give_back(buffer);
        sample_op_free(op);
        used_up_free(used_up);
        fail(stream, STATUS_NO_MEMORY, "out of memory");
        return false;
    }
    stream->waiting = stream->short_of_memory = false;
    /* It held nothing before: the time in which nothing of it leaves begins now. */
    if (held == 0) {
        stream->moved_ns = clock_now_ns();
    }
    sample_op_draw(op, service, stream->next_batch, n_batches, buffer, used_up);
    stream->held_bytes += op->bytes;
    op->job.done = sample_streams_gathered;
    op->job.owner = stream;
    append_op(stream, op);
    stream->next_batch += n_batches;
    stream->credit -= n_batches;
    /* Small batches are copied here, for handing them to a thread and back would take longer; but this
     * thread does not wait for the disk. */
    const bool here = bytes <= SMALL_BYTES && gather_is_resident(&op->job, service->reader);
    if (!here && gatherer_submit(service->gatherer, &op->job) == STATUS_OK) {
        stream->n_gathering++;
    } else {
        gather_run(&op->job, service->reader);
        gathered(stream, op);
        /* It has been answered and will ask again: without a sleep in between that takes half as long. */
        if (stream->credit == 0) {
            rpc_server_poll_for(service->server, POLL_NS);
        }
    }
    return true;
}

/* Starts responses as long as credit, order of sending, rates and memory allow. True when it
 * started one. */
static bool pump(struct sample_stream *stream)
{
    bool any = false;
    while (stream->request.table && stream->call && !stream->failed && stream->credit > 0 &&
           stream->n_ops < OPS_MAX &&
           stream->n_ops + rpc_call_unsent(stream->call) < RPC_SEND_QUEUE_MAX && may_draw(stream) &&
           start_op(stream)) {
        any = true;
    }
    count_wanting(stream);
    /* The client grants no more, and all that it granted has been sent. */
    if (stream->half_closed && stream->credit == 0 && stream->n_ops == 0 && stream->call) {
        fail(stream, STATUS_OK, "");
    }
    return any;
}

/* The newest stream first; its share of the pool keeps it from taking everything. */
bool sample_streams_advance(struct service *service)
{
    bool any = false;
    for (struct sample_stream *stream = service->sample_streams; stream; stream = stream->next) {
        any = pump(stream) || any;
    }
    return any;
}

/* For Info: does the stream wait, for what, and since when? */
bool sample_stream_waits(const struct sample_stream *stream, const struct served_table **table,
                         const char **who, const char **why, uint64_t *since_ns)
{
    *table = stream->request.table;
    *who = rpc_call_peer(stream->call);
    *why = stream->why;
    *since_ns = stream->since_ns;
    return stream->waiting && !stream->failed;
}

bool sample_stream_holds(const struct sample_stream *stream, const struct served_table **table,
                         const char **who, size_t *bytes, uint64_t *since_ns)
{
    *table = stream->request.table;
    *who = rpc_call_peer(stream->call);
    *bytes = stream->held_bytes;
    *since_ns = stream->moved_ns;
    return *bytes > 0;
}

/* Jobs that are with gather threads, over all streams. */
size_t sample_streams_gathering(const struct service *service)
{
    size_t n = 0;
    for (const struct sample_stream *stream = service->sample_streams; stream;
         stream = stream->next) {
        n += stream->n_gathering;
    }
    return n;
}

uint64_t sample_streams_oldest(const struct service *service)
{
    uint64_t oldest = UINT64_MAX;
    for (const struct sample_stream *stream = service->sample_streams; stream;
         stream = stream->next) {
        /* In order of drawing: the first that is not gathered is the oldest of its stream. */
        const struct sample_op *op = stream->first;
        while (op && op->gathered) {
            op = op->next;
        }
        oldest = op && op->number < oldest ? op->number : oldest;
    }
    return oldest;
}

/* ---- Handlers ---- */

void on_sample_message(struct rpc_call *call, const ProtobufCMessage *message)
{
    const Hindcast__SampleRequest *request = (const Hindcast__SampleRequest *)message;
    struct sample_stream *stream = rpc_call_state(call);
    if (stream == NULL || stream->failed) {
        return;
    }
    struct err err;
    status s = STATUS_OK;
    /* The first message says what is asked for; every message grants credit. */
    if (stream->request.table == NULL) {
        s = sample_request_read(&stream->request, stream->service, request, &err);
        stream->next_batch = stream->request.first_batch;
    }
    /* Credit adds up over messages, and the sum must not wrap around. */
    if (s == STATUS_OK && request->credit > CREDIT_MAX - stream->credit) {
        s = err_set(&err, STATUS_INVALID, "credit %" PRIu64 ": too much", request->credit);
    }
    if (s != STATUS_OK) {
        fail(stream, s, err.text);
        return;
    }
    stream->credit += request->credit;
    count_wanting(stream);
    (void)pump(stream);
    service_settle(stream->service);
}

/* No more credit will come: the call ends when all that was granted has been sent. */
void on_sample_half_closed(struct rpc_call *call)
{
    struct sample_stream *stream = rpc_call_state(call);
    if (stream) {
        stream->half_closed = true;
        (void)pump(stream);
    }
}

/* A response has left. Its memory, its place in the send queue and its share may let something go
 * on, here or in another stream. */
void on_sample_sent(struct rpc_call *call)
{
    struct sample_stream *stream = rpc_call_state(call);
    if (stream) {
        stream->moved_ns = clock_now_ns();
        ASSERT(stream->n_unsent > 0);
        stream->held_bytes -= stream->unsent_bytes[stream->unsent_begin];
        stream->unsent_begin = (stream->unsent_begin + 1) % (RPC_SEND_QUEUE_MAX + 1);
        stream->n_unsent--;
        flush(stream);
        (void)pump(stream);
        service_settle(stream->service);
    }
}
