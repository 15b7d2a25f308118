/* Channels: each has at most one connection, reconnects when it is broken, and notifies its
 * watchers. */
#include <stdio.h>

#include "tests/sim/network_private.h"

#define BACKOFF_FIRST_NS (100 * NS_PER_MS) /* as common/rpc/channel.c asks of gRPC */
#define BACKOFF_LAST_NS  (500 * NS_PER_MS)

struct watch {
    struct watch *next;
    grpc_channel *channel;
    grpc_connectivity_state seen;
    struct batch batch;
    bool over;
};

static grpc_channel *channels;
static struct connection *connections;

void connections_reset(void)
{
    channels = NULL;
    connections = NULL;
}

struct connection *connection_first(void)
{
    return connections;
}

/* ---- State ---- */

void channel_set_state(grpc_channel *channel, grpc_connectivity_state state)
{
    channel->state = state;
    for (struct watch *watch = channel->watches; watch; watch = watch->next) {
        if (!watch->over && watch->seen != state) {
            watch->over = true;
            batch_end_one(&watch->batch, true);
        }
    }
}

static void connected(grpc_channel *channel, grpc_server *server)
{
    struct connection *connection = network_memory(sizeof *connection);
    connection->channel = channel;
    connection->server = server;
    connection->next = connections;
    connections = connection;
    network_counts.connections++;
    channel->connection = connection;
    channel->backoff_ns = BACKOFF_FIRST_NS;
    trace("connected to %s", channel->address);
    grpc_call *call = channel->waiting;
    channel->waiting = NULL;
    channel_set_state(channel, GRPC_CHANNEL_READY);
    for (grpc_call *next; call; call = next) {
        next = call->next_waiting;
        if (!call->ended) {
            call_connect(call, connection);
        }
    }
}

static void not_connected(grpc_channel *channel)
{
    grpc_call **end = &channel->waiting;
    while (*end) {
        grpc_call *call = *end;
        if (call->ended || !call->wait_for_ready) {
            *end = call->next_waiting;
            call_end(call, GRPC_STATUS_UNAVAILABLE, "failed to connect");
        } else {
            end = &call->next_waiting;
        }
    }
    channel_set_state(channel, GRPC_CHANNEL_TRANSIENT_FAILURE);
}

static void attempt(void *arg)
{
    grpc_channel *channel = arg;
    channel->trying = false;
    if (channel->destroyed || channel->connection || host_is_dead(channel->host)) {
        return;
    }
    grpc_server *server = server_at(channel->address);
    if (server) {
        connected(channel, server);
        return;
    }
    not_connected(channel);
    channel->backoff_ns =
        2 * channel->backoff_ns < BACKOFF_LAST_NS ? 2 * channel->backoff_ns : BACKOFF_LAST_NS;
    channel->trying = true;
    agenda_in(channel->backoff_ns + chance_below(channel->backoff_ns / 5), attempt, channel);
}

void channel_try(grpc_channel *channel)
{
    if (channel->state == GRPC_CHANNEL_IDLE && !channel->trying && !channel->destroyed) {
        channel->trying = true;
        channel_set_state(channel, GRPC_CHANNEL_CONNECTING);
        agenda_in(network_delay(), attempt, channel);
    }
}

void channel_lose(grpc_channel *channel, struct connection *connection)
{
    if (channel->connection == connection) {
        channel->connection = NULL;
        if (!channel->destroyed) {
            channel_set_state(channel, GRPC_CHANNEL_IDLE);
        }
    }
}

/* ---- Connections ---- */

static void client_notices(void *arg)
{
    struct connection *connection = arg;
    connection->client_gone = true;
    channel_lose(connection->channel, connection);
    calls_break(connection, false);
}

static void server_notices(void *arg)
{
    struct connection *connection = arg;
    connection->server_gone = true;
    calls_break(connection, true);
}

void connection_break(struct connection *connection)
{
    if (!connection->broken) {
        connection->broken = true;
        network_counts.cuts++;
        trace("connection to %s breaks", connection->channel->address);
        agenda_in(network_delay(), client_notices, connection);
        agenda_in(network_delay(), server_notices, connection);
    }
}

/* ---- gRPC's names ---- */

grpc_channel *grpc_channel_create(const char *address, grpc_channel_credentials *credentials,
                                  const grpc_channel_args *args)
{
    (void)credentials, (void)args;
    grpc_channel *channel = network_memory(sizeof *channel);
    snprintf(channel->address, sizeof channel->address, "%s", address);
    channel->host = fiber_host();
    channel->backoff_ns = BACKOFF_FIRST_NS;
    channel->next = channels;
    channels = channel;
    return channel;
}

grpc_channel *grpc_lame_client_channel_create(const char *address, grpc_status_code code,
                                              const char *text)
{
    (void)code, (void)text;
    grpc_channel *channel = grpc_channel_create(address, NULL, NULL);
    channel->lame = true;
    return channel;
}

void grpc_channel_destroy(grpc_channel *channel)
{
    channel->destroyed = true;
    if (channel->connection) {
        connection_break(channel->connection);
    }
}

grpc_connectivity_state grpc_channel_check_connectivity_state(grpc_channel *channel,
                                                              int try_to_connect)
{
    const grpc_connectivity_state state = channel->state;
    if (try_to_connect) {
        channel_try(channel);
    }
    return state;
}

static void watch_ends(void *arg)
{
    struct watch *watch = arg;
    if (!watch->over) {
        watch->over = true;
        batch_end_one(&watch->batch, false);
    }
}

void grpc_channel_watch_connectivity_state(grpc_channel *channel, grpc_connectivity_state seen,
                                           gpr_timespec deadline, grpc_completion_queue *queue,
                                           void *tag)
{
    struct watch *watch = network_memory(sizeof *watch);
    *watch = (struct watch){.next = channel->watches,
                            .channel = channel,
                            .seen = seen,
                            .batch = {.queue = queue, .tag = tag, .n_open = 1, .ok = true}};
    channel->watches = watch;
    if (channel->state != seen) {
        watch->over = true;
        batch_end_one(&watch->batch, true);
        return;
    }
    agenda_at(network_ns(deadline), watch_ends, watch);
}

/* ---- Credentials: all is in the clear ---- */

static char nothing;

grpc_channel_credentials *grpc_insecure_credentials_create(void)
{
    return (grpc_channel_credentials *)(void *)&nothing;
}

void grpc_channel_credentials_release(grpc_channel_credentials *credentials)
{
    (void)credentials;
}

void grpc_init(void)
{
}

void grpc_shutdown(void)
{
}
