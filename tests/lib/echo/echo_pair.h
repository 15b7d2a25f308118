/* An echo server and a channel to it, in one process: the fixture of common/rpc's tests. A failure
 * to set up aborts. */
#ifndef HINDCAST_TESTS_ECHO_PAIR_H
#define HINDCAST_TESTS_ECHO_PAIR_H

#include "common/rpc/client.h"
#include "tests/lib/echo/echo_service.h"

#define ECHO_SERVICE (&hindcast__test__echo__descriptor)
#define ECHO_REQUEST ((echo_request)HINDCAST__TEST__ECHO_REQUEST__INIT)
#define ECHO_PAYLOAD 15
#define ECHO_WAIT_MS 5000 /* what tests allow for what must happen at once */

struct echo_pair {
    struct echo echo;
    struct rpc_server *server;
    struct rpc_channel *channel;
    char address[512];
};

/* `server`: NULL, or options with or without an address (then loopback, any port). `channel` may be
 * NULL. */
void echo_pair_open(struct echo_pair *pair, const struct rpc_server_options *server,
                    const struct rpc_channel_options *channel);
/* Closes both and asserts that every call that started is done and every payload was released. */
void echo_pair_close(struct echo_pair *pair);

/* The halves, for tests that stop the server in between. The address stays. */
void echo_pair_serve(struct echo_pair *pair, const struct rpc_server_options *server);
void echo_pair_stop(struct echo_pair *pair, uint64_t grace_ms);

/* One Say; `text` may be NULL. The answer's number, or -1 after an error. */
status echo_say(struct rpc_channel *channel, int64_t number, const char *text, int64_t *answer,
                struct err *err);

/* Waits until the counter has the value, for ECHO_WAIT_MS; what it had last. */
uint64_t echo_await(const _Atomic uint64_t *counter, uint64_t value);

/* The i-th byte of what Count sends. */
static inline unsigned char echo_byte(size_t i)
{
    return (unsigned char)(i * 31 + i / 251);
}

/* `text` as protobuf-c wants it; it only reads. */
char *echo_text(const char *text);

#endif
