/* Calls: each end has its batches of operations; frames travel between the ends in order, one lane
 * each way, and wait in the receiver's inbox until it reads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/support/alloc.h>
#include <grpc/support/string_util.h>

#include "tests/sim/network_private.h"

#define PIECES_MAX 4 /* that a message is cut into on its way */

static grpc_call **calls;
static size_t n_calls, calls_capacity;

static void pump_sends(grpc_call *call);
static void pump_inbox(grpc_call *call);

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

static char *copy_text(const char *text)
{
    char *copy = network_memory(strlen(text) + 1);
    return strcpy(copy, text);
}

/* ---- The end ---- */

static void drop_inbox(grpc_call *call)
{
    for (struct frame *frame = call->inbox; frame; frame = frame->next) {
        if (frame->message) {
            grpc_byte_buffer_destroy(frame->message);
            frame->message = NULL;
        }
    }
    call->inbox = NULL;
}

static void end_batch(struct batch **batch, bool ok)
{
    struct batch *ended = *batch;
    *batch = NULL;
    batch_end_one(ended, ok);
}

/* What waits to be sent never will be. */
static void close_sends(grpc_call *call)
{
    call->sends_closed = true;
    end_batch(&call->open_batch, false);
    while (call->sends) {
        struct sending *first = call->sends;
        call->sends = first->next;
        if (first->frame.message) {
            grpc_byte_buffer_destroy(first->frame.message);
        }
        batch_end_one(first->batch, false);
    }
}

void call_end(grpc_call *call, grpc_status_code code, const char *text)
{
    if (call->ended) {
        return;
    }
    call->ended = true;
    call->code = code;
    call->text = copy_text(text);
    drop_inbox(call);
    close_sends(call);
    pump_inbox(call);
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
        drop_inbox(calls[i]);
        while (calls[i]->sends) {
            if (calls[i]->sends->frame.message) {
                grpc_byte_buffer_destroy(calls[i]->sends->frame.message);
            }
            calls[i]->sends = calls[i]->sends->next;
        }
    }
    n_calls = 0;
}

/* ---- On the way ---- */

/* Cuts the bytes anew: the sender's memory ends here, as it does at a socket. */
static grpc_byte_buffer *received(grpc_byte_buffer *sent)
{
    grpc_byte_buffer_reader reader;
    ASSERT(grpc_byte_buffer_reader_init(&reader, sent));
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_slice pieces[PIECES_MAX];
    const size_t n = 1 + (size_t)chance_below(PIECES_MAX);
    const size_t size = GRPC_SLICE_LENGTH(all);
    size_t begin = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t end = i + 1 == n ? size : begin + (size_t)chance_below(size - begin + 1);
        pieces[i] = grpc_slice_from_copied_buffer((const char *)GRPC_SLICE_START_PTR(all) + begin,
                                                  end - begin);
        begin = end;
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(pieces, n);
    for (size_t i = 0; i < n; i++) {
        grpc_slice_unref(pieces[i]);
    }
    grpc_slice_unref(all);
    return buffer;
}

static bool end_is_gone(const grpc_call *call)
{
    return call->is_server ? call->connection->server_gone : call->connection->client_gone;
}

static void arrive(void *arg)
{
    struct frame *frame = arg;
    grpc_call *call = frame->to;
    if (call->ended || end_is_gone(call)) {
        if (frame->message) {
            grpc_byte_buffer_destroy(frame->message);
            frame->message = NULL;
        }
        return;
    }
    network_counts.messages += frame->message != NULL;
    switch (frame->kind) {
    case FRAME_OPEN:
        if (call->server->shut_down || host_is_dead(call->server->host)) {
            call_end(call, GRPC_STATUS_UNAVAILABLE, "");
            call_end(call->peer, GRPC_STATUS_UNAVAILABLE, "the server is closing");
            return;
        }
        call->arrived = true;
        server_call_arrived(call->server, call);
        return;
    case FRAME_RESET:
        call_end(call, frame->code, frame->text);
        return;
    case FRAME_STATUS:
        close_sends(call);
        break;
    case FRAME_INITIAL:
    case FRAME_MESSAGE:
    case FRAME_CLOSE:
        break;
    }
    if (call->inbox) {
        call->inbox_tail->next = frame;
    } else {
        call->inbox = frame;
    }
    call->inbox_tail = frame;
    pump_inbox(call);
}

/* Takes the frame's message. */
static void send_frame(grpc_call *from, const struct frame *frame)
{
    struct connection *connection = from->connection;
    if (connection->broken) {
        if (frame->message) {
            grpc_byte_buffer_destroy(frame->message);
        }
        return;
    }
    struct frame *sent = network_memory(sizeof *sent);
    *sent = *frame;
    if (frame->message) {
        sent->message = received(frame->message);
        grpc_byte_buffer_destroy(frame->message);
    }
    sent->to = from->peer;
    sent->next = NULL;
    uint64_t at_ns = agenda_now() + network_delay();
    at_ns = at_ns > from->last_arrival_ns ? at_ns : from->last_arrival_ns;
    at_ns = at_ns > connection->stalled_until_ns ? at_ns : connection->stalled_until_ns;
    from->last_arrival_ns = at_ns;
    agenda_at(at_ns, arrive, sent);
}

/* Tells the other end, which may know already. */
static void send_reset(grpc_call *call, grpc_status_code code, const char *text)
{
    if (call->peer && !call->peer->ended) {
        const struct frame frame = {.kind = FRAME_RESET, .code = code, .text = copy_text(text)};
        send_frame(call, &frame);
    }
}

/* ---- Sending ---- */

static void pump_sends(grpc_call *call)
{
    while (call->sends && call->peer && !call->sends_closed) {
        struct sending *first = call->sends;
        struct frame *frame = &first->frame;
        grpc_call *peer = call->peer;
        if (frame->kind == FRAME_MESSAGE) {
            if (peer->unread_bytes > 0 && peer->unread_bytes + frame->size > network_window_bytes) {
                return;
            }
            peer->unread_bytes += frame->size;
        }
        call->sends = first->next;
        send_frame(call, frame);
        batch_end_one(first->batch, true);
        if (frame->kind == FRAME_STATUS) {
            call_end(call, frame->code, frame->text);
        }
    }
}

static void queue_send(grpc_call *call, struct batch *batch, const struct frame *frame)
{
    if (call->sends_closed) {
        if (frame->message) {
            grpc_byte_buffer_destroy(frame->message);
        }
        batch_end_one(batch, false);
        return;
    }
    struct sending *sending = network_memory(sizeof *sending);
    *sending = (struct sending){.batch = batch, .frame = *frame};
    if (call->sends) {
        call->sends_tail->next = sending;
    } else {
        call->sends = sending;
    }
    call->sends_tail = sending;
}

/* ---- Receiving ---- */

static void take_frame(grpc_call *call)
{
    call->inbox = call->inbox->next;
}

static void give_message(grpc_call *call)
{
    struct frame *frame = call->inbox;
    take_frame(call);
    *call->message_out = frame->message;
    frame->message = NULL;
    end_batch(&call->message_batch, true);
    call->unread_bytes -= frame->size;
    pump_sends(call->peer);
}

static void give_no_message(grpc_call *call)
{
    if (call->message_batch) {
        call->failed_before_message = call->ended;
        *call->message_out = NULL;
        end_batch(&call->message_batch, true);
    }
}

/* The end as the operations see it that wait for it. */
static void give_end(grpc_call *call)
{
    give_no_message(call);
    end_batch(&call->initial_batch, true);
    if (call->end_batch) {
        if (call->is_server) {
            *call->cancelled_out = call->code != GRPC_STATUS_OK;
        } else {
            *call->code_out = call->code;
            *call->text_out = grpc_slice_from_copied_string(call->text);
        }
        end_batch(&call->end_batch, true);
    }
}

/* Gives what is there to the operations that wait for it. */
static void pump_inbox(grpc_call *call)
{
    while (!call->ended && call->inbox) {
        struct frame *frame = call->inbox;
        if (frame->kind == FRAME_INITIAL) {
            take_frame(call);
            call->got_initial = true;
        } else if (frame->kind == FRAME_MESSAGE && call->message_batch) {
            give_message(call);
        } else if (frame->kind == FRAME_STATUS) {
            take_frame(call);
            call_end(call, frame->code, frame->text);
        } else {
            break;
        }
    }
    if (call->ended) {
        give_end(call);
        return;
    }
    if (call->got_initial) {
        end_batch(&call->initial_batch, true);
    }
    if (call->inbox && call->inbox->kind == FRAME_CLOSE) {
        give_no_message(call);
    }
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
    send_frame(call, &open);
    end_batch(&call->open_batch, true);
    pump_sends(call);
}

static void open_call(grpc_call *call, struct batch *batch, bool wait_for_ready)
{
    grpc_channel *channel = call->channel;
    call->open_batch = batch;
    call->wait_for_ready = wait_for_ready;
    if (call->ended) {
        end_batch(&call->open_batch, false);
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
        send_reset(call, GRPC_STATUS_CANCELLED, "deadline exceeded");
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
            queue_send(call, batch, &frame);
        } else {
            open_call(call, batch, (op->flags & GRPC_INITIAL_METADATA_WAIT_FOR_READY) != 0);
        }
        break;
    case GRPC_OP_SEND_MESSAGE:
        frame.kind = FRAME_MESSAGE;
        frame.message = grpc_byte_buffer_copy(op->data.send_message.send_message);
        frame.size = grpc_byte_buffer_length(frame.message) + 5;
        queue_send(call, batch, &frame);
        break;
    case GRPC_OP_SEND_CLOSE_FROM_CLIENT:
        frame.kind = FRAME_CLOSE;
        queue_send(call, batch, &frame);
        break;
    case GRPC_OP_SEND_STATUS_FROM_SERVER: {
        const grpc_slice *text = op->data.send_status_from_server.status_details;
        frame.kind = FRAME_STATUS;
        frame.code = op->data.send_status_from_server.status;
        frame.text = network_memory(GRPC_SLICE_LENGTH(*text) + 1);
        memcpy(frame.text, GRPC_SLICE_START_PTR(*text), GRPC_SLICE_LENGTH(*text));
        queue_send(call, batch, &frame);
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
    pump_sends(call);
    pump_inbox(call);
    batch_end_one(batch, true);
    return GRPC_CALL_OK;
}

grpc_call_error grpc_call_cancel(grpc_call *call, void *reserved)
{
    (void)reserved;
    if (!call->ended) {
        call_end(call, GRPC_STATUS_CANCELLED, "CANCELLED");
        send_reset(call, GRPC_STATUS_CANCELLED, "cancelled");
    }
    fiber_may_yield();
    return GRPC_CALL_OK;
}

void grpc_call_unref(grpc_call *call)
{
    if (!call->ended && !(call->channel && call->channel->lame)) {
        call_end(call, GRPC_STATUS_CANCELLED, "CANCELLED");
        send_reset(call, GRPC_STATUS_CANCELLED, "cancelled");
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
