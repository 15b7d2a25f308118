/* One response of a Sample stream on its way: what was asked for, the snippets drawn for it, and
 * the message that they become. Sending in order, credit and waiting are the stream's
 * (sample_stream.c). Call thread only, but for the job while a gather thread has it. */
#ifndef HINDCAST_REPLAY_SERVER_SERVICE_SAMPLE_OP_H
#define HINDCAST_REPLAY_SERVER_SERVICE_SAMPLE_OP_H

#include "replay_server/service/service_private.h"

/* A stream's first message, checked against the table. */
struct sample_request {
    struct served_table *table; /* NULL before the first message */
    struct row_map map;
    uint32_t B, N, begin, count; /* snippets [begin, begin + count) of B, of up to N transitions */
    uint32_t k;                  /* batches in a response, at most */
    uint64_t seed;
    uint64_t first_batch;
    bool require_sealed;
    bool in_order;      /* no draws: one transition after another */
    bool origins;       /* where snippets come from is told even where draws are even */
    size_t batch_bytes; /* of the rows */
};

struct sample_op {
    struct gather_job job;
    const struct sample_request *request;
    struct sample_op *next;
    bool gathered;
    uint32_t attempt; /* as table_draw takes it */
    uint32_t rounds;  /* of drawing again */
    uint64_t number;  /* of all responses, in order of drawing */
    uint64_t drawn_ns;
    uint64_t first_batch;
    uint32_t n_batches;
    uint64_t version;
    struct table_place place; /* with in_order: of the last snippet */
    bool origins; /* the response has the last three arrays; it leaves them out where every
                     transition was equally likely, unless they were asked for */
    uint64_t table_transitions; /* when the response was begun */
    /* The rows, and behind them these arrays of (n_batches * count): what a response takes counts
     * against sample_buffer_bytes, and a stream without a response on its way holds nothing. */
    struct buffer *buffer;
    size_t bytes; /* its size, as asked for */
    struct gather_snippet *snippets;
    uint32_t *n_valid;
    uint64_t *episode_id;
    uint32_t *first_row;
    double *probability;
};

/* INVALID, MISMATCH; NOT_FOUND: there is no such table yet. */
status sample_request_read(struct sample_request *request, const struct service *service,
                           const Hindcast__SampleRequest *message, struct err *err) MUST_CHECK;

/* Bytes of the buffer for a response of n_batches. */
size_t sample_op_bytes(const struct sample_request *request, uint32_t n_batches);

/* `request` outlives the op. NULL: out of memory. */
struct sample_op *sample_op_new(const struct sample_request *request);
/* Its buffer too, if it still has one. NULL is fine. */
void sample_op_free(struct sample_op *op);

/* Starts on batches first_batch .. + n_batches - 1 in `buffer` (taken) of sample_op_bytes: draws
 * the snippets, counts them, and fills in the job but for `done` and `owner`. `used_up` (taken) has
 * room for all snippets; NULL where the table has no max_times_sampled. */
void sample_op_draw(struct sample_op *op, struct service *service, uint64_t first_batch,
                    uint32_t n_batches, struct buffer *buffer, struct used_up *used_up);
/* Draws again what could not be gathered; corrupt episodes leave the table. False: given up, after
 * many attempts or because the table is empty. */
bool sample_op_draw_again(struct sample_op *op, struct service *service);

/* Fills in the message, which borrows the op's arrays, and its payload, which takes the buffer: the
 * message must have been packed before the payload is released. */
void sample_op_fill(struct sample_op *op, Hindcast__SampleResponse *message,
                    struct rpc_payload *payload);

#endif
