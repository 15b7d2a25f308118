/* The order in which logs are read, and the position in it: a pure function of the shards, the
 * seed, and the restorer's index and count.
 *
 * Restorer `index` of `count` takes every count-th shard; where there are fewer shards than
 * restorers, every count-th episode of each. One time through its share is a pass. Each pass has
 * another order: shards shuffled by (seed, pass), episodes within a shard by (seed, pass, shard).
 * One file is open at a time, and a position is three integers.
 *
 * The replay server stores a position as a cursor with the last committed episode, and returns it
 * after a restart. Cursors of one plan compare (memcmp) as their positions do:
 *
 *      0  8  pass, big-endian              24  8  digest of the plan it belongs to
 *      8  8  shard: place in the pass      32  8  XXH64 of bytes 0..31
 *     16  8  episode: place in the shard */
#ifndef HINDCAST_RESTORER_PLAN_H
#define HINDCAST_RESTORER_PLAN_H

#include <stdint.h>

#include "common/base/status.h"

#define PLAN_CURSOR_SIZE 40u

struct plan;

struct plan_shard {
    uint64_t source;   /* identifies its contents (dataset.h) */
    uint64_t episodes; /* at most UINT32_MAX */
};

struct plan_settings {
    uint64_t seed;
    bool shuffle;
    uint32_t index, count;
};

/* The next episode to be read. Ordered by (pass, shard, episode). */
struct plan_position {
    uint64_t pass, shard, episode;
};

struct plan_step {
    bool pass_end;      /* no episode: a pass is over; the others are 0 */
    uint64_t shard_i;   /* index in the array given to plan_new */
    uint64_t episode_i; /* within the shard */
};

/* `shards` (n) are copied. A share may be empty. */
status plan_new(struct plan **plan, const struct plan_shard *shards, size_t n,
                const struct plan_settings *settings, struct err *err) MUST_CHECK;
void plan_free(struct plan *plan);

uint64_t plan_episodes(const struct plan *plan); /* of this share, in one pass */
uint64_t plan_shards(const struct plan *plan);

/* The next step; then the position is behind it. An empty share gives pass ends only. */
void plan_next(struct plan *plan, struct plan_step *step);
struct plan_position plan_position(const struct plan *plan);
uint64_t plan_done(const struct plan *plan); /* episodes of this pass before the position */
/* INVALID: there is no such position. */
status plan_seek(struct plan *plan, struct plan_position position, struct err *err) MUST_CHECK;
int plan_compare(struct plan_position a, struct plan_position b); /* -1, 0, 1 */

void plan_cursor(const struct plan *plan, struct plan_position position,
                 unsigned char cursor[PLAN_CURSOR_SIZE]);
/* CORRUPT: no cursor; MISMATCH: of another plan (other logs, seed, index or count). */
status plan_from_cursor(const struct plan *plan, const void *cursor, size_t size,
                        struct plan_position *position, struct err *err) MUST_CHECK;

#endif
