/* A unary call that changes the store: it hands a job to the inserter and is answered when the job
 * is back. Jobs come back in order, so that the answer knows of everything that was queued before.
 *
 * The job owns the state while it is with the inserter; a client that leaves meanwhile only sets
 * `call` to NULL. Call thread only. */
#ifndef HINDCAST_REPLAY_SERVER_SERVICE_STORE_CALL_H
#define HINDCAST_REPLAY_SERVER_SERVICE_STORE_CALL_H

#include "replay_server/service/service_private.h"

/* The first member of the state of such a call. */
struct store_call {
    struct insert_job job;
    struct service *service;
    struct rpc_call *call; /* NULL: over */
    enum service_call kind;
    uint64_t start_ns;
};

/* A state of `size` bytes whose job comes back to `done`. NULL: out of memory, and the call has
 * been ended. */
void *store_call_new(struct rpc_call *call, enum service_call kind, size_t size,
                     void (*done)(struct insert_job *job));
/* Ends the call with this error; the state, which was not submitted, stays the caller's. */
void store_call_refuse(struct store_call *state, status code, const char *text);
/* Hands the job over. False: the store's queue is full, and the call has been ended; the state
 * stays the caller's. */
bool store_call_submit(struct store_call *state) MUST_CHECK;
/* The job is back: answers, with its error where it failed. The state is the caller's again. */
void store_call_answer(struct store_call *state, const ProtobufCMessage *response);

#endif
