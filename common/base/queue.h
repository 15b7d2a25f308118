/* The one bounded queue through which threads pass whole messages.
 *
 * Elements are pointers; the thread that takes one owns it. Any number of threads may push and pop.
 * An optional wake-up function is called, outside the lock, after a push into an empty queue (it
 * must not block; wake-ups coalesce, so the taker always takes all there is). */
#ifndef HINDCAST_BASE_QUEUE_H
#define HINDCAST_BASE_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

struct queue;

status queue_new(struct queue **queue, size_t capacity) MUST_CHECK;
/* The queue must be empty or `free_item` be given for what is left in it. */
void queue_free(struct queue *queue, void (*free_item)(void *item));
void queue_set_wake(struct queue *queue, void (*wake)(void *arg), void *arg);

/* QUEUE_FULL when full, CLOSED after queue_close; then the caller still owns `item`. */
status queue_try_push(struct queue *queue, void *item) MUST_CHECK;
/* Waits for a free place: OK, TIMEOUT, CLOSED. */
status queue_push(struct queue *queue, void *item, uint64_t timeout_ms) MUST_CHECK;
/* The oldest item, or NULL when there is none. */
void *queue_try_pop(struct queue *queue);
/* Waits for an item: OK, TIMEOUT, or CLOSED once it is closed *and* empty. */
status queue_pop(struct queue *queue, void **item, uint64_t timeout_ms) MUST_CHECK;
/* No more pushes; everyone who waits wakes. Idempotent. */
void queue_close(struct queue *queue);
size_t queue_length(struct queue *queue);

#endif
