/* The episode that is coming in on a stream: chunk 0 says what it will be, every chunk brings rows.
 *
 * Nothing here waits or decides: a chunk is either what the protocol asks for, or the stream ends
 * with a sentence that says what is wrong. Rows go straight from the message into buffers of the
 * chunk's size on disk, behind room for the chunk's header, so that the inserter can write them as
 * they are. Whether the episode may be stored is insert_admission.c's. */
#include <inttypes.h>
#include <string.h>

#include "common/base/memory.h"
#include "replay_server/service/insert_stream_private.h"

#define BUFFER_BYTES 65536u /* of each chunk, as the pool counts: STORE_CHUNK_BYTES, rounded up */

static uint64_t need_of(uint32_t n_chunks)
{
    return (uint64_t)n_chunks * BUFFER_BYTES;
}

/* A message without a priority has 0 there. */
static double priority_of(const Hindcast__InsertRequest *request)
{
    return request->priority == 0 ? 1 : request->priority;
}

/* What chunk 0 claims, field by field. */
static status check_first_chunk(const struct insert_stream *stream,
                                const Hindcast__InsertRequest *request, struct err *err)
{
    /* Within a stream sequences rise, also over episodes that are not stored. */
    if (request->sequence <= stream->last_sequence) {
        return err_set(err, STATUS_INVALID, "sequence %" PRIu64 " after %" PRIu64 ": must rise",
                       request->sequence, stream->last_sequence);
    }
    if (request->sequence > WRITER_NUMBER_MAX) {
        return err_set(err, STATUS_INVALID, "sequence %" PRIu64 ": expected at most %llu",
                       request->sequence, WRITER_NUMBER_MAX);
    }
    if (request->identity == NULL) {
        return err_set(err, STATUS_INVALID, "sequence %" PRIu64 ": chunk 0 without identity",
                       request->sequence);
    }
    /* At least one transition. */
    if (request->n_rows < 2 || request->n_rows > EPISODE_TRANSITIONS_MAX + 1) {
        return err_set(err, STATUS_INVALID, "n_rows %u: expected 2..%u", request->n_rows,
                       EPISODE_TRANSITIONS_MAX + 1);
    }
    if (!table_priority_valid(priority_of(request))) {
        return err_set(err, STATUS_INVALID, "priority %g: expected %g..%g", priority_of(request),
                       TABLE_PRIORITY_MIN, TABLE_PRIORITY_MAX);
    }
    /* What the cursor says is the client's business: it is kept and given back, and never read. */
    if (request->cursor.len > WRITER_CURSOR_MAX) {
        return err_set(err, STATUS_INVALID, "cursor of %zu bytes: expected at most %d",
                       request->cursor.len, WRITER_CURSOR_MAX);
    }
    /* It must fit the budget at all: otherwise it would wait for ever. */
    const uint64_t need_bytes = need_of(store_n_chunks(request->n_rows, stream->table->W));
    if (need_bytes > (uint64_t)stream->service->options.insert_buffer_bytes) {
        return err_set(err, STATUS_INVALID,
                       "an episode of %u rows of %u floats needs %" PRIu64
                       " bytes; replay_server.insert_buffer_bytes is %" PRId64,
                       request->n_rows, stream->table->W, need_bytes,
                       stream->service->options.insert_buffer_bytes);
    }
    return STATUS_OK;
}

status insert_incoming_begin(struct insert_stream *stream, const Hindcast__InsertRequest *request,
                             struct err *err)
{
    struct served_table *table = stream->table;
    status s = check_first_chunk(stream, request, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* A sequence that was queued before comes again after a reconnect: it is only acknowledged. */
    struct incoming *in = &stream->in;
    *in = (struct incoming){
        .sequence = request->sequence,
        .begun_ns = stream->heard_ns,
        .episode = {.table = table->record.number,
                    .n_rows = request->n_rows,
                    .W = table->W,
                    .restored = request->restored,
                    .client = stream->client->number,
                    .priority = priority_of(request),
                    .identity = {.source = request->identity->source,
                                 .shard = request->identity->shard,
                                 .episode = request->identity->episode,
                                 .relabel = request->identity->relabel}},
        .n_chunks = store_n_chunks(request->n_rows, table->W),
        .cursor_size = (uint32_t)request->cursor.len,
        .kind = request->sequence <= stream->writer->queued ? KIND_SEEN : KIND_STORE,
    };
    in->need_bytes = need_of(in->n_chunks);
    if (request->cursor.len > 0) { /* an absent cursor is a null pointer */
        memcpy(in->cursor, request->cursor.data, request->cursor.len);
    }
    /* What is resident need not be kept in memory while it comes in. */
    bool pending;
    if (in->kind == KIND_STORE && table_find(table->table, &in->episode.identity, &pending) &&
        !pending) {
        in->kind = KIND_DUPLICATE;
    }
    /* From here on only chunks of this episode are taken. */
    stream->last_sequence = request->sequence;
    stream->state = RECEIVING;
    return STATUS_OK;
}

status insert_incoming_take(struct insert_stream *stream, const Hindcast__InsertRequest *request,
                            struct err *err)
{
    struct incoming *in = &stream->in;
    const struct rpc_pieces *rows = rpc_call_payload(stream->call);
    /* The chunk that is expected, and no other. */
    if (request->sequence != in->sequence || request->chunk != in->next_chunk) {
        return err_set(err, STATUS_INVALID,
                       "sequence %" PRIu64 " chunk %u: expected sequence %" PRIu64 " chunk %u",
                       request->sequence, request->chunk, in->sequence, in->next_chunk);
    }
    /* Whole rows only, and as many as the chunk's number says. */
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
    /* The rows of what is not stored are checked and dropped. */
    if (in->kind == KIND_STORE) {
        struct buffer *chunk = buffer_pool_take(stream->service->insert_pool, BUFFER_BYTES);
        if (chunk == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "out of memory");
        }
        const bool copied = rpc_pieces_copy(rows, chunk->bytes + STORE_CHUNK_HEADER, 0, size);
        ASSERT(copied);
        /* To the end of the list: buffers stay in the order of their rows. */
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

/* Gives back what has come in, and the memory that was reserved for the rest. Nothing to drop is
 * fine. */
void insert_incoming_drop(struct insert_stream *stream)
{
    struct incoming *in = &stream->in;
    while (in->first) {
        struct buffer *chunk = in->first;
        in->first = chunk->next;
        buffer_give_back(chunk);
    }
    if (in->reserved) {
        insert_unreserve(stream->service, stream->table, in->need_bytes);
    }
    in->reserved = false;
    in->last = NULL;
}
