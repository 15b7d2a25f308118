/* Batches in transit, in a ring indexed by batch number. One thread per server fills its part of
 * each batch; one other thread uses the batches in order.
 *
 *     slot = number % depth
 *
 * Numbers oldest .. oldest + depth - 1 have a slot; `oldest` is the first that was not returned. */
#ifndef HINDCAST_CLIENTS_REPLAY_RING_H
#define HINDCAST_CLIENTS_REPLAY_RING_H

#include "common/clients/replay_sampler.h"

struct replay_ring;

struct replay_ring_settings {
    uint32_t depth;    /* batches */
    uint32_t snippets; /* of a batch */
    uint32_t N, W;
    uint32_t n_parts; /* that fill every batch */
    uint64_t first_batch;
    bool origins; /* batches have them */
};

status replay_ring_new(struct replay_ring **ring,
                       const struct replay_ring_settings *settings) MUST_CHECK;
void replay_ring_free(struct replay_ring *ring);

/* ---- For the threads that fill ---- */

/* One past the last number that has a slot. */
uint64_t replay_ring_window_end(struct replay_ring *ring);
/* Waits until the window ends beyond `end`. False when the time is over or the ring is closed. */
bool replay_ring_wait_window(struct replay_ring *ring, uint64_t end, uint64_t timeout_ms);
/* The batch that a part of `number` is written into; `number` must have a slot. The caller writes
 * its own range of snippets only, also of the batch's origins, where it has them. */
struct replay_batch *replay_ring_begin_part(struct replay_ring *ring, uint64_t number);
void replay_ring_end_part(struct replay_ring *ring, struct replay_batch *batch, uint32_t part,
                          uint64_t version);
/* Sampling has failed for good: replay_ring_next returns this error. Only the first one counts. */
void replay_ring_fail(struct replay_ring *ring, const struct err *error);
/* Wakes the threads in replay_ring_wait_window. */
void replay_ring_close(struct replay_ring *ring);

/* ---- For the thread that uses ---- */

/* The next batch in order, once all its parts have arrived. OK, TIMEOUT, or the error of
 * replay_ring_fail. */
status replay_ring_next(struct replay_ring *ring, struct replay_batch **batch, uint64_t timeout_ms,
                        struct err *err) MUST_CHECK;
void replay_ring_return(struct replay_ring *ring, struct replay_batch *batch);
uint64_t replay_ring_next_number(struct replay_ring *ring);

#endif
