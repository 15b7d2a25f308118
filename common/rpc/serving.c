/* The call thread: it waits in the completion queue and runs everything that touches calls.
 *
 * One round takes one event: an operation that ended, a wake-up (posted functions), or the time for
 * a timer. The end has an order: stop accepting; let calls end; cancel what lasts too long; run
 * what was posted; shut the queue down; leave when it is empty. */
#include "common/rpc/serving.h"

#include "common/base/memory.h"

#define LAG_WINDOW_NS  (10 * NS_PER_S)
#define DRAIN_CHECK_NS (20 * NS_PER_MS)
/* Once no call is left, connections get this long to send what is buffered and to close by
 * themselves. */
#define DRAIN_IDLE_NS (100 * NS_PER_MS)

bool serving_on_call_thread(const struct rpc_server *server)
{
    return pthread_equal(pthread_self(), server->call_thread);
}

/* ---- Lag ---- */

/* Keeps the longest busy stretch of the present window of 10 s and of the one before it. */
static void note_lag(struct rpc_server *server, uint64_t begin_ns, uint64_t end_ns)
{
    uint64_t lag = end_ns - begin_ns;
    bool changed = false;
    /* The window is over: it becomes the one before, unless that was long ago. */
    if (end_ns - server->lag_window_ns >= LAG_WINDOW_NS) {
        server->lag[1] = end_ns - server->lag_window_ns < 2 * LAG_WINDOW_NS ? server->lag[0] : 0;
        server->lag[0] = 0;
        server->lag_window_ns = end_ns;
        changed = true;
    }
    /* The longest of this window so far? */
    if (lag > server->lag[0]) {
        server->lag[0] = lag;
        changed = true;
    }
    /* Shown: the longest of both windows, so that one is seen for 10 s at least. */
    if (changed) {
        uint64_t longest = server->lag[0] > server->lag[1] ? server->lag[0] : server->lag[1];
        atomic_store_explicit(&server->counters.lag_ns, longest, memory_order_relaxed);
    }
}

/* ---- Wake-ups and posts ---- */

/* With `lock` held: the queue is not shut down as long as `closed` is not set. */
static void wake_locked(struct rpc_server *server)
{
    /* One wake-up under way is enough: it runs all that was posted. */
    if (server->woken || server->closed) {
        return;
    }
    server->woken = true;
    op_give(&server->wake_op);
    grpc_call_error error =
        grpc_call_start_batch(server->wake_call, NULL, 0, &server->wake_op, NULL);
    ASSERT(error == GRPC_CALL_OK);
}

void serving_wake(struct rpc_server *server)
{
    pthread_mutex_lock(&server->lock);
    wake_locked(server);
    pthread_mutex_unlock(&server->lock);
}

status rpc_server_post(struct rpc_server *server, void (*function)(void *arg), void *arg)
{
    struct server_post *post = mem_new(sizeof *post);
    if (post == NULL) {
        return STATUS_NO_MEMORY;
    }
    *post = (struct server_post){.function = function, .arg = arg};
    /* Once `closed` is set nothing is posted, since the queue may be shut down at any time. */
    pthread_mutex_lock(&server->lock);
    status s = server->closed                          ? STATUS_CLOSED
               : server->n_posts == RPC_POST_QUEUE_MAX ? STATUS_QUEUE_FULL
                                                       : STATUS_OK;
    if (s == STATUS_OK) {
        /* Appended: they run in the order of posting. */
        if (server->posts == NULL) {
            server->posts = post;
        } else {
            server->posts_tail->next = post;
        }
        server->posts_tail = post;
        server->n_posts++;
        wake_locked(server);
    }
    pthread_mutex_unlock(&server->lock);
    /* A post that is refused never runs; the caller keeps its argument. */
    if (s != STATUS_OK) {
        mem_free(post);
    }
    return s;
}

/* What was posted so far, in order. `close`: the last time, nothing can be posted any more. */
static void run_posts(struct rpc_server *server, bool close)
{
    pthread_mutex_lock(&server->lock);
    /* The whole list at once, so that the lock is not held while they run. */
    struct server_post *posts = server->posts;
    server->posts = NULL;
    server->posts_tail = NULL;
    server->n_posts = 0;
    server->closed = close;
    if (!close) {
        server->woken = false;
    }
    pthread_mutex_unlock(&server->lock);
    /* Measured one by one, so that the lag is that of the longest function and not of all. */
    uint64_t begin = clock_now_ns();
    for (struct server_post *post = posts, *next; post != NULL; post = next) {
        next = post->next;
        post->function(post->arg);
        mem_free(post);
        call_run_deferred(server);
        uint64_t end = clock_now_ns();
        note_lag(server, begin, end);
        begin = end;
    }
}

/* Somebody has posted, or changed the health. */
static void on_wake(struct rpc_op *op, bool ok)
{
    (void)ok;
    struct rpc_server *server = RPC_CONTAINER(op, struct rpc_server, wake_op);
    if (server->closed) {
        return; /* was under way when the queue was shut down */
    }
    run_posts(server, false);
    health_changed(server);
}

/* ---- Timers ---- */

/* When the loop must wake without an event. */
static uint64_t next_due_ns(const struct rpc_server *server, uint64_t now)
{
    /* While draining, look again soon even if nothing happens. */
    uint64_t due = server->draining ? now + DRAIN_CHECK_NS : UINT64_MAX;
    for (size_t i = 0; i < server->n_timers; i++) {
        due = server->timers[i].due_ns < due ? server->timers[i].due_ns : due;
    }
    return due;
}

/* Those that are due. A late one does not catch up. */
static void run_timers(struct rpc_server *server)
{
    for (size_t i = 0; i < server->n_timers; i++) {
        struct server_timer *timer = &server->timers[i];
        uint64_t begin = clock_now_ns();
        if (begin >= timer->due_ns) {
            /* From now, and not from when it was due. */
            timer->due_ns = begin + timer->period_ns;
            timer->function(timer->arg);
            call_run_deferred(server);
            note_lag(server, begin, clock_now_ns());
        }
    }
}

void rpc_server_poll_for(struct rpc_server *server, uint64_t ns)
{
    ASSERT(serving_on_call_thread(server));
    server->poll_until_ns = clock_now_ns() + ns;
}

/* ---- The end ---- */

/* gRPC has ended the server: no connection is left. */
static void on_shut_down(struct rpc_op *op, bool ok)
{
    (void)ok;
    RPC_CONTAINER(op, struct rpc_server, shutdown_op)->shut_down = true;
}

/* No new calls from here on. */
static void begin_drain(struct rpc_server *server)
{
    server->draining = true;
    server->shutdown_op.complete = on_shut_down;
    op_give(&server->shutdown_op);
    grpc_server_shutdown_and_notify(server->grpc, server->cq, &server->shutdown_op);
    health_drain(server);
}

/* One look at how far the drain is. gRPC keeps connections of peers that do not answer for long;
 * when no call is left, or the grace has passed, they are cut. */
static void drain(struct rpc_server *server, uint64_t now)
{
    /* Since when has there been no call? */
    if (server->n_calls > 0) {
        server->idle_since_ns = 0;
    } else if (server->idle_since_ns == 0) {
        server->idle_since_ns = now;
    }
    /* No call for a while: connections have had their time to end by themselves. */
    bool idle = server->idle_since_ns != 0 && now - server->idle_since_ns >= DRAIN_IDLE_NS;
    if (!server->shut_down && !server->drain_forced && (idle || now >= server->grace_ns)) {
        server->drain_forced = true;
        grpc_server_cancel_all_calls(server->grpc);
    }
    /* Nothing can come any more, so what was posted runs for the last time. */
    if (server->shut_down && server->n_calls == 0 && accept_idle(server)) {
        run_posts(server, true);
        grpc_call_unref(server->wake_call);
        grpc_channel_destroy(server->wake_channel);
        grpc_completion_queue_shutdown(server->cq);
        server->ended = true;
    }
}

/* ---- The loop ---- */

void *serving_run(void *arg)
{
    struct rpc_server *server = arg;
    server->call_thread = pthread_self();
    uint64_t now = clock_now_ns();
    server->lag_window_ns = now;
    /* The first period of a timer begins now. */
    for (size_t i = 0; i < server->n_timers; i++) {
        server->timers[i].due_ns = now + server->timers[i].period_ns;
    }
    server->wake_op.complete = on_wake;
    /* A round: one event, then the timers that are due, then the end if it was asked for. */
    for (;;) {
        /* After the end only the queue's own last event is awaited. */
        uint64_t due = server->ended ? UINT64_MAX : next_due_ns(server, now);
        /* gRPC rounds a time that is not over up to milliseconds: to poll takes one that is. */
        const uint64_t wait_until = now < server->poll_until_ns ? 0 : due;
        grpc_event event = grpc_completion_queue_next(server->cq, op_time(wait_until), NULL);
        uint64_t begin = clock_now_ns();
        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        if (event.type == GRPC_OP_COMPLETE) {
            struct rpc_op *op = event.tag;
            op_take(op);
            op->complete(op, event.success != 0);
            call_run_deferred(server);
        }
        now = clock_now_ns();
        if (event.tag != &server->wake_op) { /* whose functions are measured one by one */
            note_lag(server, begin, now);
        }
        if (now >= due) {
            run_timers(server);
        }
        /* The drain begins here, and never in the middle of a handler. */
        if (!server->draining && atomic_load_explicit(&server->close_asked, memory_order_acquire)) {
            begin_drain(server);
            call_run_deferred(server);
        }
        if (server->draining && !server->ended) {
            drain(server, now);
        }
    }
}
