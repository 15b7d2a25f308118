/* The life of a unary call whose answer waits for the store. What is written, and what the answer
 * says, is in writer_calls.c and operator_calls.c. */
#include "replay_server/service/store_call.h"

#include "common/base/clock.h"
#include "common/base/memory.h"

void *store_call_new(struct rpc_call *call, enum service_call kind, size_t size,
                     void (*done)(struct insert_job *job))
{
    struct store_call *state = mem_new(size);
    if (state == NULL) {
        rpc_call_finish(call, STATUS_NO_MEMORY, "out of memory");
        return NULL;
    }
    state->service = rpc_call_service(call);
    state->call = call;
    state->kind = kind;
    state->start_ns = clock_now_ns();
    state->job.owner = state;
    state->job.done = done;
    return state;
}

/* The call is over before its job is back. The job goes on, and nobody is answered. */
void on_store_call_done(struct rpc_call *call)
{
    struct store_call *state = rpc_call_state(call);
    if (state) {
        state->call = NULL;
    }
}

void store_call_refuse(struct store_call *state, status code, const char *text)
{
    rpc_call_finish(state->call, code, text);
    state->call = NULL;
}

bool store_call_submit(struct store_call *state)
{
    if (inserter_submit(state->service->inserter, &state->job) != STATUS_OK) {
        store_call_refuse(state, STATUS_RETRY, "the store is writing; try again");
        return false;
    }
    rpc_call_set_state(state->call, state);
    return true;
}

void store_call_answer(struct store_call *state, const ProtobufCMessage *response)
{
    if (state->call == NULL) {
        return;
    }
    rpc_call_set_state(state->call, NULL);
    if (state->job.result == STATUS_OK) {
        rpc_call_reply(state->call, response);
        service_observe(state->service, state->kind, state->start_ns);
    } else {
        rpc_call_finish(state->call, state->job.result, state->job.err.text);
    }
}
