/* The parts of a server that its files share. Internal to common/rpc.
 *
 *   server.c   open, add, start, close
 *   serving.c  the call thread: its loop, posted functions, timers, drain
 *   accept.c   new calls: method table, limits
 *   caller.c   who calls: token, roles, name
 *   call.c     one call: reading, writing, its end
 *   health.c   grpc.health.v1 */
#ifndef HINDCAST_RPC_SERVING_H
#define HINDCAST_RPC_SERVING_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/rpc/connections.h"
#include "common/rpc/message.h"
#include "common/rpc/operation.h"
#include "common/rpc/server.h"

#define SERVING_ACCEPTS 16 /* calls that gRPC may hand us before we look */
/* Where roles are asked for: calls at once of callers without any, to methods that are open to all.
 * A newer one takes the place of the oldest, so that a health check always gets through. */
#define SERVING_ANONYMOUS_MAX 32
#define SERVING_TIMERS_MAX    16

/* One method as it is called: "/package.Service/Method". */
struct served_method {
    char *path;
    const struct rpc_method *method;
    const ProtobufCMethodDescriptor *descriptor;
    void *service;
};

struct accept_slot {
    struct rpc_op op;
    struct rpc_server *server;
    bool armed;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

struct server_timer {
    uint64_t period_ns;
    uint64_t due_ns;
    void (*function)(void *arg);
    void *arg;
};

struct server_post {
    struct server_post *next;
    void (*function)(void *arg);
    void *arg;
};

/* Written by the call thread alone, read by any. */
struct server_counters {
    _Atomic uint64_t calls_started, calls_active, calls_refused, client_calls_refused;
    _Atomic uint64_t messages_in, messages_out, bytes_in, bytes_out;
    _Atomic uint64_t lag_ns;
};

struct health_watch;
struct caller;

struct rpc_server {
    grpc_server *grpc;
    grpc_completion_queue *cq;
    pthread_t thread; /* to be joined, if has_thread */
    bool has_thread;
    pthread_t call_thread; /* written and read by the call thread itself */

    /* Fixed after start. */
    int *ports;                     /* of each address */
    struct address_target *targets; /* of each address */
    size_t n_addresses;
    struct connections *connections; /* NULL until all addresses are bound */
    size_t max_calls;
    size_t max_client_calls; /* 0: no limit */
    struct rpc_protocol protocol;
    size_t max_message_bytes;
    unsigned (*role_of)(const char *token, char name[RPC_CALLER_NAME_SIZE], void *arg);
    void *role_arg;
    struct served_method
        *methods; /* as added, then as a hash table of table_size slots (path NULL: free) */
    size_t n_methods, table_size;
    const char **services; /* full names, for health; borrowed */
    size_t n_services;
    struct server_timer timers[SERVING_TIMERS_MAX];
    size_t n_timers;

    /* Wakes the call thread: an empty batch on a call that leads nowhere puts its tag into the
     * queue at once. */
    grpc_channel *wake_channel;
    grpc_call *wake_call;
    struct rpc_op wake_op;
    pthread_mutex_t lock;
    struct server_post *posts, *posts_tail; /* lock */
    size_t n_posts;                         /* lock */
    bool woken;                             /* lock: wake_op is under way */
    bool closed;                            /* lock: no more posts */
    atomic_bool close_asked;                /* drain begins; grace_ns is set before */

    /* Call thread only. */
    struct accept_slot slots[SERVING_ACCEPTS];
    struct rpc_call *calls; /* all that are alive, refused ones too */
    size_t n_calls;
    size_t n_refused, n_anonymous;             /* of these; max_calls bounds the others */
    struct caller *callers;                    /* those that have calls */
    struct rpc_call *deferred, *deferred_tail; /* want something once the handler has returned */
    struct health_watch *watches;
    bool draining, drain_forced, shut_down, ended;
    struct rpc_op shutdown_op;
    uint64_t poll_until_ns; /* until then without sleeping */
    uint64_t grace_ns;      /* calls that last longer are cancelled */
    uint64_t idle_since_ns; /* while draining: since when no call is left; 0: some are */
    uint64_t lag_window_ns; /* begin of the window that lag[0] is of; lag[1] is of the one before */
    uint64_t lag[2];

    atomic_bool serving;
    struct server_counters counters;
};

/* ---- serving.c ---- */
void *serving_run(void *server); /* until drained; a pthread body */
void serving_wake(struct rpc_server *server);
bool serving_on_call_thread(const struct rpc_server *server);
static inline void serving_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* ---- accept.c ---- */
status accept_add(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                  const struct rpc_method *method, void *service, struct err *err) MUST_CHECK;
status accept_start(struct rpc_server *server, struct err *err) MUST_CHECK;
bool accept_idle(const struct rpc_server *server); /* no slot is armed */
void accept_fini(struct rpc_server *server);

/* ---- call.c ---- */
/* Who calls, and until when it waits. */
struct call_origin {
    struct caller *caller; /* NULL: refused, or without a role */
    unsigned roles;
    uint64_t deadline_ns;
};
/* Takes the gRPC call, the caller, and the metadata (which it leaves empty). `served` NULL, or
 * `refusal` not 0 (a gRPC code): answers that and ends. */
void call_begin(struct rpc_server *server, const struct served_method *served, grpc_call *grpc,
                grpc_metadata_array *metadata, const struct call_origin *origin, int refusal,
                const char *refusal_text);
/* Ends the oldest call of a caller without a token. Needs n_anonymous > 0. */
void call_end_oldest_anonymous(struct rpc_server *server);
void call_run_deferred(struct rpc_server *server);

/* ---- health.c ---- */
status health_add(struct rpc_server *server, struct err *err) MUST_CHECK;
void health_changed(struct rpc_server *server); /* call thread: tells the watchers */
void health_drain(struct rpc_server *server);   /* call thread: NOT_SERVING, ends the watchers */

#endif
