/* Batches on their way, in a ring by number: filled part by part by one thread per server, used in
 * order by one other thread. slot = number % depth; numbers oldest .. oldest + depth - 1 have room,
 * `oldest` being the first that was not given back. */
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
};

status replay_ring_new(struct replay_ring **ring,
                       const struct replay_ring_settings *settings) MUST_CHECK;
void replay_ring_free(struct replay_ring *ring);

/* ---- Threads that fill ---- */

/* One past the last number that has room. */
uint64_t replay_ring_window_end(struct replay_ring *ring);
/* Waits until that is beyond `end`: false after the time, or after replay_ring_close. */
bool replay_ring_wait_window(struct replay_ring *ring, uint64_t end, uint64_t timeout_ms);
/* The batch into which a part of `number` goes; `number` has room. What is not this part's is
 * others'. */
struct replay_batch *replay_ring_begin_part(struct replay_ring *ring, uint64_t number,
                                            uint64_t **episode_id, double **probability);
void replay_ring_end_part(struct replay_ring *ring, struct replay_batch *batch, uint32_t part,
                          uint64_t version, bool prioritized);
/* No more will come; the first error counts. */
void replay_ring_fail(struct replay_ring *ring, const struct err *error);
/* Wakes those who wait for room. */
void replay_ring_close(struct replay_ring *ring);

/* ---- The thread that uses ---- */

/* The next batch in order, once all its parts are there. OK, TIMEOUT, or the error. */
status replay_ring_next(struct replay_ring *ring, struct replay_batch **batch, uint64_t timeout_ms,
                        struct err *err) MUST_CHECK;
void replay_ring_return(struct replay_ring *ring, struct replay_batch *batch);
uint64_t replay_ring_next_number(struct replay_ring *ring);

#endif
