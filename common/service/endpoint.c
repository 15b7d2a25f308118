/* Opens an rpc_server as the configuration says and keeps what belongs to it: tokens, metrics.
 *
 * The metrics of the server are read when a page is made (metrics_add_hook), not on a timer: a
 * process without requests to its admin page does no work for them. They are named
 *
 *     PREFIX calls_active, calls_refused_total, client_calls_refused_total, bytes_in_total,
 *            bytes_out_total, call_thread_lag_seconds, certificate_expiry_timestamp_seconds,
 *            tokens_unusable_total
 *
 * Metrics live as long as the process and may outlive an endpoint, so counters grow by what this
 * endpoint's counters have grown. */
#define LOG_MODULE "endpoint"
#include "common/service/endpoint.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/token_file.h"
#include "common/service/wire_version.h"

#define CERTIFICATE_WARN_S (14 * 86400)
#define TOKENS_LOOK_MS     500 /* from a timer: a call pays nothing */

static_assert(TOKENS_CLIENT_SIZE <= RPC_CALLER_NAME_SIZE, "a token's client names a caller");

/* A counter of the server, and how much of it the metric has. */
struct shown_counter {
    struct metric *metric;
    uint64_t shown;
};

struct endpoint {
    struct rpc_server *server;
    struct token_file *tokens; /* NULL: every caller may do everything */
    /* How long calls may still last when the endpoint is closed. */
    uint64_t grace_ms;
    int64_t expires_s; /* the certificate, since 1970; 0: no TLS */
    char *cert;        /* its file; NULL: no TLS */
    size_t n_addresses;
    char **addresses;     /* copies */
    struct stat *sockets; /* of each address; st_ino 0: not a Unix socket */

    struct metric *calls_active, *connections, *lag_seconds, *certificate_expiry;
    struct shown_counter calls_refused, client_calls_refused, connections_refused;
    struct shown_counter bytes_in, bytes_out, tokens_unusable;
};

/* ---- Metrics ---- */

/* Raises the metric by what the counter has grown since it was last shown. */
static void show_counter(struct shown_counter *counter, uint64_t value)
{
    ASSERT(value >= counter->shown);
    metric_add(counter->metric, (double)(value - counter->shown));
    counter->shown = value;
}

/* The hook: runs before each exposition of the metrics. */
static void show_counts(void *arg)
{
    struct endpoint *endpoint = arg;
    struct rpc_server_counts counts;
    rpc_server_counts(endpoint->server, &counts);
    metric_set(endpoint->calls_active, (double)counts.calls_active);
    metric_set(endpoint->connections, (double)counts.connections);
    metric_set(endpoint->lag_seconds, (double)counts.lag_ns * 1e-9);
    /* The server reads a certificate that is replaced; where it cannot be read, the old one counts. */
    if (endpoint->cert && rpc_tls_expiry(endpoint->cert, &endpoint->expires_s, NULL) == STATUS_OK) {
        metric_set(endpoint->certificate_expiry, (double)endpoint->expires_s);
    }
    show_counter(&endpoint->calls_refused, counts.calls_refused);
    show_counter(&endpoint->client_calls_refused, counts.client_calls_refused);
    show_counter(&endpoint->connections_refused, counts.connections_refused);
    show_counter(&endpoint->tokens_unusable,
                 endpoint->tokens ? token_file_failures(endpoint->tokens) : 0);
    show_counter(&endpoint->bytes_in, counts.bytes_in);
    show_counter(&endpoint->bytes_out, counts.bytes_out);
}

/* Registers the metrics, or finds those of an earlier endpoint with the same prefix. */
static void make_metrics(struct endpoint *endpoint, const char *prefix)
{
    /* PREFIX is chosen by the role and ends in an underscore. */
    char name[128];
    snprintf(name, sizeof name, "%scalls_active", prefix);
    endpoint->calls_active = metric_gauge(name, "Open calls.", NULL);
    snprintf(name, sizeof name, "%sconnections", prefix);
    endpoint->connections = metric_gauge(name, "Open connections.", NULL);
    snprintf(name, sizeof name, "%scall_thread_lag_seconds", prefix);
    endpoint->lag_seconds =
        metric_gauge(name, "Longest busy stretch of the call thread, lately.", NULL);
    /* Known when the endpoint opens, until the file is replaced. */
    snprintf(name, sizeof name, "%scertificate_expiry_timestamp_seconds", prefix);
    endpoint->certificate_expiry = metric_gauge(
        name, "When the server's certificate expires, seconds since 1970; 0: no TLS.", NULL);
    metric_set(endpoint->certificate_expiry, (double)endpoint->expires_s);
    /* The counters, which show_counts raises. */
    snprintf(name, sizeof name, "%scalls_refused_total", prefix);
    endpoint->calls_refused.metric =
        metric_counter(name, "Calls refused by a limit, a missing role or an unknown name.", NULL);
    snprintf(name, sizeof name, "%sclient_calls_refused_total", prefix);
    endpoint->client_calls_refused.metric =
        metric_counter(name, "Of these, by max_client_calls.", NULL);
    snprintf(name, sizeof name, "%sconnections_refused_total", prefix);
    endpoint->connections_refused.metric = metric_counter(
        name, "Connections closed by max_connections or max_host_connections.", NULL);
    snprintf(name, sizeof name, "%stokens_unusable_total", prefix);
    endpoint->tokens_unusable.metric = metric_counter(
        name, "Changes of tokens_file that could not be used: the tokens before stay.", NULL);
    snprintf(name, sizeof name, "%sbytes_in_total", prefix);
    endpoint->bytes_in.metric = metric_counter(name, "Message bytes received.", NULL);
    snprintf(name, sizeof name, "%sbytes_out_total", prefix);
    endpoint->bytes_out.metric = metric_counter(name, "Message bytes sent.", NULL);
}

/* ---- Opening ---- */

/* The rpc library takes NULL for what is not given. */
static const char *set_or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

struct rpc_tls endpoint_tls(const struct experiment *experiment)
{
    return (struct rpc_tls){.ca = set_or_null(experiment->tls_ca),
                            .cert = set_or_null(experiment->tls_cert),
                            .key = set_or_null(experiment->tls_key)};
}

/* Binding makes the socket file of "unix:folder/name", but not its folder. */
static status make_socket_folder(const char *address, struct err *err)
{
    if (strncmp(address, "unix:", 5) != 0) {
        return STATUS_OK;
    }
    char folder[CONFIG_TEXT_SIZE];
    /* Everything before the last slash. */
    snprintf(folder, sizeof folder, "%s", address + 5);
    char *slash = strrchr(folder, '/');
    if (slash == NULL || slash == folder) {
        return STATUS_OK;
    }
    *slash = '\0';
    return file_make_folders(folder, err);
}

/* Copies, because the settings live only until endpoint_open returns. After a failure
 * endpoint_close frees what there is. */
static status copy_addresses(struct endpoint *endpoint, const struct endpoint_settings *settings,
                             struct err *err)
{
    endpoint->addresses = mem_array(settings->n_addresses, sizeof(char *));
    endpoint->sockets = mem_array(settings->n_addresses, sizeof endpoint->sockets[0]);
    bool copied = endpoint->addresses != NULL && endpoint->sockets != NULL;
    for (size_t i = 0; i < settings->n_addresses && copied; i++) {
        endpoint->addresses[i] = mem_text(settings->addresses[i]);
        copied = endpoint->addresses[i] != NULL;
        endpoint->n_addresses += copied;
    }
    return copied ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "endpoint: out of memory");
}

/* The socket file of "unix:path". False for other addresses, and where there is none. */
static bool stat_socket(const char *address, struct stat *stat_)
{
    return strncmp(address, "unix:", 5) == 0 && stat(address + 5, stat_) == 0 &&
           S_ISSOCK(stat_->st_mode);
}

/* A certificate that has expired is accepted by the server and refused by every client, which sees
 * only that no connection comes up: the server's log must say why. */
static status check_certificate(struct endpoint *endpoint, const char *cert, struct err *err)
{
    if (cert[0] == '\0') {
        return STATUS_OK;
    }
    /* A file that holds no certificate ends the start here. */
    const status s = rpc_tls_expiry(cert, &endpoint->expires_s, err);
    if (s != STATUS_OK) {
        return s;
    }
    endpoint->cert = mem_text(cert);
    if (endpoint->cert == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "endpoint: out of memory");
    }
    /* By the wall clock, as the peers' check. */
    const int64_t left_s = endpoint->expires_s - (int64_t)(clock_wall_ns() / NS_PER_S);
    if (left_s <= 0) {
        log_warn("the certificate has expired, clients will refuse it file=%s expired_s_ago=%lld",
                 cert, (long long)-left_s);
    } else if (left_s < CERTIFICATE_WARN_S) {
        log_warn("the certificate expires soon file=%s left_days=%.1f", cert,
                 (double)left_s / 86400);
    }
    return STATUS_OK;
}

/* Reads the tokens and binds the addresses; calls are not accepted yet. The tokens are the
 * endpoint's, also after a failure. */
static status open_server(struct endpoint *endpoint, const struct endpoint_settings *settings,
                          struct err *err)
{
    const struct endpoint_options *options = settings->options;
    struct rpc_server_options server = {
        .addresses = settings->addresses,
        .n_addresses = settings->n_addresses,
        .tls = endpoint_tls(settings->experiment),
        .protocol = WIRE_PROTOCOL,
        .allow_insecure = settings->experiment->allow_insecure,
        .max_message_bytes = settings->max_message_bytes,
        .max_calls = (size_t)options->max_calls,
        .max_client_calls = (size_t)options->max_client_calls,
        .max_connections = (size_t)options->max_connections,
        .max_host_connections = (size_t)options->max_host_connections,
        .max_memory_bytes = (size_t)options->max_connection_bytes,
        .idle_ms = (uint64_t)options->idle_connection_seconds * 1000,
    };
    /* Without a file of tokens everybody who reaches the address may do everything. */
    if (options->tokens_file[0] != '\0') {
        const status s = token_file_open(&endpoint->tokens, options->tokens_file, err);
        if (s != STATUS_OK) {
            return s;
        }
        server.role_of = token_file_role_of;
        server.role_arg = endpoint->tokens;
    }
    const status s = rpc_server_open(&endpoint->server, &server, err);
    if (s == STATUS_OK && endpoint->tokens) {
        rpc_server_every(endpoint->server, TOKENS_LOOK_MS, token_file_look, endpoint->tokens);
    }
    return s;
}

status endpoint_open(struct endpoint **opened, const struct endpoint_settings *settings,
                     struct err *err)
{
    ASSERT(settings->n_addresses > 0);
    struct endpoint *endpoint = mem_new(sizeof *endpoint);
    if (endpoint == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "endpoint: out of memory");
    }
    /* Where a step fails, endpoint_close takes down what is there. */
    endpoint->grace_ms = (uint64_t)settings->options->grace_ms;
    status s = copy_addresses(endpoint, settings, err);
    /* The folders before the sockets in them. */
    for (size_t i = 0; i < settings->n_addresses && s == STATUS_OK; i++) {
        s = make_socket_folder(settings->addresses[i], err);
    }
    /* A certificate that cannot be used is told before anything is bound. */
    if (s == STATUS_OK) {
        s = check_certificate(endpoint, settings->experiment->tls_cert, err);
    }
    if (s == STATUS_OK) {
        s = open_server(endpoint, settings, err);
    }
    if (s != STATUS_OK) {
        endpoint_close(endpoint);
        return s;
    }
    /* Which files the sockets are, so that endpoint_check_sockets notices a change. */
    for (size_t i = 0; i < endpoint->n_addresses; i++) {
        if (!stat_socket(endpoint->addresses[i], &endpoint->sockets[i])) {
            memset(&endpoint->sockets[i], 0, sizeof endpoint->sockets[i]);
        }
    }
    /* Last: from here on a page may ask for the counts. */
    make_metrics(endpoint, settings->metrics_prefix);
    metrics_add_hook(show_counts, endpoint);
    *opened = endpoint;
    return STATUS_OK;
}

struct rpc_server *endpoint_server(const struct endpoint *endpoint)
{
    return endpoint->server;
}

/* ---- Serving and closing ---- */

status endpoint_start(struct endpoint *endpoint, struct err *err)
{
    const status s = rpc_server_start(endpoint->server, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The health becomes SERVING when calls are accepted, and not before. */
    rpc_server_set_serving(endpoint->server, true);
    /* With port 0 in the configuration, this is where the real one is told. */
    for (size_t i = 0; i < endpoint->n_addresses; i++) {
        log_info("serving address=%s port=%d", endpoint->addresses[i],
                 rpc_server_port(endpoint->server, i));
    }
    return STATUS_OK;
}

status endpoint_check_sockets(const struct endpoint *endpoint, struct err *err)
{
    /* A socket without its file is listened on as before, but nobody finds it. */
    for (size_t i = 0; i < endpoint->n_addresses; i++) {
        const struct stat *bound = &endpoint->sockets[i];
        struct stat now;
        /* The same device and inode mean the file that was bound. */
        if (bound->st_ino != 0 && (!stat_socket(endpoint->addresses[i], &now) ||
                                   now.st_dev != bound->st_dev || now.st_ino != bound->st_ino)) {
            return err_set(err, STATUS_NOT_FOUND,
                           "the socket %s was removed or replaced: no client can reach this "
                           "process any more",
                           endpoint->addresses[i]);
        }
    }
    return STATUS_OK;
}

void endpoint_stop_serving(struct endpoint *endpoint)
{
    /* Calls go on; only the health changes. */
    rpc_server_set_serving(endpoint->server, false);
}

void endpoint_close(struct endpoint *endpoint)
{
    if (endpoint == NULL) {
        return;
    }
    if (endpoint->server != NULL) {
        /* The server's counters end with it: take them over a last time, then no more. */
        if (metrics_remove_hook(show_counts, endpoint)) {
            show_counts(endpoint);
            metric_set(endpoint->calls_active, 0);
            metric_set(endpoint->connections, 0);
        }
        rpc_server_close(endpoint->server, endpoint->grace_ms);
    }
    /* The server is gone, so no call asks for a role any more. */
    token_file_close(endpoint->tokens);
    for (size_t i = 0; i < endpoint->n_addresses; i++) {
        mem_free(endpoint->addresses[i]);
    }
    mem_free(endpoint->addresses);
    mem_free(endpoint->sockets);
    mem_free(endpoint->cert);
    mem_free(endpoint);
}
