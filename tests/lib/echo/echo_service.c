/* The echo service. What a request's text may ask for:
 *
 *   fail:NUMBER:TEXT   end with this status         metadata:KEY   answer with that metadata
 *   peer, deadline     answer with the call's       after          answer with the field behind the
 * payload hold (Sum)         read nothing more until echo_resume         burst (Chat)   send until
 * QUEUE_FULL end (Chat)         end the call OK              sleep (Say)    keep the call thread for 20
 * ms */
#include "tests/lib/echo/echo_service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"

#define ECHO_RESPONSE ((echo_response)HINDCAST__TEST__ECHO_RESPONSE__INIT)
#define PAYLOAD_FIELD 15

/* What a stream keeps between its messages. */
struct echo_stream {
    int64_t number; /* Sum: so far; Count: the next one */
    int64_t count;
    uint64_t size;
};

static struct echo *echo_of(struct rpc_call *call)
{
    return rpc_call_service(call);
}

static void on_start(struct rpc_call *call)
{
    atomic_fetch_add(&echo_of(call)->started, 1);
    rpc_call_set_state(call, mem_new(sizeof(struct echo_stream)));
}

static void on_done(struct rpc_call *call)
{
    struct echo *echo = echo_of(call);
    if (echo->held == call) {
        echo->held = NULL;
    }
    mem_free(rpc_call_state(call));
    atomic_fetch_add(&echo->done, 1);
}

/* ---- Payloads ---- */

struct lent_payload {
    struct echo *echo;
    void *bytes; /* mem_free; NULL: the echo's own */
};

static void on_release(void *arg)
{
    struct lent_payload *lent = arg;
    atomic_fetch_sub(&lent->echo->lent, 1);
    mem_free(lent->bytes);
    mem_free(lent);
}

static struct rpc_payload lend(struct echo *echo, const void *bytes, size_t size, void *to_free)
{
    struct lent_payload *lent = mem_new(sizeof *lent);
    ASSERT(lent != NULL);
    *lent = (struct lent_payload){echo, to_free};
    atomic_fetch_add(&echo->lent, 1);
    return (struct rpc_payload){PAYLOAD_FIELD, bytes, size, on_release, lent};
}

/* Sends `response` with the request's payload. */
static status send_back(struct rpc_call *call, echo_response *response)
{
    const struct rpc_pieces *pieces = rpc_call_payload(call);
    response->size = pieces->size;
    unsigned char *copy = mem_new(pieces->size + 1);
    ASSERT(copy != NULL);
    bool whole = rpc_pieces_copy(pieces, copy, 0, pieces->size);
    ASSERT(whole);
    struct rpc_payload payload = lend(echo_of(call), copy, pieces->size, copy);
    return rpc_call_send(call, &response->base, &payload);
}

/* ---- Say ---- */

/* Does the text ask for a failure? Then the call is over. */
static bool fails(struct rpc_call *call, const char *text)
{
    if (strncmp(text, "fail:", 5) != 0) {
        return false;
    }
    char *end;
    long code = strtol(text + 5, &end, 10);
    rpc_call_finish(call, (status)code, *end == ':' ? end + 1 : end);
    return true;
}

static void on_say(struct rpc_call *call, const ProtobufCMessage *message)
{
    const echo_request *request = (const echo_request *)message;
    if (fails(call, request->text)) {
        return;
    }
    echo_response response = ECHO_RESPONSE;
    char number[32];
    const char *text = request->text;
    if (strncmp(text, "metadata:", 9) == 0) {
        text = rpc_call_metadata(call, text + 9);
        text = text != NULL ? text : "(none)";
    } else if (strcmp(text, "peer") == 0) {
        text = rpc_call_peer(call);
    } else if (strcmp(text, "after") == 0) {
        text = request->after;
    } else if (strcmp(text, "deadline") == 0) {
        uint64_t deadline = rpc_call_deadline_ns(call);
        snprintf(number, sizeof number, "%.0f",
                 deadline == UINT64_MAX ? -1.0 : (double)(deadline - clock_now_ns()) / 1e6);
        text = number;
    } else if (strcmp(text, "sleep") == 0) {
        clock_sleep_ms(20);
    }
    union {
        const char *in;
        char *out;
    } borrowed = {.in = text};
    response.text = borrowed.out;
    response.number = request->number;
    if (send_back(call, &response) == STATUS_OK) {
        rpc_call_finish(call, STATUS_OK, NULL);
    }
}

/* ---- Sum ---- */

static void on_sum(struct rpc_call *call, const ProtobufCMessage *message)
{
    const echo_request *request = (const echo_request *)message;
    struct echo_stream *stream = rpc_call_state(call);
    atomic_fetch_add(&echo_of(call)->handled, 1);
    stream->number += request->number;
    stream->size += rpc_call_payload(call)->size;
    if (strcmp(request->text, "hold") == 0) {
        rpc_call_hold(call);
        echo_of(call)->held = call;
    }
    (void)fails(call, request->text);
}

void echo_resume(void *arg)
{
    struct echo *echo = arg;
    if (echo->held != NULL) {
        rpc_call_resume(echo->held);
        echo->held = NULL;
    }
}

static void on_sum_half_closed(struct rpc_call *call)
{
    struct echo_stream *stream = rpc_call_state(call);
    echo_response response = ECHO_RESPONSE;
    response.number = stream->number;
    response.size = stream->size;
    rpc_call_reply(call, &response.base);
}

/* ---- Count ---- */

/* Keeps a few messages on their way until all are sent. */
static void count_on(struct rpc_call *call)
{
    struct echo_stream *stream = rpc_call_state(call);
    while (stream->number < stream->count && rpc_call_unsent(call) < RPC_SEND_QUEUE_MAX / 2) {
        echo_response response = ECHO_RESPONSE;
        response.number = stream->number++;
        response.size = stream->size;
        struct rpc_payload payload =
            lend(echo_of(call), echo_of(call)->payload, stream->size, NULL);
        if (rpc_call_send(call, &response.base, &payload) != STATUS_OK) {
            return;
        }
    }
    if (stream->number == stream->count) {
        rpc_call_finish(call, STATUS_OK, NULL);
    }
}

static void on_count(struct rpc_call *call, const ProtobufCMessage *message)
{
    const echo_request *request = (const echo_request *)message;
    struct echo_stream *stream = rpc_call_state(call);
    if (request->number < 0 || request->size > ECHO_PAYLOAD_MAX) {
        rpc_call_finish(call, STATUS_INVALID, "number or size out of range");
        return;
    }
    stream->count = request->number;
    stream->size = request->size;
    count_on(call);
}

/* ---- Chat ---- */

static void burst(struct rpc_call *call)
{
    status s;
    do {
        echo_response response = ECHO_RESPONSE;
        response.number = (int64_t)rpc_call_unsent(call);
        s = rpc_call_send(call, &response.base, NULL);
    } while (s == STATUS_OK);
    if (s == STATUS_QUEUE_FULL) {
        atomic_fetch_add(&echo_of(call)->busy, 1);
    }
}

static void on_chat(struct rpc_call *call, const ProtobufCMessage *message)
{
    const echo_request *request = (const echo_request *)message;
    if (fails(call, request->text)) {
        return;
    }
    if (strcmp(request->text, "end") == 0) {
        rpc_call_finish(call, STATUS_OK, NULL);
        return;
    }
    if (strcmp(request->text, "burst") == 0) {
        burst(call);
        return;
    }
    echo_response response = ECHO_RESPONSE;
    response.number = request->number;
    response.text = request->text;
    if (send_back(call, &response) != STATUS_OK) {
        return;
    }
    if (rpc_call_unsent(call) >= RPC_SEND_QUEUE_MAX / 2) {
        rpc_call_hold(call); /* until an answer has left */
    }
}

static void on_chat_sent(struct rpc_call *call)
{
    if (rpc_call_unsent(call) < RPC_SEND_QUEUE_MAX / 2) {
        rpc_call_resume(call);
    }
}

static void on_chat_half_closed(struct rpc_call *call)
{
    rpc_call_finish(call, STATUS_OK, NULL);
}

/* ---- Wait ---- */

static void on_wait(struct rpc_call *call, const ProtobufCMessage *message)
{
    (void)call;
    (void)message;
}

static const struct rpc_method METHODS[] = {
    {"Say", RPC_UNARY, PAYLOAD_FIELD, ECHO_ROLE_READ | ECHO_ROLE_WRITE, on_start, on_say, NULL,
     NULL, on_done},
    {"Sum", RPC_CLIENT_STREAM, PAYLOAD_FIELD, ECHO_ROLE_WRITE, on_start, on_sum, on_sum_half_closed,
     NULL, on_done},
    {"Count", RPC_SERVER_STREAM, 0, ECHO_ROLE_READ | ECHO_ROLE_WRITE, on_start, on_count, NULL,
     count_on, on_done},
    {"Chat", RPC_BIDI, PAYLOAD_FIELD, ECHO_ROLE_READ | ECHO_ROLE_WRITE, on_start, on_chat,
     on_chat_half_closed, on_chat_sent, on_done},
    {"Wait", RPC_UNARY, 0, 0, on_start, on_wait, NULL, NULL, on_done},
};

status echo_add(struct echo *echo, struct rpc_server *server, struct err *err)
{
    unsigned char *payload = mem_new(ECHO_PAYLOAD_MAX);
    if (payload == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "echo: out of memory");
    }
    for (size_t i = 0; i < ECHO_PAYLOAD_MAX; i++) {
        payload[i] = (unsigned char)(i * 31 + i / 251);
    }
    echo->server = server;
    echo->payload = payload;
    return rpc_server_add(server, &hindcast__test__echo__descriptor, METHODS,
                          sizeof METHODS / sizeof METHODS[0], echo, err);
}

void echo_fini(struct echo *echo)
{
    union {
        const unsigned char *in;
        void *out;
    } payload = {.in = echo->payload};
    mem_free(payload.out);
}
