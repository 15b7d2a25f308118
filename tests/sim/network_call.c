/* Calls: each end has its batches of operations, which frames answer (network_frame.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/support/alloc.h>
#include <grpc/support/string_util.h>

#include "tests/sim/network_private.h"

static grpc_call **calls;
static size_t n_calls, calls_capacity;

static grpc_call *new_call(void)
{
    grpc_call *call = network_memory(sizeof *call);
    if (n_calls == calls_capacity) {
        calls_capacity = calls_capacity ? 2 * calls_capacity : 256;
        calls = realloc(calls, calls_capacity * sizeof(grpc_call *));
        ASSERT(calls != NULL);
    }
    call->deadline_ns = AGENDA_NEVER;
    calls[n_calls++] = call;
    call->number = (unsigned)n_calls;
    return call;
}

/* ---- The end ---- */

void call_end(grpc_call *call, grpc_status_code code, const char *text)
{
    if (call->ended) {
        return;
    }
    call->ended = true;
    call->code = code;
    call->text = network_text(text);
    frames_drop_inbox(call);
    frames_close_sends(call);
    frames_pump_inbox(call);
    if (call->is_server && call->arrived) {
        server_call_ended(call->server);
    }
}

void calls_break(const struct connection *connection, bool server_side)
{
    for (size_t i = 0; i < n_calls; i++) {
        if (calls[i]->connection == connection && calls[i]->is_server == server_side &&
            !calls[i]->ended) {
            network_counts.broken_calls++;
            call_end(calls[i], GRPC_STATUS_UNAVAILABLE, "connection broken");
        }
    }
}

void calls_cancel_server(const grpc_server *server)
{
    for (size_t i = 0; i < n_calls; i++) {
        if (calls[i]->server == server && !calls[i]->ended) {
            call_end(calls[i], GRPC_STATUS_CANCELLED, "the server is closing");
        }
    }
}

void calls_reset(void)
{
    for (size_t i = 0; i < n_calls; i++) {
        frames_drop_inbox(calls[i]);
        while (calls[i]->sends) {
            if (calls[i]->sends->frame.message) {
                grpc_byte_buffer_destroy(calls[i]->sends->frame.message);
            }
            calls[i]->sends = calls[i]->sends->next;
        }
    }
    n_calls = 0;
}

/* ---- Opening ---- */

void call_connect(grpc_call *call, struct connection *connection)
{
    grpc_call *peer = new_call();
    network_counts.calls++;
    call->connection = connection;
    call->peer = peer;
    peer->is_server = true;
    peer->server = connection->server;
    peer->connection = connection;
    peer->peer = call;
    peer->deadline_ns = call->deadline_ns;
    memcpy(peer->path, call->path, sizeof peer->path);
    const struct frame open = {.kind = FRAME_OPEN};
    frames_send(call, &open);
    batch_end(&call->open_batch, true);
    frames_pump_sends(call);
}

static void open_call(grpc_call *call, struct batch *batch, bool wait_for_ready)
{
    grpc_channel *channel = call->channel;
    call->open_batch = batch;
    call->wait_for_ready = wait_for_ready;
    if (call->ended) {
        batch_end(&call->open_batch, false);
    } else if (channel->connection) {
        call_connect(call, channel->connection);
    } else if (channel->state == GRPC_CHANNEL_TRANSIENT_FAILURE && !wait_for_ready) {
        call_end(call, GRPC_STATUS_UNAVAILABLE, "not connected");
    } else {
        call->next_waiting = channel->waiting;
        channel->waiting = call;
        channel_try(channel);
    }
}

static void deadline_passed(void *arg)
{
    grpc_call *call = arg;
    if (!call->ended) {
        call_end(call, GRPC_STATUS_DEADLINE_EXCEEDED, "Deadline Exceeded");
        frames_send_reset(call, GRPC_STATUS_CANCELLED, "deadline exceeded");
    }
}

/* ---- gRPC's names ---- */

grpc_call *grpc_channel_create_call(grpc_channel *channel, grpc_call *parent, uint32_t mask,
                                    grpc_completion_queue *queue, grpc_slice path,
                                    const grpc_slice *host, gpr_timespec deadline, void *reserved)
{
    (void)parent, (void)mask, (void)host, (void)reserved;
    grpc_call *call = new_call();
    call->channel = channel;
    call->queue = queue;
    call->deadline_ns = network_ns(deadline);
    snprintf(call->path, sizeof call->path, "%.*s", (int)GRPC_SLICE_LENGTH(path),
             (const char *)GRPC_SLICE_START_PTR(path));
    if (call->deadline_ns != AGENDA_NEVER) {
        agenda_at(call->deadline_ns, deadline_passed, call);
    }
    return call;
}

static void start_op(grpc_call *call, const grpc_op *op, struct batch *batch)
{
    struct frame frame = {0};
    switch (op->op) {
    case GRPC_OP_SEND_INITIAL_METADATA:
        if (call->is_server) {
            frame.kind = FRAME_INITIAL;
            frames_queue(call, batch, &frame);
        } else {
            open_call(call, batch, (op->flags & GRPC_INITIAL_METADATA_WAIT_FOR_READY) != 0);
        }
        break;
    case GRPC_OP_SEND_MESSAGE:
        frame.kind = FRAME_MESSAGE;
        frame.message = grpc_byte_buffer_copy(op->data.send_message.send_message);
        frame.size = grpc_byte_buffer_length(frame.message) + 5;
        frames_queue(call, batch, &frame);
        break;
    case GRPC_OP_SEND_CLOSE_FROM_CLIENT:
        frame.kind = FRAME_CLOSE;
        frames_queue(call, batch, &frame);
        break;
    case GRPC_OP_SEND_STATUS_FROM_SERVER: {
        const grpc_slice *text = op->data.send_status_from_server.status_details;
        frame.kind = FRAME_STATUS;
        frame.code = op->data.send_status_from_server.status;
        frame.text = network_memory(GRPC_SLICE_LENGTH(*text) + 1);
        memcpy(frame.text, GRPC_SLICE_START_PTR(*text), GRPC_SLICE_LENGTH(*text));
        frames_queue(call, batch, &frame);
        break;
    }
    case GRPC_OP_RECV_INITIAL_METADATA:
        call->initial_batch = batch;
        break;
    case GRPC_OP_RECV_MESSAGE:
        ASSERT(call->message_batch == NULL);
        call->message_batch = batch;
        call->message_out = op->data.recv_message.recv_message;
        break;
    case GRPC_OP_RECV_STATUS_ON_CLIENT:
        call->end_batch = batch;
        call->code_out = op->data.recv_status_on_client.status;
        call->text_out = op->data.recv_status_on_client.status_details;
        break;
    case GRPC_OP_RECV_CLOSE_ON_SERVER:
        call->end_batch = batch;
        call->cancelled_out = op->data.recv_close_on_server.cancelled;
        break;
    }
}

grpc_call_error grpc_call_start_batch(grpc_call *call, const grpc_op *ops, size_t n, void *tag,
                                      void *reserved)
{
    (void)reserved;
    struct batch *batch = network_memory(sizeof *batch);
    *batch =
        (struct batch){.queue = call->queue, .tag = tag, .n_open = (unsigned)n + 1, .ok = true};
    for (size_t i = 0; i < n; i++) {
        start_op(call, &ops[i], batch);
    }
    frames_pump_sends(call);
    frames_pump_inbox(call);
    batch_end_one(batch, true);
    return GRPC_CALL_OK;
}

grpc_call_error grpc_call_cancel(grpc_call *call, void *reserved)
{
    (void)reserved;
    if (!call->ended) {
        call_end(call, GRPC_STATUS_CANCELLED, "CANCELLED");
        frames_send_reset(call, GRPC_STATUS_CANCELLED, "cancelled");
    }
    fiber_may_yield();
    return GRPC_CALL_OK;
}

grpc_call_error grpc_call_cancel_with_status(grpc_call *call, grpc_status_code code,
                                             const char *text, void *reserved)
{
    (void)reserved;
    if (!call->ended) {
        call_end(call, code, text);
        frames_send_reset(call, code, text);
    }
    fiber_may_yield();
    return GRPC_CALL_OK;
}

void grpc_call_unref(grpc_call *call)
{
    if (!call->ended && !(call->channel && call->channel->lame)) {
        call_end(call, GRPC_STATUS_CANCELLED, "CANCELLED");
        frames_send_reset(call, GRPC_STATUS_CANCELLED, "cancelled");
    }
}

int grpc_call_failed_before_recv_message(const grpc_call *call)
{
    return call->failed_before_message;
}

char *grpc_call_get_peer(grpc_call *call)
{
    char text[64];
    snprintf(text, sizeof text, "ipv4:10.0.0.%d:1", call->connection->channel->host);
    return gpr_strdup(text);
}
