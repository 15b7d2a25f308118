/* One call on the serving side. Internal to common/rpc.
 *
 * Up to three gRPC operations are under way: `closed_op` from begin to end (the call is over,
 * whatever the reason), `read_op` and `write_op` one at a time each. When the last has come back
 * the call is done.
 *
 *   reading   read_op is under way        a request that comes while held stays in `incoming`
 *   writing   write_op is under way       its message, if any, is in `outgoing`
 *   finishing rpc_call_finish was called  the status leaves with or after the last queued message
 *   ended     closed_op came back         nothing can be sent or read any more */
#ifndef HINDCAST_RPC_CALL_H
#define HINDCAST_RPC_CALL_H

#include "common/rpc/serving.h"

struct metadata_text;

struct rpc_call {
    struct rpc_server *server;
    const struct served_method *served; /* NULL: refused */
    grpc_call *grpc;                    /* NULL once done */
    atomic_uint references;
    grpc_metadata_array metadata;
    struct metadata_text *texts; /* values handed out as text */
    char *peer;                  /* gpr_free */
    struct caller *caller;       /* NULL: refused, or without a role */
    unsigned roles;
    bool refused;   /* counted in server->n_refused */
    bool anonymous; /* counted in server->n_anonymous */
    uint64_t deadline_ns;
    void *state;

    struct rpc_op closed_op, read_op, write_op;
    unsigned n_ops; /* under way */
    int cancelled;  /* written by gRPC with closed_op; the end is the same to us */
    bool reading, writing, held, handling, is_deferred;
    bool got_request, half_closed, initial_sent, finishing, status_sent, ended;

    grpc_byte_buffer *incoming;
    struct message request; /* being handled */
    grpc_byte_buffer *outgoing;
    grpc_byte_buffer *queue[RPC_SEND_QUEUE_MAX]; /* ring */
    unsigned queue_begin, n_queued;
    int code; /* gRPC's, once finishing */
    char *text;

    struct rpc_call *previous, *next; /* in server->calls */
    struct rpc_call *next_deferred;
};

#endif
