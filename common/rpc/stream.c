/* One stream on the calling side.
 *
 * Four operations can be under way, each with its own tag in the stream's own queue: opening and
 * the end (from the beginning on), one send, one receive. A sending and a receiving thread thus
 * wait side by side without a lock; the fields of each direction belong to its thread. */
#include "common/rpc/channel.h"

#include <string.h>

#include "common/base/memory.h"

#define HALF_CLOSE_TIMEOUT_MS 10000

struct rpc_stream {
    struct rpc_channel *channel;
    const ProtobufCMethodDescriptor *method;
    uint32_t payload_field;
    grpc_call *call;
    grpc_completion_queue *queue;
    atomic_bool cancelled;

    /* Tags. */
    char opened_tag, ended_tag, send_tag, receive_tag;

    /* The sending thread's. */
    bool half_closed;
    bool send_failed;
    bool sending;               /* send_tag is under way, for a message */
    grpc_byte_buffer *outgoing; /* that message */

    /* The receiving thread's. */
    grpc_metadata_array initial; /* first: keeps the flags of the two threads apart */
    bool receiving;              /* receive_tag is under way */
    bool got_initial, drained;
    grpc_byte_buffer *incoming;
    status broken; /* a response that could not be read, else OK */
    struct err broken_err;

    /* The end's: valid once ended_tag came back. */
    grpc_metadata_array trailing;
    grpc_status_code code;
    grpc_slice details;
};

/* Starts operations; `tag` comes back once. */
static void start(struct rpc_stream *stream, const grpc_op *ops, size_t n, void *tag)
{
    op_give(tag);
    grpc_call_error error = grpc_call_start_batch(stream->call, ops, n, tag, NULL);
    ASSERT(error == GRPC_CALL_OK);
}

/* ---- Opening ---- */

/* The two operations that run from the beginning: opening the call, and waiting for its status. */
static void start_opening(struct rpc_stream *stream, bool wait_for_ready)
{
    grpc_op open = channel_initial_op(stream->channel, wait_for_ready);
    start(stream, &open, 1, &stream->opened_tag);
    grpc_op end = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    end.data.recv_status_on_client.trailing_metadata = &stream->trailing;
    end.data.recv_status_on_client.status = &stream->code;
    end.data.recv_status_on_client.status_details = &stream->details;
    start(stream, &end, 1, &stream->ended_tag);
}

status rpc_stream_open(struct rpc_stream **opened, struct rpc_channel *channel,
                       const ProtobufCServiceDescriptor *service, const char *method,
                       enum rpc_kind kind, const struct rpc_call_options *options, struct err *err)
{
    static const struct rpc_call_options DEFAULTS;
    options = options != NULL ? options : &DEFAULTS;
    ASSERT(kind != RPC_UNARY);
    struct rpc_stream *stream = mem_new(sizeof *stream);
    if (stream == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", channel->address);
    }
    stream->channel = channel;
    /* The queue and the call; the operations start below, when nothing can fail any more. */
    stream->payload_field = options->payload_field;
    /* Its own: two threads pluck their tags from it, and no other call disturbs them. */
    stream->queue = channel_take_queue(channel);
    status s = channel_call(channel, service, method, options->timeout_ms, stream->queue,
                            &stream->call, &stream->method, err);
    if (s != STATUS_OK) {
        channel_return_queue(channel, stream->queue);
        mem_free(stream);
        return s;
    }
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    stream->details = grpc_empty_slice();
    /* Until rpc_stream_finish the channel must stay open. */
    atomic_fetch_add(&channel->n_streams, 1);
    start_opening(stream, options->wait_for_ready);
    *opened = stream;
    return STATUS_OK;
}

void rpc_stream_cancel(struct rpc_stream *stream)
{
    /* First the flag, so that no send begins behind the cancellation. */
    atomic_store(&stream->cancelled, true);
    grpc_call_cancel(stream->call, NULL);
}

/* ---- Sending ---- */

/* Is there any use in sending? */
static bool may_send(struct rpc_stream *stream)
{
    return !stream->half_closed && !stream->send_failed && !atomic_load(&stream->cancelled);
}

/* One send at a time: gRPC allows no more. */
static void start_sending(struct rpc_stream *stream, const grpc_op *op)
{
    ASSERT(!stream->sending);
    stream->sending = true;
    start(stream, op, 1, &stream->send_tag);
}

/* Waits for what is being sent; TIMEOUT: it is still under way. */
static status wait_sending(struct rpc_stream *stream, uint64_t deadline_ns)
{
    bool ok;
    if (!channel_pluck(stream->queue, &stream->send_tag, deadline_ns, &ok)) {
        return STATUS_TIMEOUT;
    }
    stream->sending = false;
    /* gRPC has its own reference of what it sends. */
    if (stream->outgoing != NULL) {
        grpc_byte_buffer_destroy(stream->outgoing);
        stream->outgoing = NULL;
    }
    /* A send fails only when the stream is over; its status will say why. */
    stream->send_failed = !ok;
    return ok ? STATUS_OK : STATUS_CLOSED;
}

/* The same, but when it takes too long the stream is cancelled: half a message may be out. */
static status end_sending(struct rpc_stream *stream, uint64_t deadline_ns)
{
    status s = wait_sending(stream, deadline_ns);
    if (s == STATUS_TIMEOUT) {
        rpc_stream_cancel(stream);
        (void)wait_sending(stream, UINT64_MAX); /* cancelled operations come back at once */
        stream->send_failed = true;
    }
    return s;
}

status rpc_stream_send_start(struct rpc_stream *stream, const ProtobufCMessage *request,
                             const struct rpc_payload *payload)
{
    ASSERT(request->descriptor == stream->method->input);
    /* The payload is released in any case: callers need not look. */
    if (!may_send(stream)) {
        if (payload != NULL && payload->release != NULL) {
            payload->release(payload->arg);
        }
        return STATUS_CLOSED;
    }
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    stream->outgoing = message_write(request, payload);
    op.data.send_message.send_message = stream->outgoing;
    start_sending(stream, &op);
    return STATUS_OK;
}

status rpc_stream_send_wait(struct rpc_stream *stream, uint64_t timeout_ms)
{
    ASSERT(stream->sending);
    return wait_sending(stream, op_deadline_ns(timeout_ms));
}

status rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *request,
                       const struct rpc_payload *payload, uint64_t timeout_ms)
{
    status s = rpc_stream_send_start(stream, request, payload);
    return s == STATUS_OK ? end_sending(stream, op_deadline_ns(timeout_ms)) : s;
}

/* Says that nothing more will be sent, after what is still under way. */
static status half_close(struct rpc_stream *stream, uint64_t deadline_ns)
{
    if (stream->sending) { /* begun by rpc_stream_send_start */
        status s = end_sending(stream, deadline_ns);
        if (s != STATUS_OK) {
            return s;
        }
    }
    if (stream->half_closed) {
        return STATUS_OK;
    }
    /* Cancelled, or a send has failed: the server learns the end in another way. */
    if (!may_send(stream)) {
        return STATUS_CLOSED;
    }
    /* Even when it fails: nothing may be sent behind it. */
    stream->half_closed = true;
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    start_sending(stream, &op);
    return end_sending(stream, deadline_ns);
}

status rpc_stream_half_close(struct rpc_stream *stream)
{
    return half_close(stream, op_deadline_ns(HALF_CLOSE_TIMEOUT_MS));
}

/* ---- Receiving ---- */

/* The next message; the first time also the headers, which must have been asked for. */
static void start_receiving(struct rpc_stream *stream)
{
    /* gRPC gives the headers once, before or with the first message. */
    grpc_op ops[2] = {{.op = GRPC_OP_RECV_MESSAGE}, {.op = GRPC_OP_RECV_INITIAL_METADATA}};
    ops[0].data.recv_message.recv_message = &stream->incoming;
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &stream->initial;
    stream->receiving = true;
    start(stream, ops, stream->got_initial ? 1 : 2, &stream->receive_tag);
    stream->got_initial = true;
}

/* The next message as it came; NULL with CLOSED after the last. */
static status receive(struct rpc_stream *stream, uint64_t deadline_ns, grpc_byte_buffer **buffer)
{
    /* Behind the last message nothing comes. */
    if (stream->drained) {
        return STATUS_CLOSED;
    }
    /* After a TIMEOUT the same operation is still under way, and is only waited for. */
    if (!stream->receiving) {
        start_receiving(stream);
    }
    bool ok;
    if (!channel_pluck(stream->queue, &stream->receive_tag, deadline_ns, &ok)) {
        return STATUS_TIMEOUT;
    }
    stream->receiving = false;
    *buffer = stream->incoming;
    stream->incoming = NULL;
    /* No message: the server has sent its last one. */
    stream->drained = *buffer == NULL;
    return stream->drained ? STATUS_CLOSED : STATUS_OK;
}

status rpc_stream_recv(struct rpc_stream *stream, struct rpc_message *message, uint64_t timeout_ms)
{
    grpc_byte_buffer *buffer;
    status s = receive(stream, op_deadline_ns(timeout_ms), &buffer);
    if (s != STATUS_OK) {
        return s;
    }
    s = channel_read(stream->channel, stream->method, stream->payload_field, buffer, message,
                     &stream->broken_err);
    /* The rest of the stream is of no use; rpc_stream_finish gives the reason. */
    if (s != STATUS_OK) {
        stream->broken = s;
        rpc_stream_cancel(stream);
    }
    return s;
}

/* ---- The end ---- */

/* Reads what is left until the end or the deadline; messages count for nothing any more. */
static bool drain(struct rpc_stream *stream, uint64_t deadline_ns)
{
    /* Without reading, the status would not come: it lies behind the messages. */
    grpc_byte_buffer *buffer;
    status s;
    while ((s = receive(stream, deadline_ns, &buffer)) == STATUS_OK) {
        grpc_byte_buffer_destroy(buffer);
    }
    /* The status follows the last message, if it comes in time. */
    bool ok;
    return s == STATUS_CLOSED && channel_pluck(stream->queue, &stream->ended_tag, deadline_ns, &ok);
}

status rpc_stream_finish(struct rpc_stream *stream, uint64_t timeout_ms, struct err *err)
{
    if (stream == NULL) {
        return STATUS_OK;
    }
    uint64_t deadline = op_deadline_ns(timeout_ms);
    /* Both directions are ended, within one deadline. CLOSED is no failure here: the stream has
     * ended, and its status says why. */
    bool in_time = half_close(stream, deadline) != STATUS_TIMEOUT && drain(stream, deadline);
    bool ok;
    /* Too late: after the cancellation all that is under way comes back at once. */
    if (!in_time) {
        rpc_stream_cancel(stream);
        (void)drain(stream, UINT64_MAX);
    }
    /* The last tag. Nothing is under way any more, and the queue can serve another call. */
    (void)channel_pluck(stream->queue, &stream->opened_tag, UINT64_MAX, &ok);
    struct rpc_channel *channel = stream->channel;
    status s = channel_result(channel, stream->method->name, stream->code, stream->details, err);
    /* Our own reasons count more than the status, which they have caused. */
    if (stream->broken != STATUS_OK) {
        s = stream->broken;
        err_set(err, s, "%s", stream->broken_err.text);
    } else if (!in_time && stream->code == GRPC_STATUS_CANCELLED) {
        s = err_set(err, STATUS_TIMEOUT, "%s: %s: did not end within %llu ms", channel->address,
                    stream->method->name, (unsigned long long)timeout_ms);
    }
    /* gRPC wrote into these until now. */
    grpc_slice_unref(stream->details);
    grpc_metadata_array_destroy(&stream->initial);
    grpc_metadata_array_destroy(&stream->trailing);
    grpc_call_unref(stream->call);
    channel_return_queue(channel, stream->queue);
    atomic_fetch_sub(&channel->n_streams, 1);
    mem_free(stream);
    return s;
}
