/* common/rpc, calls: every kind, both ways, over a real connection in one process. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "tests/lib/check.h"
#include "tests/lib/echo/echo_pair.h"

static int open_pair(void **state)
{
    struct echo_pair *pair = mem_new(sizeof *pair);
    assert_non_null(pair);
    echo_pair_open(pair, NULL, NULL);
    *state = pair;
    return 0;
}

static int close_pair(void **state)
{
    echo_pair_close(*state);
    mem_free(*state);
    return 0;
}

static struct rpc_stream *open_stream(struct echo_pair *pair, const char *method,
                                      enum rpc_kind kind)
{
    struct rpc_call_options options = {.payload_field = ECHO_PAYLOAD};
    struct rpc_stream *stream;
    struct err err;
    assert_int_equal(
        rpc_stream_open(&stream, pair->channel, ECHO_SERVICE, method, kind, &options, &err),
        STATUS_OK);
    return stream;
}

static status send_text(struct rpc_stream *stream, int64_t number, const char *text)
{
    echo_request request = ECHO_REQUEST;
    request.number = number;
    request.text = echo_text(text);
    return rpc_stream_send(stream, &request.base, NULL, ECHO_WAIT_MS);
}

static const echo_response *body(const struct rpc_message *message)
{
    return (const echo_response *)message->body;
}

/* Do the pieces hold what Count sends? */
static void assert_pattern(const struct rpc_pieces *pieces, size_t size)
{
    assert_int_equal(pieces->size, size);
    size_t at = 0;
    for (size_t i = 0; i < pieces->n; i++) {
        for (size_t k = 0; k < pieces->pieces[i].size; k++, at++) {
            if (pieces->pieces[i].bytes[k] != echo_byte(at)) {
                fail_msg("byte %zu: %u, expected %u", at, pieces->pieces[i].bytes[k],
                         echo_byte(at));
            }
        }
    }
    assert_int_equal(at, size);
}

/* ---- Unary ---- */

static void unary_answers(void **state)
{
    struct echo_pair *pair = *state;
    struct err err;
    for (int64_t i = 0; i < 100; i++) {
        int64_t answer;
        status s = echo_say(pair->channel, i, "hello", &answer, &err);
        if (s != STATUS_OK) {
            fail_msg("call %d: %s", (int)i, err.text);
        }
        assert_int_equal(answer, i);
    }
}

static void unary_gives_status_and_text(void **state)
{
    struct echo_pair *pair = *state;
    static const status CODES[] = {
        STATUS_INVALID,  STATUS_CORRUPT, STATUS_RETRY,         STATUS_NOT_FOUND,   STATUS_EXISTS,
        STATUS_MISMATCH, STATUS_TIMEOUT, STATUS_CLOSED,        STATUS_UNAVAILABLE, STATUS_DENIED,
        STATUS_FULL,     STATUS_IO,      STATUS_UNIMPLEMENTED, STATUS_INTERNAL};
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "fail:%d:reason %zu", CODES[i], i);
        struct err err;
        int64_t answer;
        assert_int_equal(echo_say(pair->channel, 1, text, &answer, &err), CODES[i]);
        assert_int_equal(err.code, CODES[i]);
        snprintf(text, sizeof text, "Say: reason %zu", i);
        assert_non_null(strstr(err.text, text));
        assert_non_null(strstr(err.text, pair->address));
    }
}

/* gRPC has one code for several of our statuses. All of them arrive as "try again". */
static void statuses_without_a_code_of_their_own(void **state)
{
    struct echo_pair *pair = *state;
    static const status CODES[] = {STATUS_QUEUE_FULL,   STATUS_RETRY,   STATUS_SUPERSEDED,
                                   STATUS_GROUP_BROKEN, STATUS_PENDING, STATUS_TOO_LONG,
                                   STATUS_LIMIT};
    for (size_t i = 0; i < sizeof CODES / sizeof CODES[0]; i++) {
        assert_int_equal(rpc_code(CODES[i]), 10); /* ABORTED */
        char text[64];
        snprintf(text, sizeof text, "fail:%d:reason", CODES[i]);
        int64_t answer;
        struct err err;
        assert_int_equal(echo_say(pair->channel, 1, text, &answer, &err), STATUS_RETRY);
        assert_non_null(strstr(err.text, "reason"));
    }
    /* Every status has a code: none becomes INTERNAL by omission. */
#define STATUS_HAS_CODE(name, number, text)                                                        \
    assert_true(STATUS_##name == STATUS_INTERNAL || rpc_code(STATUS_##name) != 13);
    STATUS_MAP(STATUS_HAS_CODE)
#undef STATUS_HAS_CODE
}

static void unary_carries_payloads(void **state)
{
    struct echo_pair *pair = *state;
    static const size_t SIZES[] = {1, 7, 127, 128, 4096, 70000, 1u << 20, 12u << 20};
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        echo_request request = ECHO_REQUEST;
        request.text = echo_text("after");
        request.after = echo_text("behind the payload");
        struct rpc_payload payload = {ECHO_PAYLOAD, pair->echo.payload, SIZES[i], NULL, NULL};
        struct rpc_call_options options = {.payload_field = ECHO_PAYLOAD,
                                           .timeout_ms = ECHO_WAIT_MS};
        struct rpc_message response;
        struct err err;
        assert_int_equal(rpc_unary(pair->channel, ECHO_SERVICE, "Say", &request.base, &payload,
                                   &options, &response, &err),
                         STATUS_OK);
        assert_pattern(&response.payload, SIZES[i]);
        assert_int_equal(body(&response)->size, SIZES[i]);
        assert_int_equal(body(&response)->payload.len, 0);
        assert_string_equal(body(&response)->text, "behind the payload");
        rpc_message_free(&response);
    }
}

static void unary_refuses_large_messages(void **state)
{
    struct echo_pair *pair = *state;
    unsigned char *large = mem_new(RPC_MESSAGE_MAX_BYTES + 1);
    assert_non_null(large);
    echo_request request = ECHO_REQUEST;
    struct rpc_payload payload = {ECHO_PAYLOAD, large, RPC_MESSAGE_MAX_BYTES + 1, NULL, NULL};
    struct rpc_message response;
    struct err err;
    assert_int_equal(rpc_unary(pair->channel, ECHO_SERVICE, "Say", &request.base, &payload, NULL,
                               &response, &err),
                     STATUS_FULL);

    /* A channel that allows itself more is stopped by the server. */
    struct rpc_channel_options options = {.max_message_bytes = 64u << 20};
    struct rpc_channel *channel;
    assert_int_equal(rpc_channel_open(&channel, pair->address, &options, &err), STATUS_OK);
    assert_int_equal(
        rpc_unary(channel, ECHO_SERVICE, "Say", &request.base, &payload, NULL, &response, &err),
        STATUS_FULL);
    int64_t answer;
    assert_int_equal(echo_say(channel, 5, NULL, &answer, &err),
                     STATUS_OK); /* the connection lives on */
    rpc_channel_close(channel);
    mem_free(large);
}

static void unary_keeps_its_deadline(void **state)
{
    struct echo_pair *pair = *state;
    echo_request request = ECHO_REQUEST;
    struct rpc_call_options options = {.timeout_ms = 300};
    struct rpc_message response;
    struct err err;
    int64_t answer;
    assert_int_equal(echo_say(pair->channel, 1, NULL, &answer, &err), STATUS_OK); /* connected */
    uint64_t begin = clock_now_ns();
    assert_int_equal(rpc_unary(pair->channel, ECHO_SERVICE, "Wait", &request.base, NULL, &options,
                               &response, &err),
                     STATUS_TIMEOUT);
    uint64_t ms = (clock_now_ns() - begin) / NS_PER_MS;
    assert_in_range(ms, 290, 2000);
    assert_int_equal(echo_await(&pair->echo.done, 2), 2); /* the server hears of it too */
}

static void unary_unknown_is_unimplemented(void **state)
{
    struct echo_pair *pair = *state;
    echo_request request = ECHO_REQUEST;
    struct rpc_message response;
    struct err err;
    assert_int_equal(rpc_unary(pair->channel, ECHO_SERVICE, "Hidden", &request.base, NULL, NULL,
                               &response, &err),
                     STATUS_UNIMPLEMENTED);
    ProtobufCServiceDescriptor other = *ECHO_SERVICE;
    other.name = "hindcast.test.Other";
    assert_int_equal(
        rpc_unary(pair->channel, &other, "Say", &request.base, NULL, NULL, &response, &err),
        STATUS_UNIMPLEMENTED);
    assert_int_equal(rpc_unary(pair->channel, ECHO_SERVICE, "Nonsense", &request.base, NULL, NULL,
                               &response, &err),
                     STATUS_INVALID); /* not even in the .proto */
}

static void unary_shows_call_facts(void **state)
{
    struct echo_pair *pair = *state;
    echo_request request = ECHO_REQUEST;
    struct rpc_call_options options = {.timeout_ms = 4000, .payload_field = ECHO_PAYLOAD};
    struct rpc_message response;
    struct err err;
    request.text = echo_text("deadline");
    assert_int_equal(rpc_unary(pair->channel, ECHO_SERVICE, "Say", &request.base, NULL, &options,
                               &response, &err),
                     STATUS_OK);
    int left_ms = atoi(body(&response)->text);
    assert_in_range(left_ms, 3000, 4100); /* gRPC rounds up on the wire */
    rpc_message_free(&response);
    request.text = echo_text("peer");
    assert_int_equal(rpc_unary(pair->channel, ECHO_SERVICE, "Say", &request.base, NULL, &options,
                               &response, &err),
                     STATUS_OK);
    assert_non_null(strstr(body(&response)->text, "127.0.0.1"));
    rpc_message_free(&response);
    request.text = echo_text("metadata:user-agent");
    assert_int_equal(rpc_unary(pair->channel, ECHO_SERVICE, "Say", &request.base, NULL, &options,
                               &response, &err),
                     STATUS_OK);
    assert_non_null(strstr(body(&response)->text, "grpc-c/"));
    rpc_message_free(&response);
}

/* ---- Streams ---- */

static void client_stream_sums(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Sum", RPC_CLIENT_STREAM);
    int64_t sum = 0;
    for (int64_t i = 0; i < 500; i++) {
        echo_request request = ECHO_REQUEST;
        request.number = i;
        struct rpc_payload payload = {ECHO_PAYLOAD, pair->echo.payload, 3000, NULL, NULL};
        assert_int_equal(rpc_stream_send(stream, &request.base, &payload, ECHO_WAIT_MS), STATUS_OK);
        sum += i;
    }
    assert_int_equal(rpc_stream_half_close(stream), STATUS_OK);
    struct rpc_message response;
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_OK);
    assert_int_equal(body(&response)->number, sum);
    assert_int_equal(body(&response)->size, 500 * 3000);
    rpc_message_free(&response);
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_CLOSED);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_OK);
}

static void server_stream_counts(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Count", RPC_SERVER_STREAM);
    echo_request request = ECHO_REQUEST;
    request.number = 200;
    request.size = 100000;
    assert_int_equal(rpc_stream_send(stream, &request.base, NULL, ECHO_WAIT_MS), STATUS_OK);
    assert_int_equal(rpc_stream_half_close(stream), STATUS_OK);
    for (int64_t i = 0; i < request.number; i++) {
        struct rpc_message response;
        assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_OK);
        assert_int_equal(body(&response)->number, i);
        assert_pattern(&response.payload, request.size);
        rpc_message_free(&response);
    }
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_OK);
}

struct receiver {
    struct rpc_stream *stream;
    int64_t n;
    int64_t received;
};

static void *receive_all(void *arg)
{
    struct receiver *receiver = arg;
    struct rpc_message response;
    while (receiver->received < receiver->n &&
           rpc_stream_recv(receiver->stream, &response, ECHO_WAIT_MS) == STATUS_OK) {
        if (body(&response)->number != receiver->received || response.payload.size != 20000) {
            return NULL;
        }
        receiver->received++;
        rpc_message_free(&response);
    }
    return NULL;
}

static void bidi_from_two_threads(void **state)
{
    struct echo_pair *pair = *state;
    struct receiver receiver = {open_stream(pair, "Chat", RPC_BIDI), 1000, 0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, receive_all, &receiver), 0);
    for (int64_t i = 0; i < receiver.n; i++) {
        echo_request request = ECHO_REQUEST;
        request.number = i;
        struct rpc_payload payload = {ECHO_PAYLOAD, pair->echo.payload, 20000, NULL, NULL};
        assert_int_equal(rpc_stream_send(receiver.stream, &request.base, &payload, ECHO_WAIT_MS),
                         STATUS_OK);
    }
    pthread_join(thread, NULL);
    assert_int_equal(receiver.received, receiver.n);
    struct err err;
    assert_int_equal(rpc_stream_finish(receiver.stream, ECHO_WAIT_MS, &err), STATUS_OK);
}

static void recv_timeout_leaves_the_stream_alive(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Chat", RPC_BIDI);
    struct rpc_message response;
    assert_int_equal(rpc_stream_recv(stream, &response, 30), STATUS_TIMEOUT);
    assert_int_equal(rpc_stream_recv(stream, &response, 0), STATUS_TIMEOUT);
    assert_int_equal(send_text(stream, 7, "late"), STATUS_OK);
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_OK);
    assert_int_equal(body(&response)->number, 7);
    rpc_message_free(&response);
    assert_int_equal(rpc_stream_recv(stream, &response, 10), STATUS_TIMEOUT);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_OK);
}

static void finish_reads_what_is_left(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Count", RPC_SERVER_STREAM);
    echo_request request = ECHO_REQUEST;
    request.number = 50;
    request.size = 50000;
    assert_int_equal(rpc_stream_send(stream, &request.base, NULL, ECHO_WAIT_MS), STATUS_OK);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_OK);
}

static void finish_gives_the_servers_reason(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Sum", RPC_CLIENT_STREAM);
    char text[64];
    snprintf(text, sizeof text, "fail:%d:no room for this", STATUS_FULL);
    assert_int_equal(send_text(stream, 1, text), STATUS_OK);
    struct rpc_message response;
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_CLOSED);
    /* Sends fail sooner or later, never hang. */
    status s = STATUS_OK;
    for (int i = 0; i < 1000 && s == STATUS_OK; i++) {
        s = send_text(stream, 1, "more");
    }
    assert_int_equal(s, STATUS_CLOSED);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_FULL);
    assert_non_null(strstr(err.text, "no room for this"));
}

static void server_may_end_first(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Chat", RPC_BIDI);
    assert_int_equal(send_text(stream, 1, "one"), STATUS_OK);
    assert_int_equal(send_text(stream, 2, "end"), STATUS_OK);
    struct rpc_message response;
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_OK);
    rpc_message_free(&response);
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_CLOSED);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_OK);
}

/* ---- Cancelling, deadlines ---- */

static void *cancel_soon(void *stream)
{
    clock_sleep_ms(50);
    rpc_stream_cancel(stream);
    return NULL;
}

static void cancel_wakes_the_receiver(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Chat", RPC_BIDI);
    assert_int_equal(send_text(stream, 1, "one"), STATUS_OK);
    struct rpc_message response;
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_OK);
    rpc_message_free(&response);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, stream), 0);
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_CLOSED);
    pthread_join(thread, NULL);
    assert_int_equal(send_text(stream, 2, "two"), STATUS_CLOSED);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_CLOSED);
    assert_int_equal(echo_await(&pair->echo.done, 1), 1);
}

static void cancel_reaches_a_held_call(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Sum", RPC_CLIENT_STREAM);
    assert_int_equal(send_text(stream, 1, "hold"), STATUS_OK);
    assert_int_equal(send_text(stream, 2, ""), STATUS_OK);
    assert_int_equal(echo_await(&pair->echo.handled, 1), 1);
    rpc_stream_cancel(stream);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_CLOSED);
    assert_int_equal(echo_await(&pair->echo.done, 1), 1);
    assert_int_equal(pair->echo.handled, 1);
}

static void finish_is_bounded(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Sum", RPC_CLIENT_STREAM);
    assert_int_equal(send_text(stream, 1, "hold"), STATUS_OK);
    assert_int_equal(echo_await(&pair->echo.handled, 1), 1);
    struct err err;
    uint64_t begin = clock_now_ns();
    assert_int_equal(rpc_stream_finish(stream, 100, &err), STATUS_TIMEOUT);
    assert_in_range((clock_now_ns() - begin) / NS_PER_MS, 90, 2000);
}

static void stream_deadline_ends_both_sides(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_call_options options = {.timeout_ms = 300};
    struct rpc_stream *stream;
    struct err err;
    int64_t answer;
    assert_int_equal(echo_say(pair->channel, 1, NULL, &answer, &err), STATUS_OK); /* connected */
    assert_int_equal(
        rpc_stream_open(&stream, pair->channel, ECHO_SERVICE, "Chat", RPC_BIDI, &options, &err),
        STATUS_OK);
    struct rpc_message response;
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_CLOSED);
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_TIMEOUT);
    assert_int_equal(echo_await(&pair->echo.done, 2), 2);
}

/* ---- Back-pressure ---- */

static void hold_stops_the_sender(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Sum", RPC_CLIENT_STREAM);
    assert_int_equal(send_text(stream, 1, "hold"), STATUS_OK);
    assert_int_equal(echo_await(&pair->echo.handled, 1), 1);

    /* With the reader holding, a sender can go on only until windows and buffers are full. */
    uint64_t sent = 1;
    status s = STATUS_OK;
    echo_request request = ECHO_REQUEST;
    while (s == STATUS_OK && sent < 1000) {
        struct rpc_payload payload = {ECHO_PAYLOAD, pair->echo.payload, 1u << 20, NULL, NULL};
        s = rpc_stream_send(stream, &request.base, &payload, 300);
        sent++;
    }
    assert_int_equal(s, STATUS_TIMEOUT);
    assert_in_range(sent, 2, 200);
    assert_int_equal(pair->echo.handled, 1);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_CLOSED);
}

static void a_started_send_may_wait_and_be_left(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Sum", RPC_CLIENT_STREAM);
    assert_int_equal(send_text(stream, 1, "hold"), STATUS_OK);
    assert_int_equal(echo_await(&pair->echo.handled, 1), 1);
    status s = STATUS_OK;
    echo_request request = ECHO_REQUEST;
    for (int i = 0; i < 200 && s == STATUS_OK; i++) {
        struct rpc_payload payload = {ECHO_PAYLOAD, pair->echo.payload, 1u << 20, NULL, NULL};
        assert_int_equal(rpc_stream_send_start(stream, &request.base, &payload), STATUS_OK);
        s = rpc_stream_send_wait(stream, 200);
    }
    assert_int_equal(s, STATUS_TIMEOUT);
    assert_int_equal(rpc_stream_send_wait(stream, 10), STATUS_TIMEOUT); /* it is still under way */
    assert_int_equal(rpc_server_post(pair->server, echo_resume, &pair->echo), STATUS_OK);
    assert_int_equal(rpc_stream_send_wait(stream, ECHO_WAIT_MS), STATUS_OK);

    /* And the end does not wait for ever for one that the server does not read. */
    assert_int_equal(send_text(stream, 1, "hold"), STATUS_OK);
    s = STATUS_OK;
    for (int i = 0; i < 200 && s == STATUS_OK; i++) {
        struct rpc_payload payload = {ECHO_PAYLOAD, pair->echo.payload, 1u << 20, NULL, NULL};
        assert_int_equal(rpc_stream_send_start(stream, &request.base, &payload), STATUS_OK);
        s = rpc_stream_send_wait(stream, 200);
    }
    assert_int_equal(s, STATUS_TIMEOUT);
    struct err err;
    uint64_t begin = clock_now_ns();
    assert_int_equal(rpc_stream_finish(stream, 100, &err), STATUS_TIMEOUT);
    assert_in_range((clock_now_ns() - begin) / NS_PER_MS, 90, 2000);
}

static void resume_goes_on(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Sum", RPC_CLIENT_STREAM);
    assert_int_equal(send_text(stream, 1, "hold"), STATUS_OK);
    assert_int_equal(send_text(stream, 2, "hold"), STATUS_OK);
    assert_int_equal(send_text(stream, 3, ""), STATUS_OK);
    assert_int_equal(rpc_stream_half_close(stream), STATUS_OK);
    assert_int_equal(echo_await(&pair->echo.handled, 1), 1);
    clock_sleep_ms(30);
    assert_int_equal(pair->echo.handled, 1);
    assert_int_equal(rpc_server_post(pair->server, echo_resume, &pair->echo), STATUS_OK);
    assert_int_equal(echo_await(&pair->echo.handled, 2), 2);
    assert_int_equal(rpc_server_post(pair->server, echo_resume, &pair->echo), STATUS_OK);
    struct rpc_message response;
    assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_OK);
    assert_int_equal(body(&response)->number, 6);
    rpc_message_free(&response);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_OK);
}

static void full_send_queue_is_busy(void **state)
{
    struct echo_pair *pair = *state;
    struct rpc_stream *stream = open_stream(pair, "Chat", RPC_BIDI);
    assert_int_equal(send_text(stream, 1, "burst"), STATUS_OK);
    for (int64_t i = 0; i < RPC_SEND_QUEUE_MAX; i++) {
        struct rpc_message response;
        assert_int_equal(rpc_stream_recv(stream, &response, ECHO_WAIT_MS), STATUS_OK);
        assert_int_equal(body(&response)->number, i);
        rpc_message_free(&response);
    }
    assert_int_equal(pair->echo.busy, 1);
    struct err err;
    assert_int_equal(rpc_stream_finish(stream, ECHO_WAIT_MS, &err), STATUS_OK);
}

/* ---- Many at once ---- */

#define STRESS_THREADS 8
#define STRESS_CALLS   150

struct stress {
    struct echo_pair *pair;
    unsigned seed;
    int failed;
};

/* One random call; true when it went as it should. */
static bool stress_call(struct stress *stress, int64_t i)
{
    struct echo_pair *pair = stress->pair;
    struct err err = {0};
    unsigned kind = (unsigned)rand_r(&stress->seed) % 5;
    if (kind <= 1) {
        int64_t answer;
        return echo_say(pair->channel, i, "stress", &answer, &err) == STATUS_OK && answer == i;
    }
    struct rpc_call_options options = {.payload_field = ECHO_PAYLOAD, .timeout_ms = 20000};
    struct rpc_stream *stream;
    if (rpc_stream_open(&stream, pair->channel, ECHO_SERVICE, kind == 2 ? "Count" : "Chat",
                        kind == 2 ? RPC_SERVER_STREAM : RPC_BIDI, &options, &err) != STATUS_OK) {
        return false;
    }
    echo_request request = ECHO_REQUEST;
    request.number = 5;
    request.size = (uint64_t)rand_r(&stress->seed) % 50000;
    struct rpc_payload payload = {ECHO_PAYLOAD, pair->echo.payload, request.size, NULL, NULL};
    bool good = rpc_stream_send(stream, &request.base, kind == 2 ? NULL : &payload, ECHO_WAIT_MS) ==
                STATUS_OK;
    if (kind == 4) { /* leave in the middle */
        rpc_stream_cancel(stream);
        return rpc_stream_finish(stream, ECHO_WAIT_MS, &err) == STATUS_CLOSED && good;
    }
    struct rpc_message response;
    good = good && rpc_stream_recv(stream, &response, 20000) == STATUS_OK;
    if (good) {
        good = response.payload.size == request.size;
        rpc_message_free(&response);
    }
    return rpc_stream_finish(stream, 20000, &err) == STATUS_OK && good;
}

static void *stress_run(void *arg)
{
    struct stress *stress = arg;
    for (int64_t i = 0; i < STRESS_CALLS; i++) {
        stress->failed += stress_call(stress, i) ? 0 : 1;
    }
    return NULL;
}

static void many_calls_at_once(void **state)
{
    struct echo_pair *pair = *state;
    struct stress stress[STRESS_THREADS];
    pthread_t threads[STRESS_THREADS];
    for (unsigned i = 0; i < STRESS_THREADS; i++) {
        stress[i] = (struct stress){pair, i + 1, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, stress_run, &stress[i]), 0);
    }
    for (unsigned i = 0; i < STRESS_THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(stress[i].failed, 0);
    }
    assert_int_equal(echo_await(&pair->echo.done, pair->echo.started), pair->echo.started);
    struct rpc_server_counts counts;
    rpc_server_counts(pair->server, &counts);
    assert_int_equal(counts.calls_started, pair->echo.started);
    assert_int_equal(counts.calls_refused, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unary_answers),
        TEST(unary_gives_status_and_text),
        TEST(statuses_without_a_code_of_their_own),
        TEST(unary_carries_payloads),
        TEST(unary_refuses_large_messages),
        TEST(unary_keeps_its_deadline),
        TEST(unary_unknown_is_unimplemented),
        TEST(unary_shows_call_facts),
        TEST(client_stream_sums),
        TEST(server_stream_counts),
        TEST(bidi_from_two_threads),
        TEST(recv_timeout_leaves_the_stream_alive),
        TEST(finish_reads_what_is_left),
        TEST(finish_gives_the_servers_reason),
        TEST(server_may_end_first),
        TEST(cancel_wakes_the_receiver),
        TEST(cancel_reaches_a_held_call),
        TEST(finish_is_bounded),
        TEST(stream_deadline_ends_both_sides),
        TEST(hold_stops_the_sender),
        TEST(a_started_send_may_wait_and_be_left),
        TEST(resume_goes_on),
        TEST(full_send_queue_is_busy),
        TEST(many_calls_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
