/* One call: requests in, responses out, its end. All on the call thread but retain and release.
 *
 * At most three gRPC operations of a call are under way (call.h). Each function here either starts
 * one when none of its kind runs, or notes what is wanted next; on_read, on_written and on_closed
 * go on from there. A handler's wishes are carried out after it has returned (defer), so that
 * handlers never nest. The call is done when the last operation has come back, and not before: gRPC
 * writes into its fields until then. */
#include "common/rpc/call.h"

#include <grpc/support/alloc.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/utf8.h"
#include "common/rpc/caller.h"

#define TEXT_MAX 1000 /* of a status text, so that it fits into a header */

/* A value of the metadata as text, kept until the call is done. */
struct metadata_text {
    struct metadata_text *next;
    const grpc_metadata *entry;
    char text[];
};

/* Unary calls and server streams have exactly one. */
static bool single_request(const struct rpc_call *call)
{
    return call->served->method->kind == RPC_UNARY ||
           call->served->method->kind == RPC_SERVER_STREAM;
}

/* Starts one batch of operations; `op` comes back once, whatever happens. */
static void start(struct rpc_call *call, const grpc_op *ops, size_t n, struct rpc_op *op)
{
    op_give(op);
    grpc_call_error error = grpc_call_start_batch(call->grpc, ops, n, op, NULL);
    ASSERT(error == GRPC_CALL_OK);
    call->n_ops++;
}

/* ---- The end ---- */

void rpc_call_retain(struct rpc_call *call)
{
    atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
}

void rpc_call_release(struct rpc_call *call)
{
    /* Acquire and release, so that whoever frees the call sees all that others did with it. */
    if (atomic_fetch_sub_explicit(&call->references, 1, memory_order_acq_rel) == 1) {
        mem_free(call);
    }
}

/* Everything but the struct itself, which others may still hold. */
static void free_contents(struct rpc_call *call)
{
    message_fini(&call->request);
    for (struct metadata_text *text = call->texts, *next; text != NULL; text = next) {
        next = text->next;
        mem_free(text);
    }
    call->texts = NULL;
    grpc_metadata_array_destroy(&call->metadata);
    call->metadata = (grpc_metadata_array){0};
    gpr_free(call->peer);
    call->peer = NULL;
    mem_free(call->text);
    call->text = NULL;
}

/* After every operation: was it the last one? Then the call is done, and `call` may be gone. */
static void end_if_done(struct rpc_call *call)
{
    if (call->n_ops > 0) {
        return;
    }
    /* Every operation has come back, so nothing of it can be left. */
    ASSERT(call->ended && call->incoming == NULL && call->outgoing == NULL && call->n_queued == 0);
    /* The service's last look at the call, whose state is still there. */
    if (call->served != NULL && call->served->method->done != NULL) {
        call->served->method->done(call);
    }
    struct rpc_server *server = call->server;
    /* Out of the server's list. */
    if (call->previous != NULL) {
        call->previous->next = call->next;
    } else {
        server->calls = call->next;
    }
    if (call->next != NULL) {
        call->next->previous = call->previous;
    }
    server->n_calls--;
    server->n_refused -= call->refused;
    server->n_anonymous -= call->anonymous;
    caller_leave(server, call->caller);
    call->caller = NULL;
    atomic_store_explicit(&server->counters.calls_active, server->n_calls, memory_order_relaxed);
    /* From here on all functions on the call answer CLOSED. */
    grpc_call_unref(call->grpc);
    call->grpc = NULL;
    free_contents(call);
    rpc_call_release(call);
}

static void drop_buffer(grpc_byte_buffer **buffer)
{
    if (*buffer != NULL) {
        grpc_byte_buffer_destroy(*buffer);
        *buffer = NULL;
    }
}

/* Drops the messages that wait to be sent. */
static void drop_queue(struct rpc_call *call)
{
    for (; call->n_queued > 0; call->n_queued--) {
        drop_buffer(&call->queue[call->queue_begin]);
        call->queue_begin = (call->queue_begin + 1) % RPC_SEND_QUEUE_MAX;
    }
}

/* The call is over: answered, cancelled, or its connection is gone. */
static void on_closed(struct rpc_op *op, bool ok)
{
    (void)ok;
    struct rpc_call *call = RPC_CONTAINER(op, struct rpc_call, closed_op);
    call->n_ops--;
    /* What waits to be sent has no reader any more. A read that is under way brings its buffer back
     * in on_read. */
    call->ended = true;
    drop_queue(call);
    if (!call->reading) {
        drop_buffer(&call->incoming);
    }
    end_if_done(call);
}

/* ---- Responses ---- */

/* Does what the call wants next once the handler under way has returned: a message and the status
 * that follows it leave in one batch, and a resumed call's request never comes in the middle of
 * another handler. */
static void defer(struct rpc_call *call)
{
    if (call->is_deferred) {
        return;
    }
    /* The list holds a reference: the call may end before its turn comes. */
    rpc_call_retain(call);
    call->is_deferred = true;
    call->next_deferred = NULL;
    struct rpc_server *server = call->server;
    /* Appended: calls get their turns in the order in which they asked. */
    if (server->deferred == NULL) {
        server->deferred = call;
    } else {
        server->deferred_tail->next_deferred = call;
    }
    server->deferred_tail = call;
}

/* Sends the next message, the status, or both in one batch. */
static void write_next(struct rpc_call *call)
{
    /* The status leaves with the last message, or alone when there is none. */
    bool message = call->n_queued > 0;
    bool last = call->finishing && !call->status_sent && call->n_queued <= 1;
    /* One write at a time. on_written comes here again for the rest. */
    if (call->writing || call->ended || !(message || last)) {
        return;
    }
    grpc_op ops[3] = {0};
    size_t n = 0;
    /* The headers go with whatever is sent first. */
    if (!call->initial_sent) {
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        call->initial_sent = true;
    }
    /* The oldest message leaves the ring; `outgoing` keeps it until gRPC is done with it. */
    if (message) {
        call->outgoing = call->queue[call->queue_begin];
        call->queue[call->queue_begin] = NULL;
        call->queue_begin = (call->queue_begin + 1) % RPC_SEND_QUEUE_MAX;
        call->n_queued--;
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = call->outgoing;
    }
    grpc_slice details = grpc_empty_slice();
    /* After the status nothing can be written. */
    if (last) {
        if (call->text != NULL) {
            details = grpc_slice_from_copied_string(call->text);
        }
        ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[n].data.send_status_from_server.status = (grpc_status_code)call->code;
        ops[n++].data.send_status_from_server.status_details = &details;
        call->status_sent = true;
    }
    call->writing = true;
    start(call, ops, n, &call->write_op);
    /* gRPC has taken its own reference. */
    grpc_slice_unref(details);
}

/* A message, the status or both are out, or will never be. */
static void on_written(struct rpc_op *op, bool ok)
{
    struct rpc_call *call = RPC_CONTAINER(op, struct rpc_call, write_op);
    call->n_ops--;
    call->writing = false;
    bool message = call->outgoing != NULL;
    drop_buffer(&call->outgoing);
    /* There is room for the next message now. A call that is ending is not asked for one. */
    if (message && ok && !call->ended && !call->finishing && call->served->method->sent != NULL) {
        call->served->method->sent(call);
    }
    write_next(call);
    end_if_done(call);
}

/* Releases a payload that will not be sent. */
static void drop_payload(const struct rpc_payload *payload)
{
    if (payload != NULL && payload->release != NULL) {
        payload->release(payload->arg);
    }
}

/* Queues a response without starting to send it. The payload is taken in any case: with a response
 * that is refused it is released at once. */
static status enqueue(struct rpc_call *call, const ProtobufCMessage *response,
                      const struct rpc_payload *payload)
{
    if (call->grpc == NULL || call->ended || call->finishing) {
        drop_payload(payload);
        return STATUS_CLOSED;
    }
    /* A handler that answers with another method's type is wrong. */
    ASSERT(response->descriptor == call->served->descriptor->output);
    /* The bound of what a client that does not read can make us keep. */
    if (rpc_call_unsent(call) >= RPC_SEND_QUEUE_MAX) {
        drop_payload(payload);
        return STATUS_QUEUE_FULL;
    }
    grpc_byte_buffer *buffer = message_write(response, payload);
    serving_count(&call->server->counters.messages_out, 1);
    serving_count(&call->server->counters.bytes_out, grpc_byte_buffer_length(buffer));
    call->queue[(call->queue_begin + call->n_queued++) % RPC_SEND_QUEUE_MAX] = buffer;
    return STATUS_OK;
}

/* A call that has ended may be asked from anywhere: it only says CLOSED. */
static void check_thread(const struct rpc_call *call)
{
    ASSERT(call->grpc == NULL || serving_on_call_thread(call->server));
}

status rpc_call_send(struct rpc_call *call, const ProtobufCMessage *response,
                     const struct rpc_payload *payload)
{
    check_thread(call);
    status s = enqueue(call, response, payload);
    if (s == STATUS_OK) {
        defer(call);
    }
    return s;
}

size_t rpc_call_unsent(const struct rpc_call *call)
{
    return call->n_queued + (call->outgoing != NULL ? 1u : 0u);
}

/* Notes the status, which leaves behind what is queued. Only the first one counts. */
static void finish_code(struct rpc_call *call, int code, const char *text)
{
    if (call->grpc == NULL || call->ended || call->finishing) {
        return;
    }
    call->finishing = true;
    call->code = code;
    if (text != NULL && text[0] != '\0') {
        /* gRPC puts the text into a header, whose size peers limit. */
        size_t size = utf8_cut(text, TEXT_MAX);
        call->text = mem_new(size + 1); /* without memory: the code alone */
        if (call->text != NULL) {
            memcpy(call->text, text, size);
        }
    }
    /* A request that waits will not be handled; one that is being read is dropped when it comes. */
    if (!call->reading) {
        drop_buffer(&call->incoming);
    }
    defer(call);
}

void rpc_call_finish(struct rpc_call *call, status code, const char *text)
{
    check_thread(call);
    finish_code(call, rpc_code(code), text);
}

void rpc_call_abort(struct rpc_call *call, status code, const char *text)
{
    check_thread(call);
    if (call->grpc == NULL || call->ended) {
        return;
    }
    /* What is queued is dropped; the peer gets the cancellation and nothing else. */
    drop_queue(call);
    call->finishing = true;
    call->status_sent = true; /* by the cancellation */
    grpc_call_cancel_with_status(call->grpc, (grpc_status_code)rpc_code(code), text, NULL);
}

void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *response)
{
    check_thread(call);
    status s = enqueue(call, response, NULL);
    /* A client that does not read its responses gets an error in the place of this one. */
    if (s == STATUS_QUEUE_FULL) {
        rpc_call_finish(call, s, "too many responses wait to be sent");
    } else if (s == STATUS_OK) {
        finish_code(call, GRPC_STATUS_OK, NULL);
    }
}

/* ---- Requests ---- */

/* Asks for the next request, unless one is under way, waiting, or not wanted any more. */
static void read_next(struct rpc_call *call)
{
    /* One read at a time. Whatever stands against it now, read_next is called again when that has
     * passed. */
    if (call->reading || call->held || call->handling || call->half_closed || call->finishing ||
        call->ended || call->incoming != NULL || (call->got_request && single_request(call))) {
        return;
    }
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &call->incoming};
    call->reading = true;
    start(call, &op, 1, &call->read_op);
}

/* The client has sent its last request. The method is told, unless the call is finishing. */
static void half_close(struct rpc_call *call)
{
    call->half_closed = true;
    if (!call->finishing && call->served->method->half_closed != NULL) {
        call->served->method->half_closed(call);
    }
}

/* Hands the request in `incoming` to the method. */
static void handle_request(struct rpc_call *call)
{
    const struct rpc_method *method = call->served->method;
    /* Out of `incoming` first, so that the same request is not handled a second time. */
    grpc_byte_buffer *buffer = call->incoming;
    call->incoming = NULL;
    call->got_request = true;
    /* As received, which may be compressed. */
    size_t size = grpc_byte_buffer_length(buffer);
    /* The limit is for messages that came compressed; gRPC has measured the others. */
    struct message_type type = {call->served->descriptor->input, method->payload_field,
                                call->server->max_message_bytes};
    struct err err;
    status s = message_read(&call->request, buffer, &type, &err);
    /* A bad request ends its call, and not the connection with its other calls. */
    if (s != STATUS_OK) {
        rpc_call_finish(call, s, err.text);
        return;
    }
    serving_count(&call->server->counters.messages_in, 1);
    serving_count(&call->server->counters.bytes_in, size);
    /* A resume from within the handler must not start the next request in the middle of it. */
    call->handling = true;
    method->message(call, call->request.body);
    call->handling = false;
    message_clear(&call->request);
    /* Such a client has nothing more to say, whether it has said so or not. */
    if (single_request(call)) {
        half_close(call);
    }
    read_next(call);
}

/* A request has come, or the client has sent its last one. */
static void on_read(struct rpc_op *op, bool ok)
{
    struct rpc_call *call = RPC_CONTAINER(op, struct rpc_call, read_op);
    call->n_ops--;
    call->reading = false;
    if (call->ended || call->finishing) {
        drop_buffer(&call->incoming);
    } else if (call->incoming != NULL) {
        /* While held the request stays in `incoming`; a resume hands it over. */
        if (!call->held) {
            handle_request(call);
        }
        /* No message and no failure: the client has half-closed. */
    } else if (ok && !grpc_call_failed_before_recv_message(call->grpc)) {
        /* A method with one request cannot do without it. */
        if (single_request(call)) {
            finish_code(call, GRPC_STATUS_INVALID_ARGUMENT, "the request is missing");
        } else {
            half_close(call);
        }
    }
    end_if_done(call);
}

void rpc_call_hold(struct rpc_call *call)
{
    check_thread(call);
    call->held = true;
}

void rpc_call_resume(struct rpc_call *call)
{
    check_thread(call);
    /* A request that waits is handled in its turn, and not within the handler that resumes. */
    if (call->held && call->grpc != NULL) {
        call->held = false;
        defer(call);
    }
}

void call_run_deferred(struct rpc_server *server)
{
    /* Until the list is empty, because what runs here may add to it. */
    while (server->deferred != NULL) {
        /* Taken off first: what runs below may defer the call again. */
        struct rpc_call *call = server->deferred;
        server->deferred = call->next_deferred;
        call->is_deferred = false;
        /* Unless it has ended meanwhile: first what it wants to send, then what it may read. */
        if (call->grpc != NULL) {
            write_next(call);
            if (call->incoming != NULL && !call->held && !call->reading && !call->finishing) {
                handle_request(call);
            } else {
                read_next(call);
            }
        }
        rpc_call_release(call);
    }
}

/* ---- The beginning ---- */

/* A call in the server's list. Takes `metadata`. NULL: out of memory. */
static struct rpc_call *call_new(struct rpc_server *server, const struct served_method *served,
                                 grpc_call *grpc, grpc_metadata_array *metadata)
{
    struct rpc_call *call = mem_new(sizeof *call);
    if (call == NULL) {
        return NULL;
    }
    call->server = server;
    call->served = served;
    call->grpc = grpc;
    /* Moved: the slot gets an empty array for its next call. */
    call->metadata = *metadata;
    grpc_metadata_array_init(metadata);
    atomic_init(&call->references, 1);
    call->closed_op.complete = on_closed;
    call->read_op.complete = on_read;
    call->write_op.complete = on_written;
    /* In front: the list begins with the newest call. */
    call->next = server->calls;
    if (call->next != NULL) {
        call->next->previous = call;
    }
    server->calls = call;
    server->n_calls++;
    atomic_store_explicit(&server->counters.calls_active, server->n_calls, memory_order_relaxed);
    return call;
}

void call_begin(struct rpc_server *server, const struct served_method *served, grpc_call *grpc,
                grpc_metadata_array *metadata, const struct call_origin *origin, int refusal,
                const char *refusal_text)
{
    serving_count(refusal ? &server->counters.calls_refused : &server->counters.calls_started, 1);
    /* Refusals need memory until they are sent; a peer that does not read them must not pile them
     * up. */
    bool flooded = refusal != 0 && server->n_refused >= server->max_calls;
    struct rpc_call *call =
        flooded ? NULL : call_new(server, refusal ? NULL : served, grpc, metadata);
    if (call == NULL) {
        grpc_call_unref(grpc); /* the caller sees it cancelled */
        caller_leave(server, origin->caller);
        return;
    }
    call->caller = origin->caller;
    call->deadline_ns = origin->deadline_ns;
    call->roles = origin->roles;
    /* Counted apart from the calls that are served with a role; end_if_done takes it out again. */
    call->refused = refusal != 0;
    call->anonymous = refusal == 0 && origin->roles == 0;
    server->n_refused += call->refused;
    server->n_anonymous += call->anonymous;
    /* Runs from the beginning on: it tells when the call is over, whatever else happens. */
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER,
                  .data.recv_close_on_server.cancelled = &call->cancelled};
    start(call, &op, 1, &call->closed_op);
    /* No method sees a refused call; its status is all there is to do. */
    if (refusal != 0) {
        finish_code(call, refusal, refusal_text);
        return;
    }
    /* Before the first request, so that the method can set up its state. */
    if (served->method->start != NULL) {
        served->method->start(call);
    }
    read_next(call);
}

void call_end_oldest_anonymous(struct rpc_server *server)
{
    struct rpc_call *oldest = NULL;
    for (struct rpc_call *call = server->calls; call != NULL; call = call->next) {
        oldest =
            call->anonymous && !call->ended ? call : oldest; /* the list begins with the newest */
    }
    if (oldest != NULL) {
        /* Not finished but cancelled: a client that does not read cannot keep its place. */
        grpc_call_cancel_with_status(oldest->grpc, GRPC_STATUS_RESOURCE_EXHAUSTED,
                                     "too many calls without a token", NULL);
    }
}

/* ---- What a call knows ---- */

void *rpc_call_service(const struct rpc_call *call)
{
    return call->served->service;
}

void *rpc_call_state(const struct rpc_call *call)
{
    return call->state;
}

void rpc_call_set_state(struct rpc_call *call, void *state)
{
    call->state = state;
}

const char *rpc_call_peer(struct rpc_call *call)
{
    /* Asked of gRPC when it is first wanted. */
    if (call->peer == NULL && call->grpc != NULL) {
        call->peer = grpc_call_get_peer(call->grpc);
    }
    return call->peer != NULL ? call->peer : "";
}

/* The value as text, made once for each entry that is asked for. */
const char *rpc_call_metadata(struct rpc_call *call, const char *key)
{
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *entry = &call->metadata.metadata[i];
        if (grpc_slice_str_cmp(entry->key, key) != 0) {
            continue;
        }
        /* Asked for before: the same text again. */
        for (struct metadata_text *text = call->texts; text != NULL; text = text->next) {
            if (text->entry == entry) {
                return text->text;
            }
        }
        /* A copy with a final 0; metadata has none. */
        size_t size = GRPC_SLICE_LENGTH(entry->value);
        struct metadata_text *text = mem_new(sizeof *text + size + 1);
        if (text == NULL) {
            return NULL;
        }
        text->entry = entry;
        memcpy(text->text, GRPC_SLICE_START_PTR(entry->value), size);
        text->next = call->texts;
        call->texts = text;
        return text->text;
    }
    return NULL;
}

const char *rpc_call_client(const struct rpc_call *call)
{
    return call->caller != NULL ? call->caller->name : "";
}

unsigned rpc_call_roles(const struct rpc_call *call)
{
    return call->roles;
}

uint64_t rpc_call_deadline_ns(const struct rpc_call *call)
{
    return call->deadline_ns;
}

const struct rpc_pieces *rpc_call_payload(const struct rpc_call *call)
{
    return &call->request.payload;
}
