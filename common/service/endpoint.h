/* Where a process serves its calls: addresses, TLS, bearer tokens with their roles, limits, health
 * and metrics, opened from the configuration with one call. Every process that serves uses it, so
 * all of them have the same options and the same behaviour.
 *
 *     endpoint_open -> rpc_server_add(endpoint_server(..)) .. -> endpoint_start
 *                   -> endpoint_stop_serving -> endpoint_close
 *
 * Nothing here belongs to one particular service. */
#ifndef HINDCAST_SERVICE_ENDPOINT_H
#define HINDCAST_SERVICE_ENDPOINT_H

#include "common/base/experiment.h"
#include "common/rpc/server.h"

/* Part of the options of each role that serves. */
struct endpoint_options {
    char tokens_file[CONFIG_TEXT_SIZE];
    int64_t max_calls;
    int64_t max_client_calls;
    int64_t max_connections;
    int64_t max_host_connections;
    int64_t max_connection_bytes;
    int64_t idle_connection_seconds;
    int64_t grace_ms;
};

/* The lines of these options in a role's table of struct config_option. `AT(member)` gives the
 * offset of a member of `endpoint` in the role's struct:
 *
 *     #define ENDPOINT_AT(member) offsetof(struct options, endpoint.member)
 *     ENDPOINT_OPTIONS(ENDPOINT_AT, "insert, sample, admin", "500")
 */
#define ENDPOINT_OPTIONS(AT, ROLES, GRACE_MS)                                                      \
    {"tokens_file",                                                                                \
     CONFIG_TEXT,                                                                                  \
     AT(tokens_file),                                                                              \
     "",                                                                                           \
     "",                                                                                           \
     0,                                                                                            \
     0,                                                                                            \
     NULL,                                                                                         \
     "bearer tokens, their roles (" ROLES ") and clients, one a line; empty: every caller may "    \
     "do everything"},                                                                             \
        {"max_calls", CONFIG_INT, AT(max_calls),                                                   \
         "calls",     "1024",     1,                                                               \
         65536,       NULL,       "calls at once; more are refused"},                              \
        {"max_client_calls",                                                                       \
         CONFIG_INT,                                                                               \
         AT(max_client_calls),                                                                     \
         "calls",                                                                                  \
         "0",                                                                                      \
         0,                                                                                        \
         65536,                                                                                    \
         NULL,                                                                                     \
         "calls at once of one client (the name of its token, or its host); 0: no limit"},         \
        {"max_connections",                                                                        \
         CONFIG_INT,                                                                               \
         AT(max_connections),                                                                      \
         "connections",                                                                            \
         "1024",                                                                                   \
         1,                                                                                        \
         65536,                                                                                    \
         NULL,                                                                                     \
         "connections at once; more are closed (see also ulimit -n)"},                             \
        {"max_host_connections",                                                                   \
         CONFIG_INT,                                                                               \
         AT(max_host_connections),                                                                 \
         "connections",                                                                            \
         "0",                                                                                      \
         0,                                                                                        \
         65536,                                                                                    \
         NULL,                                                                                     \
         "connections at once from one IP address; 0: no limit"},                                  \
        {"max_connection_bytes",                                                                   \
         CONFIG_INT,                                                                               \
         AT(max_connection_bytes),                                                                 \
         "bytes",                                                                                  \
         "2G",                                                                                     \
         16 << 20,                                                                                 \
         1e12,                                                                                     \
         NULL,                                                                                     \
         "memory that gRPC may use for all connections; near the limit it refuses new ones"},      \
        {"idle_connection_seconds",                                                                \
         CONFIG_INT,                                                                               \
         AT(idle_connection_seconds),                                                              \
         "s",                                                                                      \
         "300",                                                                                    \
         1,                                                                                        \
         86400,                                                                                    \
         NULL,                                                                                     \
         "a connection without calls is closed after this time; clients reconnect themselves"},    \
    {                                                                                              \
        "grace_ms", CONFIG_INT, AT(grace_ms), "ms", GRACE_MS, 0, 60000, NULL,                      \
            "when the process ends, calls may continue for this time"                              \
    }

struct endpoint;

struct endpoint_settings {
    const struct experiment *experiment; /* TLS files, allow_insecure */
    const struct endpoint_options *options;
    const char *const *addresses;
    size_t n_addresses;
    size_t max_message_bytes;
    const char *metrics_prefix; /* "hindcast_replay_": see endpoint.c for the names that follow */
};

/* Makes the folders of Unix sockets, reads the tokens, binds the addresses. Serves nothing yet.
 * Nothing in `settings` is needed afterwards. Errors name the file or the address. */
status endpoint_open(struct endpoint **endpoint, const struct endpoint_settings *settings,
                     struct err *err) MUST_CHECK;

/* For rpc_server_add, rpc_server_every, rpc_server_post. Valid until endpoint_close. */
struct rpc_server *endpoint_server(const struct endpoint *endpoint);

/* Starts the call thread; from now on health says SERVING. Logs each address with its port. */
status endpoint_start(struct endpoint *endpoint, struct err *err) MUST_CHECK;

/* Are the files of its Unix sockets still those that it has bound? NOT_FOUND names one that was
 * removed or replaced: no new client can reach the server, which then should end, so that it is
 * started again. One stat per socket; any thread. */
status endpoint_check_sockets(const struct endpoint *endpoint, struct err *err) MUST_CHECK;

/* Health says NOT_SERVING; calls continue. Any thread. */
void endpoint_stop_serving(struct endpoint *endpoint);

/* Lets calls end for grace_ms, cancels the rest and closes. Every call has ended when it returns.
 * NULL is fine. Not from the call thread. */
void endpoint_close(struct endpoint *endpoint);

/* The experiment's TLS files; members are NULL where nothing is set. Clients use the same. */
struct rpc_tls endpoint_tls(const struct experiment *experiment);

#endif
