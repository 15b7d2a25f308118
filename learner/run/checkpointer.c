/* The thread that writes checkpoints. See checkpointer.h.
 *
 * One copy of the state passes between the two threads: it belongs to the training thread while
 * `busy` is false, and to the writing thread while it is true. Only that flag, and what a write
 * resulted in, are under the mutex; encoding and syncing hold no lock.
 *
 * The flag alone hands over the copy, so there is no queue: a checkpoint that falls due during a
 * write is refused, and the caller offers a newer state after its next step. */
#include "learner/run/checkpointer.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

#define LOG_MODULE "checkpoint"
#include "common/base/log.h"

struct checkpointer {
    /* Set at the start, read-only afterwards. */
    char folder[CONFIG_TEXT_SIZE];
    int64_t keep;
    struct settings settings;
    pthread_t thread;
    struct metric *written, *failed, *seconds, *newest_step;

    /* The copy: the training thread's while `busy` is false, else the writing thread's. */
    struct state *state;
    struct checkpoint about;

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    bool busy;
    bool closing;
    status last; /* how the last write ended */
    struct err why;
    /* Was any written since the start? */
    bool any;
    uint64_t step; /* of the newest durable one */
};

/* Writes the copy and counts. A checkpoint that fails does not stop learning: the next one may
 * succeed. */
static void write_one(struct checkpointer *checkpointer, struct err *err, status *s)
{
    /* The time is measured for a failed write, too. */
    uint64_t begin_ns = clock_now_ns();
    *s = checkpoint_write(checkpointer->folder, checkpointer->keep, checkpointer->state,
                          &checkpointer->settings, &checkpointer->about, err);
    double seconds = (double)(clock_now_ns() - begin_ns) / 1e9;
    metric_set(checkpointer->seconds, seconds);
    /* A failure is counted and told; the checkpoint that was durable before stays the newest. */
    if (*s == STATUS_OK) {
        metric_add(checkpointer->written, 1);
        metric_set(checkpointer->newest_step, (double)state_step(checkpointer->state));
        log_debug("written step=%llu seconds=%.3f",
                  (unsigned long long)state_step(checkpointer->state), seconds);
    } else {
        metric_add(checkpointer->failed, 1);
        log_error("a checkpoint was not written; learning goes on: %s", err->text);
    }
}

/* The thread: writes whatever is offered until it is closed. */
static void *write_until_closed(void *arg)
{
    struct checkpointer *checkpointer = arg;
    pthread_mutex_lock(&checkpointer->mutex);
    for (;;) {
        /* Sleeps until there is a copy to write or the owner closes. */
        while (!checkpointer->busy && !checkpointer->closing) {
            pthread_cond_wait(&checkpointer->changed, &checkpointer->mutex);
        }
        if (!checkpointer->busy) {
            break; /* closing, and nothing left */
        }
        /* The copy is this thread's until `busy` is false again. */
        pthread_mutex_unlock(&checkpointer->mutex);
        struct err err = {0};
        status s = STATUS_OK;
        write_one(checkpointer, &err, &s);
        /* The result is set before the copy goes back, so that a waiter never sees an older one. */
        pthread_mutex_lock(&checkpointer->mutex);
        checkpointer->last = s;
        checkpointer->why = err;
        if (s == STATUS_OK) {
            checkpointer->any = true;
            checkpointer->step = state_step(checkpointer->state);
        }
        /* From here on the copy is the training thread's. */
        checkpointer->busy = false;
        pthread_cond_broadcast(&checkpointer->changed);
    }
    pthread_mutex_unlock(&checkpointer->mutex);
    return NULL;
}

status checkpointer_open(struct checkpointer **checkpointer, const char *folder, int64_t keep,
                         const struct state *like, const struct settings *settings, struct err *err)
{
    struct checkpointer *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "checkpointer");
    }
    /* The folder, the settings and the metrics are fixed for the life of the thread. */
    snprintf(made->folder, sizeof(made->folder), "%s", folder);
    made->keep = keep;
    made->settings = *settings;
    made->written =
        metric_counter("hindcast_learner_checkpoints_written_total", "Checkpoints written", NULL);
    made->failed = metric_counter("hindcast_learner_checkpoints_failed_total",
                                  "Checkpoints that could not be written", NULL);
    made->seconds = metric_gauge("hindcast_learner_checkpoint_seconds",
                                 "Time that writing the last one took", NULL);
    made->newest_step =
        metric_gauge("hindcast_learner_checkpoint_step", "Step of the newest checkpoint", NULL);
    /* The copy is allocated here, so that no checkpoint fails for want of memory for it. */
    status s = state_new(&made->state, settings, err);
    if (s != STATUS_OK) {
        goto free_made;
    }
    ASSERT(state_layout(made->state)->size == state_layout(like)->size);
    /* Waits have deadlines on the monotonic clock: a step of the wall clock must not end them. */
    pthread_mutex_init(&made->mutex, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&made->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    /* The last thing that can fail, so a thread that runs is never stopped here. */
    int error = pthread_create(&made->thread, NULL, write_until_closed, made);
    if (error != 0) {
        s = err_errno(err, error, "checkpointer: thread");
        goto free_state;
    }
    *checkpointer = made;
    return STATUS_OK;

free_state:
    pthread_cond_destroy(&made->changed);
    pthread_mutex_destroy(&made->mutex);
    state_free(made->state);
free_made:
    mem_free(made);
    return s;
}

bool checkpointer_offer(struct checkpointer *checkpointer, const struct state *state,
                        const struct checkpoint *about)
{
    pthread_mutex_lock(&checkpointer->mutex);
    bool busy = checkpointer->busy;
    pthread_mutex_unlock(&checkpointer->mutex);
    if (busy) {
        return false;
    }
    /* Not busy, so the copy is the caller's; only this thread makes it busy. */
    state_copy(checkpointer->state, state);
    checkpointer->about = *about;

    pthread_mutex_lock(&checkpointer->mutex);
    /* From here on the copy is the writing thread's. */
    checkpointer->busy = true;
    pthread_cond_broadcast(&checkpointer->changed);
    pthread_mutex_unlock(&checkpointer->mutex);
    return true;
}

status checkpointer_wait(struct checkpointer *checkpointer, uint64_t timeout_ms, struct err *err)
{
    /* pthread_cond_timedwait takes a point in time, here on the monotonic clock. */
    uint64_t deadline_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / NS_PER_S),
                                .tv_nsec = (long)(deadline_ns % NS_PER_S)};
    status s = STATUS_OK;
    pthread_mutex_lock(&checkpointer->mutex);
    while (checkpointer->busy && clock_now_ns() < deadline_ns) {
        /* Spurious wake-ups and timeouts are told apart by the conditions of the loop. */
        (void)pthread_cond_timedwait(&checkpointer->changed, &checkpointer->mutex, &deadline);
    }
    /* `last` is the result of the newest write, also where it ended before this call. */
    if (checkpointer->busy) {
        s = err_set(err, STATUS_TIMEOUT, "a checkpoint is not written after %llu ms",
                    (unsigned long long)timeout_ms);
    } else {
        s = checkpointer->last;
        if (err != NULL && s != STATUS_OK) {
            *err = checkpointer->why;
        }
    }
    pthread_mutex_unlock(&checkpointer->mutex);
    return s;
}

bool checkpointer_step(struct checkpointer *checkpointer, uint64_t *step)
{
    pthread_mutex_lock(&checkpointer->mutex);
    /* Both from the same write. */
    bool any = checkpointer->any;
    *step = checkpointer->step;
    pthread_mutex_unlock(&checkpointer->mutex);
    return any;
}

void checkpointer_close(struct checkpointer *checkpointer)
{
    if (checkpointer == NULL) {
        return;
    }
    /* The thread first writes the copy that it holds, if any; only then does it see `closing`. */
    pthread_mutex_lock(&checkpointer->mutex);
    checkpointer->closing = true;
    pthread_cond_broadcast(&checkpointer->changed);
    pthread_mutex_unlock(&checkpointer->mutex);
    pthread_join(checkpointer->thread, NULL);
    pthread_cond_destroy(&checkpointer->changed);
    pthread_mutex_destroy(&checkpointer->mutex);
    state_free(checkpointer->state);
    mem_free(checkpointer);
}
