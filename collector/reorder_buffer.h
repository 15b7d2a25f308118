/* Puts finished episodes back into the order of their sequences. A pure core: no clock, threads or
 * disk.
 *
 * Episodes have sequences 1, 2, ... Several are acted at the same time and finish in any order; they
 * are passed on in order of their sequence, so that a log does not depend on how many environments
 * made it, and the last sequence on disk says where a collector is. Sequences are handed out in
 * blocks, 1 .. n, n + 1 .. 2n, ..: the episodes of a block follow one another in one environment. A
 * window bounds how far others may run ahead of the oldest unfinished one. */
#ifndef HINDCAST_COLLECTOR_REORDER_BUFFER_H
#define HINDCAST_COLLECTOR_REORDER_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"

#define REORDER_WINDOW_MAX 8192u

/* Invariant: next_out <= next_start <= next_out + window; only sequences in [next_out, next_start)
 * have items. */
struct reorder_buffer {
    uint32_t window;                 /* largest number of sequences started and not passed on */
    uint32_t block;                  /* sequences that are handed out together */
    uint32_t n_items;                /* finished and not passed on */
    uint64_t last;                   /* no sequence is started after this one; 0: no end */
    uint64_t next_start;             /* the next to be started */
    uint64_t next_out;               /* the next to be passed on */
    void *items[REORDER_WINDOW_MAX]; /* finished, at sequence % window; NULL: not yet */
};

/* Continues after `done`, the last sequence kept earlier (0: none). 1 <= block <= window <=
 * REORDER_WINDOW_MAX. */
void reorder_buffer_init(struct reorder_buffer *buffer, uint32_t window, uint32_t block,
                         uint64_t done, uint64_t last);

/* The next sequences to act, in order: first .. first + n - 1, up to the end of a block. QUEUE_FULL:
 * the window has no room for them; CLOSED: all were started. */
status reorder_buffer_start(struct reorder_buffer *buffer, uint64_t *first, uint64_t *n) MUST_CHECK;
/* May this sequence, which was started, begin to be acted? The oldest always; another where not too
 * many finished ones wait already. */
bool reorder_buffer_may_act(const struct reorder_buffer *buffer, uint64_t sequence);
/* Adds `item` (not NULL), the result of `sequence`, which was started and not finished before. */
void reorder_buffer_finish(struct reorder_buffer *buffer, uint64_t sequence, void *item);
/* Removes the next item in order; NULL while it is being acted. */
void *reorder_buffer_next(struct reorder_buffer *buffer);
/* Have all, up to `last`, been passed on? */
bool reorder_buffer_done(const struct reorder_buffer *buffer);
/* Removes any finished item, in no order; NULL: there is none. For freeing them at the end. */
void *reorder_buffer_drain(struct reorder_buffer *buffer);

#endif
