/* The echo service of echo.proto, served through common/rpc: what tests and the benchmark talk to.
 */
#ifndef HINDCAST_TESTS_ECHO_SERVICE_H
#define HINDCAST_TESTS_ECHO_SERVICE_H

#include <stdatomic.h>

#include "common/rpc/server.h"
#include "tests/lib/echo/echo.pb-c.h"

typedef Hindcast__Test__EchoRequest echo_request;
typedef Hindcast__Test__EchoResponse echo_response;

#define ECHO_ROLE_READ  1u
#define ECHO_ROLE_WRITE 2u /* Sum needs this one */

#define ECHO_PAYLOAD_MAX (16u << 20)

struct echo {
    struct rpc_server *server;
    const unsigned char *payload; /* ECHO_PAYLOAD_MAX bytes: what Count sends */
    _Atomic uint64_t started;     /* calls, of all methods */
    _Atomic uint64_t done;
    _Atomic uint64_t lent;    /* payloads sent and not released yet */
    _Atomic uint64_t busy;    /* sends refused with QUEUE_FULL */
    _Atomic uint64_t handled; /* requests of Sum that were handed over */
    struct rpc_call *held;    /* the Sum call that said "hold"; call thread */
};

/* Adds the service; `echo` must outlive the server. */
status echo_add(struct echo *echo, struct rpc_server *server, struct err *err) MUST_CHECK;
void echo_fini(struct echo *echo);

/* Call thread: lets the held Sum call go on. */
void echo_resume(void *echo);

#endif
