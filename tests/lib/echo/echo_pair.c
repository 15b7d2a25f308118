#include "tests/lib/echo/echo_pair.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

static void must(status s, const struct err *err)
{
    if (s != STATUS_OK) {
        fprintf(stderr, "echo pair: %s: %s\n", status_text(s), err->text);
    }
    ASSERT(s == STATUS_OK);
}

void echo_pair_serve(struct echo_pair *pair, const struct rpc_server_options *given)
{
    struct rpc_server_options options = given != NULL ? *given : (struct rpc_server_options){0};
    const char *address = pair->address[0] ? pair->address : "127.0.0.1:0";
    if (options.n_addresses == 0) {
        options.addresses = &address;
        options.n_addresses = 1;
    }
    struct err err;
    must(rpc_server_open(&pair->server, &options, &err), &err);
    must(echo_add(&pair->echo, pair->server, &err), &err);
    must(rpc_server_start(pair->server, &err), &err);
    rpc_server_set_serving(pair->server, true);
    int port = rpc_server_port(pair->server, 0);
    if (port == 0) {
        snprintf(pair->address, sizeof pair->address, "%s", options.addresses[0]);
    } else {
        snprintf(pair->address, sizeof pair->address, "localhost:%d", port);
    }
}

void echo_pair_stop(struct echo_pair *pair, uint64_t grace_ms)
{
    rpc_server_close(pair->server, grace_ms);
    pair->server = NULL;
    ASSERT(pair->echo.started == pair->echo.done);
    ASSERT(echo_await(&pair->echo.lent, 0) == 0);
    echo_fini(&pair->echo);
}

void echo_pair_open(struct echo_pair *pair, const struct rpc_server_options *server,
                    const struct rpc_channel_options *channel)
{
    *pair = (struct echo_pair){0};
    echo_pair_serve(pair, server);
    struct err err;
    must(rpc_channel_open(&pair->channel, pair->address, channel, &err), &err);
}

void echo_pair_close(struct echo_pair *pair)
{
    rpc_channel_close(pair->channel);
    echo_pair_stop(pair, 2000);
}

char *echo_text(const char *text)
{
    union {
        const char *in;
        char *out;
    } both = {.in = text};
    return both.out;
}

status echo_say(struct rpc_channel *channel, int64_t number, const char *text, int64_t *answer,
                struct err *err)
{
    echo_request request = ECHO_REQUEST;
    request.number = number;
    request.text = echo_text(text != NULL ? text : "");
    struct rpc_call_options options = {.timeout_ms = ECHO_WAIT_MS, .payload_field = ECHO_PAYLOAD};
    struct rpc_message response;
    *answer = -1;
    status s =
        rpc_unary(channel, ECHO_SERVICE, "Say", &request.base, NULL, &options, &response, err);
    if (s == STATUS_OK) {
        *answer = ((echo_response *)response.body)->number;
        rpc_message_free(&response);
    }
    return s;
}

uint64_t echo_await(const _Atomic uint64_t *counter, uint64_t value)
{
    for (unsigned i = 0; i < ECHO_WAIT_MS && atomic_load(counter) != value; i++) {
        clock_sleep_ms(1);
    }
    return atomic_load(counter);
}
