/* A server from open to close: open (bind), add services, start (the call thread), close (drain,
 * join).
 *
 * Addresses are bound when the server is opened, so that a process which cannot serve ends before
 * it has done anything else; calls are accepted from start on. Closing runs the drain of serving.c
 * even where nothing was started: gRPC wants it. */
#include "common/rpc/server.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>

#include "common/base/crash.h"
#include "common/base/memory.h"
#include "common/rpc/address.h"
#include "common/rpc/serving.h"
#include "common/rpc/tls.h"

#define MAX_CALLS_DEFAULT       1024
#define MAX_CONNECTIONS_DEFAULT 1024

/* A peer that disappeared is detected after these times. They must be well above a second:
 * a blocking client that computes between two calls answers pings from gRPC's backup poller only.
 */
#define KEEPALIVE_TIME_MS    20000
#define KEEPALIVE_TIMEOUT_MS 10000
#define PING_INTERVAL_MIN_MS 5000

/* gRPC's numbers are int: a larger value counts as the largest. */
static grpc_arg int_arg(char *key, size_t value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER,
                      .key = key,
                      .value.integer = value > INT_MAX ? INT_MAX : (int)value};
}

static grpc_arg quota_arg(char *key, grpc_resource_quota *quota)
{
    return (grpc_arg){.type = GRPC_ARG_POINTER,
                      .key = key,
                      .value.pointer = {.p = quota, .vtable = grpc_resource_quota_arg_vtable()}};
}

/* The server, its queue, and the call that wakes it. */
static status make_grpc_server(struct rpc_server *server, const struct rpc_server_options *options)
{
    /* One budget of memory for all connections of this server. */
    grpc_resource_quota *quota = grpc_resource_quota_create("server");
    grpc_resource_quota_resize(quota, options->max_memory_bytes ? options->max_memory_bytes
                                                                : RPC_SERVER_MEMORY_BYTES);
    grpc_arg args[] = {
        quota_arg(GRPC_ARG_RESOURCE_QUOTA, quota),
        /* A connection without calls is closed after a while, because it holds a descriptor. */
        int_arg(GRPC_ARG_MAX_CONNECTION_IDLE_MS,
                options->idle_ms ? options->idle_ms : RPC_SERVER_IDLE_MS),
        int_arg(GRPC_ARG_ALLOW_REUSEPORT, 0), /* else two servers could share a port unnoticed */
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, server->max_message_bytes),
        int_arg(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, server->max_message_bytes),
        /* More streams than calls are served, so that a call beyond the limit is refused with a
         * reason, and does not wait in the client without one. */
        int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, 2 * server->max_calls),
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS),
        int_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        /* A client that pings more often is cut off. */
        int_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, PING_INTERVAL_MIN_MS),
        int_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        int_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0), /* see channel.c */
        int_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, RPC_SERVER_WINDOW_BYTES),
        int_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0), /* decompress.c does it */
        int_arg(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10000),
    };
    grpc_channel_args all = {.num_args = sizeof args / sizeof args[0], .args = args};
    server->grpc = grpc_server_create(&all, NULL);
    grpc_resource_quota_unref(quota); /* the server has its own */
    /* One queue for everything: the call thread waits in it. */
    server->cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(server->grpc, server->cq, NULL);
    /* A call that leads nowhere; empty batches on it wake the queue (serving.c). */
    server->wake_channel =
        grpc_lame_client_channel_create("wake", GRPC_STATUS_INTERNAL, "not a peer");
    server->wake_call = grpc_channel_create_call(server->wake_channel, NULL, 0, server->cq,
                                                 grpc_slice_from_static_string("/wake"), NULL,
                                                 gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    return server->grpc != NULL && server->wake_call != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

/* Binds the i-th address, or says why that is not possible. */
static status listen_on(struct rpc_server *server, const char *address, size_t i,
                        const struct rpc_server_options *options, struct err *err)
{
    /* Before anything is bound: no moment without protection. */
    if (!rpc_address_is_local(address) && !tls_wanted(&options->tls) && !options->allow_insecure) {
        return err_set(
            err, STATUS_DENIED,
            "%s: reachable from other machines, and without TLS: give tls_cert and tls_key, "
            "or say allow_insecure",
            address);
    }
    /* What stands in the way is found here, before gRPC would remove it. */
    struct address_target *target = &server->targets[i];
    status s = address_open(target, address, err);
    if (s == STATUS_OK) {
        s = address_prepare(target, address, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* The files of TLS are read here, so that an unusable one is told at once. */
    grpc_server_credentials *credentials;
    s = tls_server(&credentials, &options->tls, address, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* gRPC logs a failure in its own words; ours follow below. */
    op_log_quiet(true);
    int port = grpc_server_add_http2_port(server->grpc, target->uri, credentials);
    op_log_quiet(false);
    grpc_server_credentials_release(credentials);
    if (port == 0) {
        return address_explain(address, err);
    }
    /* With port 0 the system has chosen one. A Unix socket has none. */
    server->ports[i] = address_unix_path(address) != NULL ? 0 : port;
    return STATUS_OK;
}

status rpc_server_open(struct rpc_server **opened, const struct rpc_server_options *options,
                       struct err *err)
{
    /* All memory first: what follows is taken down by rpc_server_close. */
    struct rpc_server *server = mem_new(sizeof *server);
    int *ports = mem_array(options->n_addresses + 1, sizeof *ports);
    struct address_target *targets = mem_array(options->n_addresses + 1, sizeof *targets);
    if (server == NULL || ports == NULL || targets == NULL) {
        mem_free(server);
        mem_free(ports);
        mem_free(targets);
        return err_set(err, STATUS_NO_MEMORY, "rpc server: out of memory");
    }
    /* 0 in the options means the default. */
    server->ports = ports;
    server->targets = targets;
    server->n_addresses = options->n_addresses;
    server->max_calls = options->max_calls ? options->max_calls : MAX_CALLS_DEFAULT;
    server->max_message_bytes =
        options->max_message_bytes ? options->max_message_bytes : RPC_MESSAGE_MAX_BYTES;
    server->max_client_calls = options->max_client_calls;
    server->protocol = options->protocol;
    server->role_of = options->role_of;
    server->role_arg = options->role_arg;
    pthread_mutex_init(&server->lock, NULL);
    /* From here on rpc_server_close takes down what is there. */
    rpc_init();
    status s = make_grpc_server(server, options);
    if (s != STATUS_OK) {
        err_set(err, s, "rpc server: %s", status_text(s));
    }
    /* All addresses or none. */
    for (size_t i = 0; i < options->n_addresses && s == STATUS_OK; i++) {
        s = listen_on(server, options->addresses[i], i, options, err);
    }
    /* gRPC accepts nothing before start. */
    if (s == STATUS_OK) {
        const struct connections_at at = {targets, ports, options->n_addresses};
        s = connections_open(&server->connections, at,
                             options->max_connections ? options->max_connections
                                                      : MAX_CONNECTIONS_DEFAULT,
                             options->max_host_connections);
        if (s != STATUS_OK) {
            err_set(err, s, "rpc server: out of memory");
        }
    }
    /* Every server answers for its health. */
    if (s == STATUS_OK) {
        s = health_add(server, err);
    }
    if (s != STATUS_OK) {
        rpc_server_close(server, 0);
        return s;
    }
    *opened = server;
    return STATUS_OK;
}

status rpc_server_add(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                      const struct rpc_method *methods, size_t n_methods, void *service,
                      struct err *err)
{
    ASSERT(!server->has_thread);
    /* Health answers for these names, too. */
    const char **services =
        mem_resize(server->services, server->n_services + 1, sizeof *server->services);
    if (services == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", descriptor->name);
    }
    server->services = services;
    services[server->n_services++] = descriptor->name;
    /* After a failure the service is served in part, so the server must only be closed. */
    for (size_t i = 0; i < n_methods; i++) {
        status s = accept_add(server, descriptor, &methods[i], service, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

void rpc_server_every(struct rpc_server *server, uint64_t period_ms, void (*function)(void *arg),
                      void *arg)
{
    ASSERT(!server->has_thread);
    ASSERT(server->n_timers < SERVING_TIMERS_MAX);
    ASSERT(period_ms > 0);
    server->timers[server->n_timers++] =
        (struct server_timer){.period_ns = period_ms * NS_PER_MS, .function = function, .arg = arg};
}

/* Signals are the main thread's: the call thread, and what gRPC starts from it, block all that
 * others send. Those that a thread's own fault raises stay unblocked: the kernel ends a process at
 * once, without running the crash handler, when such a signal is blocked. */
static int start_thread(struct rpc_server *server)
{
    sigset_t all, before;
    sigfillset(&all);
    crash_unblock_faults(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&server->thread, NULL, serving_run, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

status rpc_server_start(struct rpc_server *server, struct err *err)
{
    ASSERT(!server->has_thread);
    /* From here on gRPC takes calls, which wait for the thread. */
    status s = accept_start(server, err);
    if (s != STATUS_OK) {
        return s;
    }
    server->has_thread = true;
    int error = start_thread(server);
    /* Without the thread rpc_server_close drains on its own. */
    if (error != 0) {
        server->has_thread = false;
        return err_errno(err, error, "rpc server: start the call thread");
    }
    pthread_setname_np(server->thread, "rpc-calls");
    return STATUS_OK;
}

int rpc_server_port(const struct rpc_server *server, size_t address_i)
{
    ASSERT(address_i < server->n_addresses);
    return server->ports[address_i];
}

void rpc_server_set_serving(struct rpc_server *server, bool serving)
{
    /* The call thread tells the watchers, and only when something has changed. */
    if (atomic_exchange(&server->serving, serving) != serving) {
        serving_wake(server);
    }
}

void rpc_server_counts(const struct rpc_server *server, struct rpc_server_counts *counts)
{
    /* Figure by figure: together they are not of one moment. */
    const struct server_counters *c = &server->counters;
    *counts = (struct rpc_server_counts){
        .calls_started = atomic_load_explicit(&c->calls_started, memory_order_relaxed),
        .calls_active = atomic_load_explicit(&c->calls_active, memory_order_relaxed),
        .calls_refused = atomic_load_explicit(&c->calls_refused, memory_order_relaxed),
        .client_calls_refused =
            atomic_load_explicit(&c->client_calls_refused, memory_order_relaxed),
        .messages_in = atomic_load_explicit(&c->messages_in, memory_order_relaxed),
        .messages_out = atomic_load_explicit(&c->messages_out, memory_order_relaxed),
        .bytes_in = atomic_load_explicit(&c->bytes_in, memory_order_relaxed),
        .bytes_out = atomic_load_explicit(&c->bytes_out, memory_order_relaxed),
        .lag_ns = atomic_load_explicit(&c->lag_ns, memory_order_relaxed),
    };
    connections_count(server->connections, &counts->connections, &counts->connections_refused);
}

void rpc_server_close(struct rpc_server *server, uint64_t grace_ms)
{
    if (server == NULL) {
        return;
    }
    /* The call thread reads the grace after it has seen the flag. */
    pthread_mutex_lock(&server->lock);
    server->grace_ns = op_deadline_ns(grace_ms);
    atomic_store(&server->close_asked, true);
    pthread_mutex_unlock(&server->lock);
    /* The call thread drains and ends. Where there is none, this thread does its work. */
    if (server->has_thread) {
        ASSERT(!pthread_equal(pthread_self(), server->thread));
        serving_wake(server);
        pthread_join(server->thread, NULL);
    } else {
        serving_wake(server);
        serving_run(server); /* gRPC wants its drain also where nothing was served */
    }
    /* The drain leaves neither a call nor a posted function. */
    ASSERT(server->n_calls == 0 && server->posts == NULL);
    grpc_server_destroy(server->grpc);
    grpc_completion_queue_destroy(server->cq);
    accept_fini(server);
    connections_close(server->connections);
    pthread_mutex_destroy(&server->lock);
    mem_free(server->services);
    for (size_t i = 0; i < server->n_addresses; i++) {
        address_close(&server->targets[i]); /* gRPC has removed its socket files through them */
    }
    mem_free(server->targets);
    mem_free(server->ports);
    mem_free(server);
    rpc_fini();
}
