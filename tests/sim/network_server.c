/* Servers: addresses, incoming calls, shutdown. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/network_private.h"

/* A request for the next call. */
struct accept {
    struct accept *next;
    struct batch batch;
    grpc_call **call;
    grpc_call_details *details;
    grpc_metadata_array *metadata;
};

static grpc_server *servers;

void servers_reset(void)
{
    servers = NULL;
}

grpc_server *server_at(const char *address)
{
    for (grpc_server *server = servers; server; server = server->next) {
        if (server->started && !server->shut_down && !host_is_dead(server->host) &&
            strcmp(server->address, address) == 0) {
            return server;
        }
    }
    return NULL;
}

/* ---- Calls that arrive ---- */

static void hand_over(grpc_server *server, grpc_call *call)
{
    struct accept *accept = server->accepts;
    server->accepts = accept->next;
    *accept->call = call;
    call->queue = accept->batch.queue;
    accept->details->method = grpc_slice_from_copied_string(call->path);
    accept->details->deadline =
        call->deadline_ns == AGENDA_NEVER
            ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
            : (gpr_timespec){(int64_t)(call->deadline_ns / NS_PER_S),
                             (int32_t)(call->deadline_ns % NS_PER_S), GPR_CLOCK_MONOTONIC};
    batch_end_one(&accept->batch, true);
}

void server_call_arrived(grpc_server *server, grpc_call *call)
{
    server->n_live++;
    if (server->accepts) {
        hand_over(server, call);
        return;
    }
    call->next_waiting = NULL;
    if (server->arrived) {
        server->arrived_tail->next_waiting = call;
    } else {
        server->arrived = call;
    }
    server->arrived_tail = call;
}

grpc_call_error grpc_server_request_call(grpc_server *server, grpc_call **call,
                                         grpc_call_details *details, grpc_metadata_array *metadata,
                                         grpc_completion_queue *queue,
                                         grpc_completion_queue *notify, void *tag)
{
    (void)notify;
    struct accept *accept = network_memory(sizeof *accept);
    *accept = (struct accept){.batch = {.queue = queue, .tag = tag, .n_open = 1, .ok = true},
                              .call = call,
                              .details = details,
                              .metadata = metadata};
    if (server->shut_down) {
        batch_end_one(&accept->batch, false);
        return GRPC_CALL_OK;
    }
    if (server->accepts) {
        server->accepts_tail->next = accept;
    } else {
        server->accepts = accept;
    }
    server->accepts_tail = accept;
    while (server->arrived && server->accepts) {
        grpc_call *first = server->arrived;
        server->arrived = first->next_waiting;
        if (!first->ended) {
            hand_over(server, first);
        }
    }
    return GRPC_CALL_OK;
}

/* ---- The end ---- */

static void notify(void *arg)
{
    grpc_server *server = arg;
    queue_put(server->queue, server->shutdown_tag, true);
}

static void notify_if_over(grpc_server *server)
{
    if (server->shut_down && !server->notified && server->n_live == 0) {
        server->notified = true;
        agenda_in(network_delay(), notify, server);
    }
}

void server_call_ended(grpc_server *server)
{
    ASSERT(server->n_live > 0);
    server->n_live--;
    notify_if_over(server);
}

static void go_away(void *arg)
{
    struct connection *connection = arg;
    channel_lose(connection->channel, connection);
}

void grpc_server_shutdown_and_notify(grpc_server *server, grpc_completion_queue *queue, void *tag)
{
    ASSERT(queue == server->queue);
    server->shut_down = true;
    server->shutdown_tag = tag;
    for (struct accept *accept = server->accepts; accept; accept = accept->next) {
        batch_end_one(&accept->batch, false);
    }
    server->accepts = NULL;
    for (grpc_call *call = server->arrived, *next; call; call = next) {
        next = call->next_waiting;
        if (!call->ended) {
            grpc_call_cancel(call, NULL);
        }
    }
    server->arrived = NULL;
    /* Clients are told to make no new calls here. */
    for (struct connection *c = connection_first(); c; c = c->next) {
        if (c->server == server && !c->broken) {
            agenda_in(network_delay(), go_away, c);
        }
    }
    notify_if_over(server);
}

void grpc_server_cancel_all_calls(grpc_server *server)
{
    for (struct connection *c = connection_first(); c; c = c->next) {
        if (c->server == server) {
            connection_break(c);
        }
    }
    calls_cancel_server(server);
}

/* ---- Life ---- */

grpc_server *grpc_server_create(const grpc_channel_args *args, void *reserved)
{
    (void)args, (void)reserved;
    grpc_server *server = network_memory(sizeof *server);
    server->host = fiber_host();
    server->next = servers;
    servers = server;
    return server;
}

void grpc_server_register_completion_queue(grpc_server *server, grpc_completion_queue *queue,
                                           void *reserved)
{
    (void)reserved;
    server->queue = queue;
}

int grpc_server_add_http2_port(grpc_server *server, const char *address,
                               grpc_server_credentials *credentials)
{
    (void)credentials;
    snprintf(server->address, sizeof server->address, "%s", address);
    return 1;
}

void grpc_server_start(grpc_server *server)
{
    server->started = true;
}

void grpc_server_destroy(grpc_server *server)
{
    ASSERT(server->notified);
}

grpc_server_credentials *grpc_insecure_server_credentials_create(void)
{
    static char nothing;
    return (grpc_server_credentials *)(void *)&nothing;
}

void grpc_server_credentials_release(grpc_server_credentials *credentials)
{
    (void)credentials;
}
