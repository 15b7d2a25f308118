/* Which episode is acted next, and in which order finished ones are kept: a core without clock,
 * threads or disk.
 *
 * Episodes have sequences 1, 2, ... Several are under way at the same time and finish in any
 * order; they are handed on in order of their sequence, so that a log does not depend on how many
 * environments made it, and "the last one kept" says everything about where a collector is. A
 * window bounds how far ahead of the oldest unfinished one the others may run. */
#ifndef HINDCAST_COLLECTOR_ORDER_H
#define HINDCAST_COLLECTOR_ORDER_H

#include <stdint.h>

#include "common/base/status.h"

#define ORDER_WINDOW_MAX 1024u

struct order {
    uint32_t window;     /* sequences between the first not handed on and the last started */
    uint64_t last;       /* no sequence is started after this one; 0: no end */
    uint64_t next_start; /* the next to be started */
    uint64_t next_out;   /* the next to be handed on */
    void *items[ORDER_WINDOW_MAX]; /* finished, at sequence % window; NULL: not yet */
};

/* Goes on after `done`, the last sequence kept earlier (0: none). 1 <= window <= ORDER_WINDOW_MAX.
 * */
void order_init(struct order *order, uint32_t window, uint64_t done, uint64_t last);

/* The next sequence to act: OK; QUEUE_FULL when the window is full; CLOSED when all were started. */
status order_start(struct order *order, uint64_t *sequence) MUST_CHECK;
/* `item` (not NULL) is what came of `sequence`, which was started and not finished before. */
void order_finish(struct order *order, uint64_t sequence, void *item);
/* The next one in order, or NULL while it is under way. */
void *order_next(struct order *order);
/* Were all of them, up to `last`, handed on? */
bool order_done(const struct order *order);
/* Any finished item, in no order, or NULL: for giving memory back at the end. */
void *order_drain(struct order *order);

#endif
