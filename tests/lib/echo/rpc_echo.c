/* rpc_echo serve ADDRESS [CA CERT KEY]    the echo service until SIGTERM, then drains; prints "port
 * N" rpc_echo call ADDRESS [CA CERT KEY]     one call of each kind against any echo server; exit
 * status 0 when all is well
 *
 * For tests against other implementations of gRPC. The tokens "reader" and "writer" are known when
 * RPC_ECHO_TOKENS is set. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/echo/echo_pair.h"

static int fail(const char *what, const struct err *err)
{
    fprintf(stderr, "rpc_echo: %s: %s\n", what, err->text);
    return 1;
}

static unsigned role_of(const char *token, char name[RPC_CALLER_NAME_SIZE], void *arg)
{
    (void)arg;
    (void)name;
    if (token == NULL) {
        return 0;
    }
    return strcmp(token, "reader") == 0   ? ECHO_ROLE_READ
           : strcmp(token, "writer") == 0 ? ECHO_ROLE_READ | ECHO_ROLE_WRITE
                                          : 0;
}

static int serve(const char *address, struct rpc_tls tls)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before gRPC starts threads */
    struct rpc_server_options options = {.addresses = &address,
                                         .n_addresses = 1,
                                         .tls = tls,
                                         .role_of = getenv("RPC_ECHO_TOKENS") ? role_of : NULL};
    struct rpc_server *server;
    struct echo echo = {0};
    struct err err;
    if (rpc_server_open(&server, &options, &err) != STATUS_OK ||
        echo_add(&echo, server, &err) != STATUS_OK || rpc_server_start(server, &err) != STATUS_OK) {
        return fail("serve", &err);
    }
    rpc_server_set_serving(server, true);
    printf("port %d\n", rpc_server_port(server, 0));
    fflush(stdout);
    int got;
    sigwait(&signals, &got);
    rpc_server_close(server, 2000);
    bool whole = echo.started == echo.done && echo_await(&echo.lent, 0) == 0;
    printf("calls %llu, done %llu\n", (unsigned long long)echo.started,
           (unsigned long long)echo.done);
    echo_fini(&echo);
    return whole ? 0 : 1;
}

/* A stream of `n` requests with payloads; expects as many numbers summed up in what comes back. */
static int call_stream(struct rpc_channel *channel, const char *method, enum rpc_kind kind)
{
    static unsigned char bytes[70000];
    struct rpc_call_options options = {.timeout_ms = 20000, .payload_field = ECHO_PAYLOAD};
    struct rpc_stream *stream;
    struct err err = {0};
    if (rpc_stream_open(&stream, channel, ECHO_SERVICE, method, kind, &options, &err) !=
        STATUS_OK) {
        return fail(method, &err);
    }
    const int n = kind == RPC_SERVER_STREAM ? 1 : 10;
    bool good = true;
    for (int i = 0; i < n && good; i++) {
        echo_request request = ECHO_REQUEST;
        request.number = kind == RPC_SERVER_STREAM ? 10 : 1;
        request.size = kind == RPC_SERVER_STREAM ? sizeof bytes : 0;
        struct rpc_payload payload = {ECHO_PAYLOAD, bytes, sizeof bytes, NULL, NULL};
        good = rpc_stream_send(stream, &request.base, kind == RPC_SERVER_STREAM ? NULL : &payload,
                               ECHO_WAIT_MS) == STATUS_OK;
    }
    good = good && rpc_stream_half_close(stream) == STATUS_OK;
    size_t size = 0;
    struct rpc_message message;
    while (good && rpc_stream_recv(stream, &message, ECHO_WAIT_MS) == STATUS_OK) {
        size += kind == RPC_CLIENT_STREAM ? (size_t)((echo_response *)message.body)->size
                                          : message.payload.size;
        rpc_message_free(&message);
    }
    status s = rpc_stream_finish(stream, ECHO_WAIT_MS, &err);
    if (s != STATUS_OK || !good || size != 10 * sizeof bytes) {
        fprintf(stderr, "%s: %zu bytes came back\n", method, size);
        return fail(method, &err);
    }
    return 0;
}

static int call(const char *address, struct rpc_tls tls)
{
    struct rpc_channel_options options = {.tls = tls, .token = getenv("RPC_ECHO_TOKEN")};
    struct rpc_channel *channel;
    struct err err = {0};
    if (rpc_channel_open(&channel, address, &options, &err) != STATUS_OK) {
        return fail("open", &err);
    }
    int64_t answer;
    if (echo_say(channel, 33, "hello", &answer, &err) != STATUS_OK || answer != 33) {
        return fail("Say", &err);
    }
    int failed = call_stream(channel, "Sum", RPC_CLIENT_STREAM) ||
                 call_stream(channel, "Count", RPC_SERVER_STREAM) ||
                 call_stream(channel, "Chat", RPC_BIDI);
    if (!failed && echo_say(channel, 1, "fail:-12:no room", &answer, &err) != STATUS_FULL) {
        failed = fail("Say that fails", &err);
    }
    rpc_channel_close(channel);
    return failed;
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 6) {
        fprintf(stderr, "see the head of rpc_echo.c\n");
        return 2;
    }
    struct rpc_tls tls = {0};
    if (argc == 6) {
        tls = (struct rpc_tls){argv[3], argv[4], argv[5]};
    }
    return strcmp(argv[1], "serve") == 0 ? serve(argv[2], tls) : call(argv[2], tls);
}
