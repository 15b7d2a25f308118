/* One response of a Sample stream: reads and checks the request, draws the snippets, and makes the
 * message.
 *
 * A request is checked once, against the table that it names, and gives the size of every response.
 * The draws go through the table's sampler; where the snippets' rows are is the gatherer's to find.
 * The rows and the arrays that describe them share one buffer of the sample pool.
 *
 * An op is used for one response after another of the same stream. */
#include "replay_server/service/sample_op.h"

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/signature_wire.h"

#define MESSAGE_SPARE   (1u << 20) /* of max_message_bytes, for everything but the rows */
#define SNIPPETS_MAX    65536u
#define TRANSITIONS_MAX 1024u
#define ROUNDS_MAX      64u
#define PAYLOAD_FIELD   15 /* SampleResponse.rows */

/* ---- The request ---- */

/* What can be checked without the table. */
static status check_message(const Hindcast__SampleRequest *message, struct err *err)
{
    if (message->batch_snippets < 1 || message->batch_snippets > SNIPPETS_MAX) {
        return err_set(err, STATUS_INVALID, "batch_snippets %u: expected 1..%u",
                       message->batch_snippets, SNIPPETS_MAX);
    }
    if (message->snippet_transitions < 1 || message->snippet_transitions > TRANSITIONS_MAX) {
        return err_set(err, STATUS_INVALID, "snippet_transitions %u: expected 1..%u",
                       message->snippet_transitions, TRANSITIONS_MAX);
    }
    /* A client may ask for a slice of each batch; a count of 0 is all of it. */
    if (message->slice_begin > message->batch_snippets ||
        message->slice_count > message->batch_snippets - message->slice_begin ||
        (message->slice_count == 0 && message->slice_begin > 0)) {
        return err_set(err, STATUS_INVALID, "slice %u + %u: batch_snippets is %u",
                       message->slice_begin, message->slice_count, message->batch_snippets);
    }
    return STATUS_OK;
}

/* How many batches a response takes: what is asked for, as far as it fits a message. */
static status fit_batches(struct sample_request *request, uint32_t asked, size_t message_bytes,
                          struct err *err)
{
    /* One batch must fit; several are packed as far as they fit. */
    const size_t most = message_bytes - MESSAGE_SPARE / 2;
    if (request->batch_bytes > most) {
        return err_set(
            err, STATUS_INVALID,
            "a batch of %u snippets takes %zu bytes; replay_server.max_message_bytes allows %zu",
            request->count, request->batch_bytes, most);
    }
    const size_t fits = most / request->batch_bytes;
    const uint32_t k = asked ? asked : 1;
    request->k = k < fits ? k : (uint32_t)fits;
    /* The number of snippets has a limit too, however small they are. */
    if ((uint64_t)request->k * request->count > SNIPPETS_MAX) {
        request->k = SNIPPETS_MAX / request->count;
    }
    return STATUS_OK;
}

status sample_request_read(struct sample_request *request, const struct service *service,
                           const Hindcast__SampleRequest *message, struct err *err)
{
    /* An empty name means the default table. */
    struct served_table *table = service_table(service, message->table);
    if (table == NULL || !table->stored) {
        return err_set(err, STATUS_NOT_FOUND, "table %s: not there yet",
                       message->table[0] ? message->table : "default");
    }
    /* The client's signature says which rewards it wants, in which order. */
    struct signature want;
    uint32_t reward_map[SIGNATURE_TASKS_MAX];
    status s = check_message(message, err);
    if (s != STATUS_OK || (s = signature_wire_read(&want, message->signature, err)) != STATUS_OK) {
        return s;
    }
    s = signature_match(&table->record.signature, &want, reward_map, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "table %s", table->record.name);
    }
    if (message->in_order && !table_sealed(table->table)) {
        return err_set(err, STATUS_MISMATCH, "table %s: in_order: expected a sealed table",
                       table->record.name);
    }
    /* The message has passed its checks. `*request` is written only where the rest succeeds as
     * well. */
    struct sample_request read = {
        .table = table,
        .B = message->batch_snippets,
        .N = message->snippet_transitions,
        .begin = message->slice_begin,
        .count = message->slice_count ? message->slice_count : message->batch_snippets,
        .seed = message->seed,
        .first_batch = message->first_batch,
        .require_sealed = message->require_sealed,
        .in_order = message->in_order,
        .origins = message->origins || message->in_order,
    };
    /* Which columns are sent, and from that the size of a batch. */
    row_map_init(&read.map, &table->record.signature, &want, reward_map);
    read.batch_bytes = (size_t)read.count * (read.N + 1) * read.map.W_out * sizeof(float);
    s = fit_batches(&read, message->batches_per_response,
                    (size_t)service->options.max_message_bytes, err);
    if (s == STATUS_OK) {
        *request = read;
    }
    return s;
}

/* ---- Life of an op ---- */

/* What one snippet takes behind the rows. */
#define SNIPPET_BYTES (sizeof(struct gather_snippet) + 2 * sizeof(uint64_t) + 2 * sizeof(uint32_t))

/* Rows are floats, the arrays behind them begin at a multiple of 8. */
static size_t rows_bytes(const struct sample_request *request, uint32_t n_batches)
{
    return (n_batches * request->batch_bytes + 7) / 8 * 8;
}

size_t sample_op_bytes(const struct sample_request *request, uint32_t n_batches)
{
    return rows_bytes(request, n_batches) + (size_t)n_batches * request->count * SNIPPET_BYTES;
}

struct sample_op *sample_op_new(const struct sample_request *request)
{
    struct sample_op *op = mem_new(sizeof *op);
    if (op) {
        op->request = request;
    }
    return op;
}

void sample_op_free(struct sample_op *op)
{
    if (op) {
        if (op->buffer) {
            buffer_give_back(op->buffer);
        }
        mem_free(op);
    }
}

/* Lays the arrays out in the buffer, those of 8-byte numbers first. */
static void lay_out(struct sample_op *op, uint32_t n)
{
    uint8_t *at = op->buffer->bytes + rows_bytes(op->request, op->n_batches);
    ASSERT((uintptr_t)at % sizeof(uint64_t) == 0);
    ASSERT(op->buffer->capacity >= sample_op_bytes(op->request, op->n_batches));
    op->snippets = (void *)at;
    op->episode_id = (void *)(at += n * sizeof *op->snippets);
    op->probability = (void *)(at += n * sizeof *op->episode_id);
    op->n_valid = (void *)(at += n * sizeof *op->probability);
    op->first_row = (void *)(at + n * sizeof *op->n_valid);
}

/* ---- Drawing ---- */

/* Draws snippet j of the response: snippet j % count of this client's slice of batch j / count. */
static void draw_one(struct sample_op *op, uint32_t j)
{
    const struct sample_request *request = op->request;
    struct table_draw draw;
    const uint64_t batch = op->first_batch + j / request->count;
    const uint32_t i = request->begin + j % request->count;
    if (request->in_order) {
        table_draw_in_order(request->table->table, batch * request->B + i, request->N, &op->place,
                            &draw);
    } else {
        table_draw(request->table->table, request->seed, batch, i, op->attempt, request->N, &draw);
    }
    op->snippets[j] = (struct gather_snippet){.id = draw.id,
                                              .first_row = draw.first_row,
                                              .n_valid = draw.n_valid,
                                              .n_rows = draw.n_rows,
                                              .result = STATUS_PENDING};
    op->n_valid[j] = draw.n_valid;
    op->episode_id[j] = draw.id;
    op->first_row[j] = draw.first_row;
    /* The table may have changed since the response was begun: the probability is given as that of a
     * table of table_transitions, so that their product is what it was at the draw. */
    const double now = (double)table_counts(request->table->table)->transitions;
    op->probability[j] = draw.probability * (now / (double)op->table_transitions);
}

/* Of what the snippets are a function of: transitions in order do not depend on priorities, which a
 * learner may be changing. */
static uint64_t version_of(const struct sample_op *op)
{
    const struct table *table = op->request->table->table;
    return op->request->in_order ? table_contents_version(table) : table_version(table);
}

/* What the response says about the table that it is drawn from. */
static void note_table(struct sample_op *op)
{
    const struct table *table = op->request->table->table;
    op->version = version_of(op);
    op->origins = op->request->origins || !table_draws_evenly(table);
}

void sample_op_draw(struct sample_op *op, struct service *service, uint64_t first_batch,
                    uint32_t n_batches, struct buffer *buffer, struct used_up *used_up)
{
    const struct sample_request *request = op->request;
    struct served_table *table = request->table;
    /* The op may have carried another response before. */
    op->next = NULL;
    op->gathered = false;
    op->attempt = op->rounds = 0;
    op->buffer = buffer;
    op->number = ++service->n_responses;
    op->drawn_ns = clock_now_ns();
    op->first_batch = first_batch;
    op->n_batches = n_batches;
    op->bytes = sample_op_bytes(request, n_batches);
    note_table(op);
    op->table_transitions = table_counts(table->table)->transitions;
    lay_out(op, n_batches * request->count);
    op->job = (struct gather_job){.snippets = op->snippets,
                                  .n = n_batches * request->count,
                                  .N = request->N,
                                  .map = &request->map,
                                  .rows = (float *)(void *)buffer->bytes};
    /* Draw, and count: what is drawn counts against the rates now, whether it is read or not. */
    uint64_t transitions = 0;
    for (uint32_t j = 0; j < op->job.n; j++) {
        draw_one(op, j);
        transitions += op->n_valid[j];
        if (used_up && table_use(table->table, op->episode_id[j])) {
            used_up_add(used_up, op->episode_id[j]);
        }
    }
    if (used_up) {
        used_up_post(service, used_up, op->number);
    }
    table_count_sampled(table->table, op->job.n);
    limiter_commit_sample(&table->limiter, transitions);
    service->inserts_may_go = true;
}

bool sample_op_draw_again(struct sample_op *op, struct service *service)
{
    struct served_table *table = op->request->table;
    /* What could not be read leaves the table, so that it is not drawn again. */
    for (uint32_t j = 0; j < op->job.n; j++) {
        if (op->snippets[j].result == STATUS_CORRUPT) {
            service_drop_corrupt(service, table, op->snippets[j].id);
        } else if (op->snippets[j].result == STATUS_NOT_FOUND &&
                   table_get(table->table, op->snippets[j].id, NULL)) {
            /* It is in the index, and not in a snapshot that has seen its commit: its chunks are
             * lost. */
            service_drop_corrupt(service, table, op->snippets[j].id);
        }
    }
    /* Nothing is left to draw from, or episodes go faster than they can be read. */
    if (++op->rounds > ROUNDS_MAX || table_counts(table->table)->transitions == 0) {
        return false;
    }
    /* Where the table was sealed meanwhile, or a sealed one has lost a corrupt episode, everything
     * is drawn again: a response with a version holds that version's draws and no others. */
    const bool all = op->version != version_of(op);
    note_table(op);
    op->attempt = all ? 0 : op->attempt + 1;
    /* What has been gathered stays, unless all is drawn again. */
    for (uint32_t j = 0; j < op->job.n; j++) {
        if (all || op->snippets[j].result != STATUS_OK) {
            draw_one(op, j);
        }
    }
    return true;
}

/* ---- The message ---- */

void sample_op_fill(struct sample_op *op, Hindcast__SampleResponse *message,
                    struct rpc_payload *payload)
{
    hindcast__sample_response__init(message);
    message->first_batch = op->first_batch;
    message->n_batches = op->n_batches;
    message->table_version = op->version;
    /* Arrays are borrowed from the op until the message is packed. */
    message->n_n_valid = op->job.n;
    message->n_valid = op->n_valid;
    if (op->origins) {
        message->table_transitions = op->table_transitions;
        message->n_episode_id = message->n_first_row = message->n_probability = op->job.n;
        message->episode_id = op->episode_id;
        message->first_row = op->first_row;
        message->probability = op->probability;
    }
    /* The rows are not copied into the message: they follow it out of the buffer. */
    *payload = (struct rpc_payload){.field = PAYLOAD_FIELD,
                                    .bytes = op->buffer->bytes,
                                    .size = op->n_batches * op->request->batch_bytes,
                                    .release = buffer_give_back,
                                    .arg = op->buffer};
    /* It is the payload's now. */
    op->buffer = NULL;
}
