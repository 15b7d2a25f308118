/* Sample: credit comes in, batches go out in order of their number.
 *
 * A response is an op:  drawn (call thread) -> gathered (here when small, else by a gather thread)
 * -> sent in turn. A few ops of a stream are under way at once, so that drawing, gathering and
 * sending overlap. A snippet whose episode went away between draw and gather is drawn again. */
#define LOG_MODULE "sample"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/clients/signature_wire.h"
#include "replay_server/service_private.h"

#define OPS_MAX         4u          /* responses of one stream under way */
#define SMALL_BYTES     (64u << 10) /* gathered on the call thread up to here */
#define MESSAGE_SPARE   (1u << 20)  /* of max_message_bytes, for everything but the rows */
#define SNIPPETS_MAX    65536u
#define TRANSITIONS_MAX 1024u
#define ATTEMPTS_MAX    64u
#define CREDIT_MAX      (1ull << 40)

struct sample_op {
    struct gather_job job;
    struct sample_stream *stream;
    struct sample_op *next;
    bool gathered;
    uint32_t attempt;
    uint64_t first_batch;
    uint32_t n_batches;
    uint64_t version;
    bool prioritized;
    struct buffer *buffer;
    /* (k * count), reused: */
    struct gather_snippet *snippets;
    uint32_t *n_valid;
    uint64_t *episode_id;
    uint32_t *first_row;
    double *probability;
};

struct sample_stream {
    struct service *service;
    struct rpc_call *call; /* NULL: over; ops still refer to the stream */
    struct sample_stream *next, *previous;
    struct served_table *table; /* NULL before the first message */
    struct row_map map;
    uint32_t B, N, begin, count;
    uint32_t k; /* batches in a response, at most */
    uint64_t seed;
    uint64_t next_batch;
    uint64_t credit;
    bool require_sealed;
    bool failed, half_closed;
    size_t batch_bytes;
    struct sample_op *first, *last; /* under way, in order */
    struct sample_op *spare;        /* free */
    uint32_t n_ops;                 /* under way */
    uint32_t n_gathering;           /* with a gather thread */
    bool waiting;
    uint64_t since_ns;
    char why[128];
};

/* ---- Life ---- */

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

static void op_free(struct sample_op *op)
{
    if (op) {
        mem_free(op->snippets);
        mem_free(op->n_valid);
        mem_free(op->episode_id);
        mem_free(op->first_row);
        mem_free(op->probability);
        mem_free(op);
    }
}

static void stream_free(struct sample_stream *stream)
{
    ASSERT(stream->n_gathering == 0);
    for (int list = 0; list < 2; list++) {
        struct sample_op *op = list == 0 ? stream->first : stream->spare;
        while (op) {
            struct sample_op *next = op->next;
            if (op->buffer) {
                buffer_give_back(op->buffer);
            }
            op_free(op);
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
    if (stream->previous) {
        stream->previous->next = stream->next;
    } else {
        service->sample_streams = stream->next;
    }
    if (stream->next) {
        stream->next->previous = stream->previous;
    }
    stream->call = NULL;
    if (stream->n_gathering == 0) {
        stream_free(stream);
    }
    service_settle(service);
}

static void fail(struct sample_stream *stream, status code, const char *text)
{
    if (!stream->failed && stream->call) {
        stream->failed = true;
        stream->waiting = false;
        rpc_call_finish(stream->call, code, text);
    }
}

/* ---- The first message ---- */

static status check_request(const Hindcast__SampleRequest *request, struct err *err)
{
    if (request->batch_snippets < 1 || request->batch_snippets > SNIPPETS_MAX) {
        return err_set(err, STATUS_INVALID, "batch_snippets %u: expected 1..%u",
                       request->batch_snippets, SNIPPETS_MAX);
    }
    if (request->snippet_transitions < 1 || request->snippet_transitions > TRANSITIONS_MAX) {
        return err_set(err, STATUS_INVALID, "snippet_transitions %u: expected 1..%u",
                       request->snippet_transitions, TRANSITIONS_MAX);
    }
    if (request->slice_begin > request->batch_snippets ||
        request->slice_count > request->batch_snippets - request->slice_begin ||
        (request->slice_count == 0 && request->slice_begin > 0)) {
        return err_set(err, STATUS_INVALID, "slice %u + %u: batch_snippets is %u",
                       request->slice_begin, request->slice_count, request->batch_snippets);
    }
    return STATUS_OK;
}

static status open_stream(struct sample_stream *stream, const Hindcast__SampleRequest *request,
                          struct err *err)
{
    struct service *service = stream->service;
    struct served_table *table = service_table(service, request->table);
    if (table == NULL || !table->stored) {
        return err_set(err, STATUS_NOT_FOUND, "table %s: not there yet",
                       request->table[0] ? request->table : "default");
    }
    struct signature want;
    uint32_t reward_map[SIGNATURE_TASKS_MAX];
    status s = check_request(request, err);
    if (s != STATUS_OK || (s = signature_wire_read(&want, request->signature, err)) != STATUS_OK) {
        return s;
    }
    s = signature_match(&table->record.signature, &want, reward_map, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "table %s", table->record.name);
    }
    row_map_init(&stream->map, &table->record.signature, &want, reward_map);
    stream->B = request->batch_snippets;
    stream->N = request->snippet_transitions;
    stream->begin = request->slice_begin;
    stream->count = request->slice_count ? request->slice_count : request->batch_snippets;
    stream->seed = request->seed;
    stream->next_batch = request->first_batch;
    stream->require_sealed = request->require_sealed;
    stream->batch_bytes = (size_t)stream->count * (stream->N + 1) * stream->map.W_out * 4;
    const size_t most = (size_t)service->options.max_message_bytes - MESSAGE_SPARE / 2;
    if (stream->batch_bytes > most) {
        return err_set(
            err, STATUS_INVALID,
            "a batch of %u snippets takes %zu bytes; replay_server.max_message_bytes allows %zu",
            stream->count, stream->batch_bytes, most);
    }
    /* What is asked for, as far as it fits a message. */
    const size_t fits = most / stream->batch_bytes;
    const uint32_t k = request->batches_per_response ? request->batches_per_response : 1;
    stream->k = k < fits ? k : (uint32_t)fits;
    if ((uint64_t)stream->k * stream->count > SNIPPETS_MAX) {
        stream->k = SNIPPETS_MAX / stream->count;
    }
    stream->table = table;
    return STATUS_OK;
}

/* ---- Ops ---- */

static struct sample_op *take_op(struct sample_stream *stream)
{
    struct sample_op *op = stream->spare;
    if (op) {
        stream->spare = op->next;
        return op;
    }
    op = mem_new(sizeof *op);
    if (op == NULL) {
        return NULL;
    }
    const size_t n = (size_t)stream->k * stream->count;
    op->stream = stream;
    op->snippets = mem_array(n, sizeof *op->snippets);
    op->n_valid = mem_array(n, sizeof *op->n_valid);
    op->episode_id = mem_array(n, sizeof *op->episode_id);
    op->first_row = mem_array(n, sizeof *op->first_row);
    op->probability = mem_array(n, sizeof *op->probability);
    if (!op->snippets || !op->n_valid || !op->episode_id || !op->first_row || !op->probability) {
        op_free(op);
        return NULL;
    }
    return op;
}

static void draw_one(struct sample_op *op, uint32_t j)
{
    const struct sample_stream *stream = op->stream;
    struct table_draw draw;
    table_draw(stream->table->table, stream->seed, op->first_batch + j / stream->count,
               stream->begin + j % stream->count, op->attempt, stream->N, &draw);
    op->snippets[j] = (struct gather_snippet){.id = draw.id,
                                              .first_row = draw.first_row,
                                              .n_valid = draw.n_valid,
                                              .n_rows = draw.n_rows,
                                              .result = STATUS_BUSY};
    op->n_valid[j] = draw.n_valid;
    op->episode_id[j] = draw.id;
    op->first_row[j] = draw.first_row;
    op->probability[j] = draw.probability;
}

/* Draws everything of the op, and counts it. */
static void draw(struct sample_op *op)
{
    struct sample_stream *stream = op->stream;
    struct served_table *table = stream->table;
    uint64_t transitions = 0;
    for (uint32_t j = 0; j < op->job.n; j++) {
        draw_one(op, j);
        transitions += op->n_valid[j];
    }
    table_count_sampled(table->table, op->job.n);
    limiter_commit_sample(&table->limiter, transitions);
    stream->service->inserts_may_go = true;
}

/* Draws again what could not be gathered. False: no luck. */
static bool draw_again(struct sample_op *op)
{
    struct sample_stream *stream = op->stream;
    struct served_table *table = stream->table;
    for (uint32_t j = 0; j < op->job.n; j++) {
        if (op->snippets[j].result == STATUS_CORRUPT) {
            service_drop_corrupt(stream->service, table, op->snippets[j].id);
        } else if (op->snippets[j].result == STATUS_NOT_FOUND &&
                   table_get(table->table, op->snippets[j].id, NULL)) {
            /* In the index and not in a snapshot that has seen its commit: its chunks are lost. */
            service_drop_corrupt(stream->service, table, op->snippets[j].id);
        }
    }
    if (++op->attempt > ATTEMPTS_MAX || table_counts(table->table)->transitions == 0) {
        return false;
    }
    op->version = table_version(table->table);
    for (uint32_t j = 0; j < op->job.n; j++) {
        if (op->snippets[j].result != STATUS_OK) {
            draw_one(op, j);
        }
    }
    return true;
}

static void send_op(struct sample_op *op)
{
    struct sample_stream *stream = op->stream;
    Hindcast__SampleResponse response = HINDCAST__SAMPLE_RESPONSE__INIT;
    response.first_batch = op->first_batch;
    response.n_batches = op->n_batches;
    response.table_version = op->version;
    response.n_n_valid = op->job.n;
    response.n_valid = op->n_valid;
    if (op->prioritized) {
        response.n_episode_id = response.n_first_row = response.n_probability = op->job.n;
        response.episode_id = op->episode_id;
        response.first_row = op->first_row;
        response.probability = op->probability;
    }
    const struct rpc_payload payload = {.field = 15,
                                        .bytes = op->buffer->bytes,
                                        .size = op->n_batches * stream->batch_bytes,
                                        .release = buffer_give_back,
                                        .arg = op->buffer};
    op->buffer = NULL;
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
        struct sample_op *op = stream->first;
        stream->first = op->next;
        if (stream->first == NULL) {
            stream->last = NULL;
        }
        stream->n_ops--;
        send_op(op);
        op->next = stream->spare;
        stream->spare = op;
    }
}

/* The gathering is over: done, or again with other draws. Gathering again is rare and of few
 * snippets: it is done here. */
static void gathered(struct sample_op *op)
{
    struct sample_stream *stream = op->stream;
    while (op->job.n_bad > 0) {
        if (!draw_again(op)) {
            fail(stream, STATUS_UNAVAILABLE, "episodes went away faster than they could be read");
            return;
        }
        gather_run(&op->job, stream->service->reader);
    }
    op->gathered = true;
    flush(stream);
}

void sample_streams_gathered(struct gather_job *job)
{
    struct sample_op *op = job->owner;
    struct sample_stream *stream = op->stream;
    struct service *service = stream->service;
    stream->n_gathering--;
    if (stream->call == NULL) {
        if (stream->n_gathering == 0) {
            stream_free(stream);
        }
        return;
    }
    gathered(op);
    service->samples_may_go = true;
}

/* ---- Pumping ---- */

static void wait_for(struct sample_stream *stream, const char *why)
{
    if (!stream->waiting) {
        stream->waiting = true;
        stream->since_ns = clock_now_ns();
    }
    snprintf(stream->why, sizeof stream->why, "%s", why);
}

/* May the next response be drawn? */
static bool may_draw(struct sample_stream *stream)
{
    struct served_table *table = stream->table;
    const bool sealed = table_sealed(table->table);
    char why[128];
    if (stream->require_sealed && !sealed) {
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
    return true;
}

/* Starts one response. False: not now. */
static bool start_op(struct sample_stream *stream)
{
    struct service *service = stream->service;
    const uint32_t n_batches = stream->credit < stream->k ? (uint32_t)stream->credit : stream->k;
    const size_t bytes = n_batches * stream->batch_bytes;
    struct buffer *buffer = buffer_pool_take(service->sample_pool, bytes);
    if (buffer == NULL) {
        wait_for(stream, "memory: replay_server.sample_buffer_bytes");
        return false;
    }
    struct sample_op *op = take_op(stream);
    if (op == NULL) {
        buffer_give_back(buffer);
        fail(stream, STATUS_NO_MEMORY, "out of memory");
        return false;
    }
    stream->waiting = false;
    op->next = NULL;
    op->gathered = false;
    op->attempt = 0;
    op->buffer = buffer;
    op->first_batch = stream->next_batch;
    op->n_batches = n_batches;
    op->version = table_version(stream->table->table);
    op->prioritized = table_prioritized(stream->table->table);
    op->job = (struct gather_job){.snippets = op->snippets,
                                  .n = n_batches * stream->count,
                                  .N = stream->N,
                                  .map = &stream->map,
                                  .rows = (float *)(void *)buffer->bytes,
                                  .done = sample_streams_gathered,
                                  .owner = op};
    if (stream->last) {
        stream->last->next = op;
    } else {
        stream->first = op;
    }
    stream->last = op;
    stream->n_ops++;
    stream->next_batch += n_batches;
    stream->credit -= n_batches;
    draw(op);
    if (bytes > SMALL_BYTES && gatherer_submit(service->gatherer, &op->job) == STATUS_OK) {
        stream->n_gathering++;
    } else {
        gather_run(&op->job, service->reader);
        gathered(op);
    }
    return true;
}

static bool pump(struct sample_stream *stream)
{
    bool any = false;
    while (stream->table && stream->call && !stream->failed && stream->credit > 0 &&
           stream->n_ops < OPS_MAX &&
           stream->n_ops + rpc_call_unsent(stream->call) < RPC_SEND_QUEUE_MAX && may_draw(stream) &&
           start_op(stream)) {
        any = true;
    }
    if (stream->half_closed && stream->credit == 0 && stream->n_ops == 0 && stream->call) {
        fail(stream, STATUS_OK, "");
    }
    return any;
}

bool sample_streams_advance(struct service *service)
{
    bool any = false;
    for (struct sample_stream *stream = service->sample_streams; stream; stream = stream->next) {
        any = pump(stream) || any;
    }
    return any;
}

bool sample_stream_waits(const struct sample_stream *stream, const struct served_table **table,
                         const char **who, const char **why, uint64_t *since_ns)
{
    *table = stream->table;
    *who = rpc_call_peer(stream->call);
    *why = stream->why;
    *since_ns = stream->since_ns;
    return stream->waiting && !stream->failed;
}

size_t sample_streams_gathering(const struct service *service)
{
    size_t n = 0;
    for (const struct sample_stream *stream = service->sample_streams; stream;
         stream = stream->next) {
        n += stream->n_gathering;
    }
    return n;
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
    status s = stream->table ? STATUS_OK : open_stream(stream, request, &err);
    if (s == STATUS_OK && request->credit > CREDIT_MAX - stream->credit) {
        s = err_set(&err, STATUS_INVALID, "credit %" PRIu64 ": too much", request->credit);
    }
    if (s != STATUS_OK) {
        fail(stream, s, err.text);
        return;
    }
    stream->credit += request->credit;
    (void)pump(stream);
    service_settle(stream->service);
}

void on_sample_half_closed(struct rpc_call *call)
{
    struct sample_stream *stream = rpc_call_state(call);
    if (stream) {
        stream->half_closed = true;
        (void)pump(stream);
    }
}

void on_sample_sent(struct rpc_call *call)
{
    struct sample_stream *stream = rpc_call_state(call);
    if (stream) {
        flush(stream);
        (void)pump(stream);
        service_settle(stream->service);
    }
}
