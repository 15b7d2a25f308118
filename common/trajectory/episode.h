/* An episode in memory: T transitions as T + 1 consecutive rows, and who it is.
 *
 * Row t (t < T) holds s_t, the action a_t taken in it, the rewards and the discount that this step
 * returned. Row T holds the last observation; its action, rewards and discount are 0 and never
 * read. The discount is 0 where the episode terminated and 1 otherwise; a time limit is not a
 * termination. */
#ifndef HINDCAST_TRAJECTORY_EPISODE_H
#define HINDCAST_TRAJECTORY_EPISODE_H

#include <stdint.h>

#include "common/trajectory/signature.h"

/* Canonical actions beyond [-1, 1] by no more than this are rounding errors of a float. */
#define EPISODE_ACTION_ROUNDING 1e-5f
#define EPISODE_TRANSITIONS_MAX 1000000u
/* Of rows in memory: what a hostile file can make us allocate. */
#define EPISODE_BYTES_MAX (1u << 30)

/* What makes an episode the same episode when it comes a second time.
 * Restored data: checksum of the shard, its number, number of the episode, digest of the
 * relabelling script. Fresh data: digest of the writer, 0, sequence, 0. */
struct episode_identity {
    uint64_t source; /* XXH64 of the shard's file, or the writer's digest */
    uint64_t shard;
    uint64_t episode;
    uint64_t relabel; /* 0: rewards as logged */
};

struct episode {
    struct episode_identity identity;
    uint32_t T; /* transitions, >= 1 */
    uint32_t W; /* row width */
    /* The log sets neither flag in the last row: nothing says how the episode ended. */
    bool open_end;
    float *rows;     /* (T + 1, W) */
    size_t capacity; /* rows there is room for */
};

int episode_identity_compare(const struct episode_identity *a, const struct episode_identity *b);

/* An empty episode of width W; grows as rows are added. */
void episode_init(struct episode *episode, uint32_t W);
void episode_fini(struct episode *episode);
void episode_clear(struct episode *episode);
/* Makes room for n rows in all. TOO_LONG beyond the two maxima above, NO_MEMORY; the episode is as
 * before then. */
status episode_reserve(struct episode *episode, size_t n_rows, struct err *err) MUST_CHECK;

/* While acting: begin with the first observation, then one call a step. Actions are canonical.
 * TOO_LONG at the maxima; the episode is as before then. */
status episode_begin(struct episode *episode, const struct signature *signature,
                     const float *observation, struct err *err) MUST_CHECK;
status episode_step(struct episode *episode, const struct signature *signature, const float *action,
                    const float *rewards, float discount, const float *next_observation,
                    struct err *err) MUST_CHECK;

/* Is it what its signature promises? T and W, every number finite, actions within [-1, 1] (a
 * float's rounding aside: |a| <= 1 + 1e-5 is clipped in place), discounts in [0, 1], 0 only in the
 * last transition. INVALID names row, part, value. */
status episode_check(struct episode *episode, const struct signature *signature,
                     struct err *err) MUST_CHECK;

/* XXH64 of the rows in use: equal for equal contents, whatever the identity. */
uint64_t episode_digest(const struct episode *episode);

/* Undiscounted sum of reward k over the episode. */
double episode_return(const struct episode *episode, const struct signature *signature, uint32_t k);

#endif
