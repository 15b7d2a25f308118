/* grpc.health.v1 beside every server's own services, written on the same interface as they are. A
 * watcher is told each change once; one that does not read is ended instead of being told late, so
 * that it costs no more than a full send queue. */
#include <string.h>

#include "common/base/memory.h"
#include "common/rpc/call.h"
#include "common/rpc/health.pb-c.h"

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus health_state;
#define HEALTH(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

/* One Watch under way; the call's state. */
struct health_watch {
    struct rpc_call *call;
    struct health_watch *previous, *next;
    bool known;        /* the service it asked for */
    health_state said; /* last */
};

/* A server that drains does not serve, whatever its owner has said. */
static health_state state_now(const struct rpc_server *server)
{
    return atomic_load(&server->serving) && !server->draining ? HEALTH(SERVING)
                                                              : HEALTH(NOT_SERVING);
}

/* "" is the server as a whole. */
static bool is_served(const struct rpc_server *server, const char *service)
{
    if (service[0] == '\0') {
        return true;
    }
    for (size_t i = 0; i < server->n_services; i++) {
        if (strcmp(server->services[i], service) == 0) {
            return true;
        }
    }
    return false;
}

/* Answers with the state of this moment. */
static void on_check(struct rpc_call *call, const ProtobufCMessage *message)
{
    const health_request *request = (const health_request *)message;
    /* An unknown service ends this call with an error; a watcher is told SERVICE_UNKNOWN instead,
     * since the protocol lets it wait. */
    if (!is_served(call->server, request->service)) {
        rpc_call_finish(call, STATUS_NOT_FOUND, "no such service here");
        return;
    }
    health_response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = state_now(call->server);
    rpc_call_reply(call, &response.base);
}

/* Ends a watcher that does not read, instead of queueing states for it. */
static void tell(struct health_watch *watch, health_state state)
{
    /* Only changes are sent. */
    if (watch->said == state) {
        return;
    }
    watch->said = state;
    health_response response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = state;
    if (rpc_call_send(watch->call, &response.base, NULL) == STATUS_QUEUE_FULL) {
        /* Finishing would wait behind the messages that it does not read. */
        rpc_call_abort(watch->call, STATUS_QUEUE_FULL, "the watcher does not read");
    }
}

/* Adds the call to the list of watchers, and tells it the state. */
static void on_watch(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct health_watch *watch = mem_new(sizeof *watch);
    if (watch == NULL) {
        rpc_call_finish(call, STATUS_NO_MEMORY, "out of memory");
        return;
    }
    struct rpc_server *server = call->server;
    watch->call = call;
    watch->known = is_served(server, ((const health_request *)message)->service);
    watch->said = HEALTH(UNKNOWN); /* nothing yet */
    /* In front of the list of watchers. */
    watch->next = server->watches;
    if (watch->next != NULL) {
        watch->next->previous = watch;
    }
    server->watches = watch;
    /* on_watch_done finds it there. */
    rpc_call_set_state(call, watch);
    tell(watch, watch->known ? state_now(server) : HEALTH(SERVICE_UNKNOWN));
    /* A watch that begins during the drain would otherwise hold it up. */
    if (server->draining) {
        rpc_call_finish(call, STATUS_UNAVAILABLE, "the server is closing");
    }
}

/* Takes it out of the list. */
static void on_watch_done(struct rpc_call *call)
{
    struct health_watch *watch = rpc_call_state(call);
    /* No request had come, or there was no memory for the watch. */
    if (watch == NULL) {
        return;
    }
    /* Its neighbours in the list are joined; the first has none before it. */
    if (watch->previous != NULL) {
        watch->previous->next = watch->next;
    } else {
        call->server->watches = watch->next;
    }
    if (watch->next != NULL) {
        watch->next->previous = watch->previous;
    }
    mem_free(watch);
}

/* No roles: anybody may ask, also without a token. */
static const struct rpc_method METHODS[] = {
    {.name = "Check", .kind = RPC_UNARY, .message = on_check},
    {.name = "Watch", .kind = RPC_SERVER_STREAM, .message = on_watch, .done = on_watch_done},
};

status health_add(struct rpc_server *server, struct err *err)
{
    return rpc_server_add(server, &grpc__health__v1__health__descriptor, METHODS,
                          sizeof METHODS / sizeof METHODS[0], server, err);
}

void health_changed(struct rpc_server *server)
{
    for (struct health_watch *watch = server->watches; watch != NULL; watch = watch->next) {
        /* Of a service that is unknown there is nothing new. */
        if (watch->known) {
            tell(watch, state_now(server));
        }
    }
}

void health_drain(struct rpc_server *server)
{
    health_changed(server);
    /* The status follows the last state, because a call sends in order. */
    for (struct health_watch *watch = server->watches; watch != NULL; watch = watch->next) {
        rpc_call_finish(watch->call, STATUS_UNAVAILABLE, "the server is closing");
    }
}
