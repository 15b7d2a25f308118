/* The serving side: one call thread waits in the completion queue and runs every handler.
 *
 * All functions except rpc_server_post, rpc_call_retain and rpc_call_release belong to the call
 * thread: to handlers, posted functions and timers. State that only handlers touch needs no lock.
 *
 * The states of a call: start -> message* -> half_closed -> done. `done` comes exactly once for
 * every `start`, even if the client disappeared or the deadline passed; afterwards all functions on
 * the call return CLOSED. */
#ifndef HINDCAST_RPC_SERVER_H
#define HINDCAST_RPC_SERVER_H

#include "common/rpc/rpc.h"

#define RPC_SEND_QUEUE_MAX      8 /* messages waiting to be sent on one call; more is QUEUE_FULL */
#define RPC_SERVER_MEMORY_BYTES (2ull << 30)
#define RPC_SERVER_IDLE_MS      300000u
#define RPC_POST_QUEUE_MAX      (1u << 16) /* posted and not yet run; more is QUEUE_FULL */
#define RPC_CALLER_NAME_SIZE    80         /* with the terminating 0 */

struct rpc_server;
struct rpc_call;

struct rpc_method {
    const char *name; /* as in the .proto: "Check" */
    enum rpc_kind kind;
    uint32_t payload_field; /* requests carry this bytes field as a payload; 0: none */
    unsigned roles;         /* bits of the roles that may call it (role_of below); 0: all callers */
    void (*start)(struct rpc_call *call); /* optional */
    /* One request, unpacked and borrowed (ProtobufCMessage of the method's input type). Unary:
     * exactly once. */
    void (*message)(struct rpc_call *call, const ProtobufCMessage *request);
    void (*half_closed)(struct rpc_call *call); /* the client sends no more; optional */
    void (*sent)(
        struct rpc_call *call); /* a message was sent: the queue has a free place; optional */
    void (*done)(struct rpc_call *call); /* free rpc_call_state here; optional */
};

struct rpc_server_options {
    const char *const *addresses; /* "unix:path", "host:port" (port 0: any free one) */
    size_t n_addresses;
    struct rpc_tls tls;
    struct rpc_protocol protocol; /* its texts are borrowed until the server is closed */
    bool allow_insecure; /* without it, an address that is not local and has no TLS is DENIED */
    size_t max_message_bytes;    /* 0: RPC_MESSAGE_MAX_BYTES */
    size_t max_calls;            /* calls at once; more are refused RESOURCE_EXHAUSTED; 0: 1024 */
    size_t max_client_calls;     /* the same for one client (rpc_call_client); 0: no limit */
    size_t max_connections;      /* connections at once; more are closed; 0: 1024 */
    size_t max_host_connections; /* the same for one IP address; 0: no limit */
    /* Memory that gRPC may use for all connections together. Near the limit it reads
     * more slowly and then refuses new connections. 0: RPC_SERVER_MEMORY_BYTES. */
    size_t max_memory_bytes;
    uint64_t idle_ms; /* a connection without calls is closed after this; 0: RPC_SERVER_IDLE_MS */
    /* The role bits of a caller with this bearer token (NULL: the caller sent none), and the name
     * of the client that it belongs to (untouched: ""); 0 refuses the call with UNAUTHENTICATED.
     * Without this function every caller may do everything. Health needs no token. On the call
     * thread. */
    unsigned (*role_of)(const char *token, char name[RPC_CALLER_NAME_SIZE], void *arg);
    void *role_arg;
};

/* Binds; serves nothing yet. Errors name the address. */
status rpc_server_open(struct rpc_server **server, const struct rpc_server_options *options,
                       struct err *err) MUST_CHECK;

/* Adds a protobuf-c service before start; `methods` and `service` (rpc_call_service) are borrowed.
 * INVALID where a method is not in the descriptor. */
status rpc_server_add(struct rpc_server *server, const ProtobufCServiceDescriptor *descriptor,
                      const struct rpc_method *methods, size_t n_methods, void *service,
                      struct err *err) MUST_CHECK;

/* Starts the call thread. grpc.health.v1.Health (Check, Watch) is served beside what was added;
 * unknown methods get UNIMPLEMENTED. Health says NOT_SERVING until rpc_server_set_serving(true). */
status rpc_server_start(struct rpc_server *server, struct err *err) MUST_CHECK;
void rpc_server_set_serving(struct rpc_server *server, bool serving); /* any thread */
/* The port bound; 0 for unix sockets. */
int rpc_server_port(const struct rpc_server *server, size_t address_i);

/* Runs function(arg) on the call thread soon, in the order posted. Any thread. CLOSED after the
 * call thread ended, QUEUE_FULL, NO_MEMORY: then the caller still owns `arg`. What was taken runs,
 * at the latest while the server closes. */
status rpc_server_post(struct rpc_server *server, void (*function)(void *arg),
                       void *arg) MUST_CHECK;
/* Calls function(arg) on the call thread about every `period_ms`. Before start. */
void rpc_server_every(struct rpc_server *server, uint64_t period_ms, void (*function)(void *arg),
                      void *arg);

/* For this time the call thread looks for events without sleeping: for a client that is about to ask
 * again, where waking up would take as long as the answer. It costs up to that much processor time a
 * call. On the call thread. */
void rpc_server_poll_for(struct rpc_server *server, uint64_t ns);

/* Stops accepting, lets calls end for `grace_ms`, cancels the rest, drains, joins. Every `done` has
 * run when it returns. Not from the call thread. */
void rpc_server_close(struct rpc_server *server, uint64_t grace_ms);

struct rpc_server_counts {
    uint64_t calls_started, calls_active, calls_refused;
    uint64_t client_calls_refused; /* of these, by max_client_calls */
    uint64_t connections;          /* open now */
    uint64_t connections_refused;
    uint64_t messages_in, messages_out, bytes_in, bytes_out;
    uint64_t lag_ns; /* the longest time that a handler recently kept the call thread busy */
};
/* Any thread. */
void rpc_server_counts(const struct rpc_server *server, struct rpc_server_counts *counts);

/* ---- One call ---- */

void *rpc_call_service(const struct rpc_call *call); /* the argument of rpc_server_add */
void *rpc_call_state(const struct rpc_call *call);   /* for the handlers; NULL at start */
void rpc_call_set_state(struct rpc_call *call, void *state);
/* "ipv4:127.0.0.1:40000"; "" where it was not asked for before done. */
const char *rpc_call_peer(struct rpc_call *call);
/* The client that calls: the name of its token; without tokens the host that it calls from, "unix"
 * on a Unix socket. "" where its token has no role, and after done. */
const char *rpc_call_client(const struct rpc_call *call);
unsigned rpc_call_roles(const struct rpc_call *call);
/* Borrowed until done; NULL when absent. */
const char *rpc_call_metadata(struct rpc_call *call, const char *key);
uint64_t rpc_call_deadline_ns(const struct rpc_call *call); /* monotonic; UINT64_MAX: none */
/* The payload of the request being handled; empty when the field was absent. Borrowed for the
 * `message` call. */
const struct rpc_pieces *rpc_call_payload(const struct rpc_call *call);

/* Back-pressure: after hold no further request is read until resume. */
void rpc_call_hold(struct rpc_call *call);
void rpc_call_resume(struct rpc_call *call);

/* Queues one response. QUEUE_FULL when RPC_SEND_QUEUE_MAX wait, CLOSED after done or finish.
 * `payload` may be NULL; it is taken in any case (released also on errors). */
status rpc_call_send(struct rpc_call *call, const ProtobufCMessage *response,
                     const struct rpc_payload *payload) MUST_CHECK;
size_t rpc_call_unsent(const struct rpc_call *call);
/* Ends the call after what is queued; the first one counts. */
void rpc_call_finish(struct rpc_call *call, status code, const char *text);
/* Ends the call at once: what is queued is dropped, and a message under way is given up, which a
 * peer that reads nothing would hold for ever. `done` comes as always. */
void rpc_call_abort(struct rpc_call *call, status code, const char *text);
/* send, then finish OK: the answer of unary and client-stream calls. */
void rpc_call_reply(struct rpc_call *call, const ProtobufCMessage *response);

/* Keeps the struct (not the call) alive while another thread holds on to it. */
void rpc_call_retain(struct rpc_call *call);
void rpc_call_release(struct rpc_call *call);

#endif
