/* A ring of pointers under one mutex, with a condition variable for either side.
 *
 * A push signals one waiting taker, a pop one waiting pusher. Closing wakes everybody: pushers get
 * CLOSED at once, takers after the last item. A loop, which cannot wait, sets a wake-up function,
 * which runs outside the lock because it may take other locks.
 *
 * The queue never looks into an item. With a push that succeeds the item passes to the queue, with
 * a pop to the taker; a push that fails leaves it with the caller. */
#include "common/base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/memory.h"

struct queue {
    pthread_mutex_t lock; /* guards all that follows */
    pthread_cond_t not_empty;
    pthread_cond_t not_full;
    /* Called after a push into an empty queue; NULL: no loop waits. */
    void (*wake)(void *arg);
    void *wake_arg;
    size_t capacity;
    size_t first; /* where the oldest item is */
    size_t length;
    bool closed;
    void *items[]; /* capacity */
};

status queue_new(struct queue **queue, size_t capacity)
{
    ASSERT(capacity > 0);
    /* The size of the whole, header and items, must not overflow. */
    if (capacity > (SIZE_MAX - sizeof(struct queue)) / sizeof(void *)) {
        return STATUS_NO_MEMORY;
    }
    struct queue *made = mem_new(sizeof *made + capacity * sizeof made->items[0]);
    if (made == NULL) {
        return STATUS_NO_MEMORY;
    }
    made->capacity = capacity;

    /* Deadlines are on the monotonic clock: setting the time must not stretch a wait. */
    pthread_condattr_t attributes;
    ASSERT(pthread_condattr_init(&attributes) == 0);
    ASSERT(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_mutex_init(&made->lock, NULL) == 0);
    ASSERT(pthread_cond_init(&made->not_empty, &attributes) == 0);
    ASSERT(pthread_cond_init(&made->not_full, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
    *queue = made;
    return STATUS_OK;
}

void queue_free(struct queue *queue, void (*free_item)(void *item))
{
    if (queue == NULL) {
        return;
    }
    /* No other thread may use the queue any more. */
    ASSERT(queue->length == 0 || free_item != NULL);
    /* What is left belongs to the queue now. */
    for (void *item = queue_try_pop(queue); item != NULL; item = queue_try_pop(queue)) {
        free_item(item);
    }
    pthread_cond_destroy(&queue->not_full);
    pthread_cond_destroy(&queue->not_empty);
    pthread_mutex_destroy(&queue->lock);
    mem_free(queue);
}

void queue_set_wake(struct queue *queue, void (*wake)(void *arg), void *arg)
{
    pthread_mutex_lock(&queue->lock);
    queue->wake = wake;
    queue->wake_arg = arg;
    pthread_mutex_unlock(&queue->lock);
}

/* The end of a wait, on the clock of the conditions. */
static struct timespec deadline_in(uint64_t timeout_ms)
{
    /* A wait of more than a year is a wait of a year: no overflow. */
    const uint64_t most_ms = 366ull * 24 * 3600 * 1000;
    const uint64_t ms = timeout_ms < most_ms ? timeout_ms : most_ms;
    const uint64_t end_ns = clock_now_ns() + ms * NS_PER_MS;
    return (struct timespec){.tv_sec = (time_t)(end_ns / NS_PER_S),
                             .tv_nsec = (long)(end_ns % NS_PER_S)};
}

/* Puts the item in, under the lock, which it releases; then wakes who must know. */
static void put_and_unlock(struct queue *queue, void *item)
{
    const bool was_empty = queue->length == 0;
    queue->items[(queue->first + queue->length) % queue->capacity] = item;
    queue->length++;
    /* Only a push into an empty queue wakes: the taker takes all there is. */
    void (*wake)(void *) = was_empty ? queue->wake : NULL;
    void *wake_arg = queue->wake_arg;
    pthread_cond_signal(&queue->not_empty);
    pthread_mutex_unlock(&queue->lock);
    if (wake != NULL) {
        wake(wake_arg);
    }
}

/* Takes the oldest item out, under the lock. Needs length > 0. */
static void *take(struct queue *queue)
{
    void *item = queue->items[queue->first];
    queue->items[queue->first] = NULL;
    queue->first = (queue->first + 1) % queue->capacity;
    queue->length--;
    /* One place is free, for one pusher that waits. */
    pthread_cond_signal(&queue->not_full);
    return item;
}

status queue_try_push(struct queue *queue, void *item)
{
    ASSERT(item != NULL);
    pthread_mutex_lock(&queue->lock);
    /* A queue that is full may have room later, a closed one never. */
    if (queue->closed || queue->length == queue->capacity) {
        const status s = queue->closed ? STATUS_CLOSED : STATUS_QUEUE_FULL;
        pthread_mutex_unlock(&queue->lock);
        return s;
    }
    put_and_unlock(queue, item);
    return STATUS_OK;
}

status queue_push(struct queue *queue, void *item, uint64_t timeout_ms)
{
    ASSERT(item != NULL);
    /* Before the lock is taken, so that waiting for it counts, too. */
    const struct timespec end = deadline_in(timeout_ms);
    int waited = 0;
    pthread_mutex_lock(&queue->lock);
    /* Wakes may be spurious, or another pusher may have been faster: look again each time. */
    while (!queue->closed && queue->length == queue->capacity && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&queue->not_full, &queue->lock, &end);
    }
    /* Closed comes before a free place: no thread would take the item. */
    if (queue->closed || queue->length == queue->capacity) {
        const status s = queue->closed ? STATUS_CLOSED : STATUS_TIMEOUT;
        pthread_mutex_unlock(&queue->lock);
        return s;
    }
    put_and_unlock(queue, item);
    return STATUS_OK;
}

void *queue_try_pop(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    void *item = queue->length > 0 ? take(queue) : NULL;
    pthread_mutex_unlock(&queue->lock);
    return item;
}

status queue_pop(struct queue *queue, void **item, uint64_t timeout_ms)
{
    const struct timespec end = deadline_in(timeout_ms);
    int waited = 0;
    status s = STATUS_OK;
    pthread_mutex_lock(&queue->lock);
    /* Another taker may have been faster: look again after each wake. */
    while (!queue->closed && queue->length == 0 && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&queue->not_empty, &queue->lock, &end);
    }
    /* An item counts more than the end of the time, or a close: nothing is lost. */
    if (queue->length > 0) {
        *item = take(queue);
    } else {
        s = queue->closed ? STATUS_CLOSED : STATUS_TIMEOUT;
    }
    pthread_mutex_unlock(&queue->lock);
    return s;
}

void queue_close(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    /* Both kinds of waiters must see that it is over. */
    pthread_cond_broadcast(&queue->not_empty);
    pthread_cond_broadcast(&queue->not_full);
    pthread_mutex_unlock(&queue->lock);
}

size_t queue_length(struct queue *queue)
{
    /* True at this moment only: a figure for metrics and logs. */
    pthread_mutex_lock(&queue->lock);
    const size_t length = queue->length;
    pthread_mutex_unlock(&queue->lock);
    return length;
}
