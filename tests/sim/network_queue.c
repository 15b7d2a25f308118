/* Completion queues: tags of operations that are over, taken by whom they belong to. */
#include "tests/sim/network_private.h"

#define EVENTS_MAX 512

struct grpc_completion_queue {
    struct event {
        void *tag;
        bool ok;
    } events[EVENTS_MAX];
    unsigned n;
    bool shut_down;
};

uint64_t network_ns(gpr_timespec time)
{
    return time.tv_sec == INT64_MAX
               ? AGENDA_NEVER
               : (uint64_t)time.tv_sec * (uint64_t)NS_PER_S + (uint64_t)time.tv_nsec;
}

void queue_put(grpc_completion_queue *queue, void *tag, bool ok)
{
    ASSERT(queue->n < EVENTS_MAX);
    queue->events[queue->n++] = (struct event){tag, ok};
    fiber_wake_all(queue);
}

void batch_end_one(struct batch *batch, bool ok)
{
    if (batch) {
        batch->ok = batch->ok && ok;
        if (--batch->n_open == 0) {
            queue_put(batch->queue, batch->tag, batch->ok);
        }
    }
}

void batch_end(struct batch **batch, bool ok)
{
    struct batch *ended = *batch;
    *batch = NULL;
    batch_end_one(ended, ok);
}

static grpc_completion_queue *new_queue(void)
{
    return network_memory(sizeof(grpc_completion_queue));
}

grpc_completion_queue *grpc_completion_queue_create_for_next(void *reserved)
{
    (void)reserved;
    return new_queue();
}

grpc_completion_queue *grpc_completion_queue_create_for_pluck(void *reserved)
{
    (void)reserved;
    return new_queue();
}

void grpc_completion_queue_shutdown(grpc_completion_queue *queue)
{
    queue->shut_down = true;
    fiber_wake_all(queue);
}

void grpc_completion_queue_destroy(grpc_completion_queue *queue)
{
    ASSERT(queue->shut_down && queue->n == 0);
}

static grpc_event take(grpc_completion_queue *queue, unsigned i)
{
    const struct event event = queue->events[i];
    for (queue->n--; i < queue->n; i++) {
        queue->events[i] = queue->events[i + 1];
    }
    return (grpc_event){.type = GRPC_OP_COMPLETE, .success = event.ok, .tag = event.tag};
}

/* Operations end in any order: one of the first few. */
static unsigned any_event(const grpc_completion_queue *queue)
{
    return (unsigned)(chance_in(4) ? chance_below(queue->n < 4 ? queue->n : 4) : 0);
}

grpc_event grpc_completion_queue_next(grpc_completion_queue *queue, gpr_timespec deadline,
                                      void *reserved)
{
    (void)reserved;
    const uint64_t until_ns = network_ns(deadline);
    fiber_may_yield();
    for (;;) {
        if (queue->n > 0) {
            return take(queue, any_event(queue));
        }
        if (queue->shut_down || agenda_now() >= until_ns) {
            return (grpc_event){.type =
                                    queue->shut_down ? GRPC_QUEUE_SHUTDOWN : GRPC_QUEUE_TIMEOUT};
        }
        fiber_wait(queue, until_ns);
    }
}

grpc_event grpc_completion_queue_pluck(grpc_completion_queue *queue, void *tag,
                                       gpr_timespec deadline, void *reserved)
{
    (void)reserved;
    const uint64_t until_ns = network_ns(deadline);
    fiber_may_yield();
    for (;;) {
        for (unsigned i = 0; i < queue->n; i++) {
            if (queue->events[i].tag == tag) {
                return take(queue, i);
            }
        }
        if ((queue->shut_down && queue->n == 0) || agenda_now() >= until_ns) {
            return (grpc_event){.type = queue->shut_down && queue->n == 0 ? GRPC_QUEUE_SHUTDOWN
                                                                          : GRPC_QUEUE_TIMEOUT};
        }
        fiber_wait(queue, until_ns);
    }
}
