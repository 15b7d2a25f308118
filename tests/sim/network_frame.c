/* Frames: they travel between the ends of a call in order, one queue in each direction, and wait in
 * the receiver's inbox until it reads. */
#include <string.h>

#include <grpc/byte_buffer_reader.h>

#include "tests/sim/network_private.h"

#define PIECES_MAX 4 /* that a message is cut into on its way */

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

/* The frame is lost. */
static void lose(void *arg)
{
    struct frame *frame = arg;
    if (frame->message) {
        grpc_byte_buffer_destroy(frame->message);
        frame->message = NULL;
    }
}

static void arrive(void *arg)
{
    struct frame *frame = arg;
    grpc_call *call = frame->to;
    if (call->ended || end_is_gone(call)) {
        lose(frame);
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
        frames_close_sends(call);
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
    frames_pump_inbox(call);
}

void frames_send(grpc_call *from, const struct frame *frame)
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

void frames_send_reset(grpc_call *call, grpc_status_code code, const char *text)
{
    if (call->peer && !call->peer->ended) {
        const struct frame frame = {.kind = FRAME_RESET, .code = code, .text = network_text(text)};
        frames_send(call, &frame);
    }
}

void frames_lose_all(void)
{
    agenda_drop(arrive, lose);
}

/* ---- Sending ---- */

void frames_pump_sends(grpc_call *call)
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
        frames_send(call, frame);
        batch_end_one(first->batch, true);
        if (frame->kind == FRAME_STATUS) {
            call_end(call, frame->code, frame->text);
        }
    }
}

void frames_queue(grpc_call *call, struct batch *batch, const struct frame *frame)
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

void frames_close_sends(grpc_call *call)
{
    call->sends_closed = true;
    batch_end(&call->open_batch, false);
    while (call->sends) {
        struct sending *first = call->sends;
        call->sends = first->next;
        lose(&first->frame);
        batch_end_one(first->batch, false);
    }
}

/* ---- Receiving ---- */

void frames_drop_inbox(grpc_call *call)
{
    for (struct frame *frame = call->inbox; frame; frame = frame->next) {
        lose(frame);
    }
    call->inbox = NULL;
}

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
    batch_end(&call->message_batch, true);
    call->unread_bytes -= frame->size;
    frames_pump_sends(call->peer);
}

static void give_no_message(grpc_call *call)
{
    if (call->message_batch) {
        call->failed_before_message = call->ended;
        *call->message_out = NULL;
        batch_end(&call->message_batch, true);
    }
}

/* The end as the operations see it that wait for it. */
static void give_end(grpc_call *call)
{
    give_no_message(call);
    batch_end(&call->initial_batch, true);
    if (call->end_batch) {
        if (call->is_server) {
            *call->cancelled_out = call->code != GRPC_STATUS_OK;
        } else {
            *call->code_out = call->code;
            *call->text_out = grpc_slice_from_copied_string(call->text);
        }
        batch_end(&call->end_batch, true);
    }
}

void frames_pump_inbox(grpc_call *call)
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
        batch_end(&call->initial_batch, true);
    }
    if (call->inbox && call->inbox->kind == FRAME_CLOSE) {
        give_no_message(call);
    }
}
