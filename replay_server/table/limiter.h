/* The rate limits of one table: who may go on, and who waits.
 *
 * All is counted in transitions: a sampled snippet counts its n_valid transitions, an inserted
 * episode its T. A limiter is a list of limits; a batch is drawn or an episode inserted when every
 * limit of the list allows it.
 *
 *   min_transitions       Sampling waits until the table holds so many.
 *
 *   samples_per_insert    Fresh episodes (from acting: online RL). Keeps both sides together:
 *
 *                             lead = (fresh inserted - min_transitions) x samples_per_insert
 *                                    - sampled
 *
 *                         both counted from the origin. The first min_transitions only fill the
 *                         table, hence the subtraction.
 *                         A fresh insert waits while lead > tolerance, a sample while
 *                         lead < -tolerance.
 *
 *   samples_per_eviction  Restored episodes (from logs). An insert that must evict e transitions
 *                         waits until
 *
 *                             sampled >= samples_per_eviction x (evicted so far + e)
 *
 *                         both counted from the origin; only evictions by restored inserts count.
 *
 * The origin of a new table is 0. Where a rate changes, it moves to where inserting and sampling
 * stand then: what happened under the old rate is not held against the new one.
 *
 * The comparisons look at what has happened and not at what is asked for, so either side overshoots
 * by at most one episode or one batch. Both sides never wait at once: lead cannot be above
 * +tolerance and below -tolerance. A sealed table has no limits.
 *
 * Another limit is one more row in the table of limiter.c and one more field of limiter_settings.
 *
 * Pure. One thread. Source: Reverb's rate limiter (Cassirer et al. 2021), in transitions rather
 * than items. */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_LIMITER_H
#define HINDCAST_REPLAY_SERVER_TABLE_LIMITER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define LIMITER_LIMITS_MAX 8u

struct limiter_settings {
    uint64_t min_transitions;
    double samples_per_insert;   /* 0: no such limit */
    double tolerance;            /* of samples_per_insert, in transitions sampled; >= 0 */
    double samples_per_eviction; /* 0: no such limit */
};

/* What has happened, in transitions. */
struct limiter_counts {
    uint64_t sampled;
    uint64_t fresh_inserted; /* of fresh episodes */
    uint64_t evicted;        /* that restored inserts pushed out */
};

struct limiter_kind; /* one kind of limit; limiter.c */

struct limiter {
    struct limiter_settings settings;
    const struct limiter_kind *limits[LIMITER_LIMITS_MAX]; /* those that the settings turn on */
    uint32_t n_limits;
    struct limiter_counts counts; /* since the table was made */
    struct limiter_counts origin; /* where the rates count from */
};

/* INVALID: negative or not finite. */
status limiter_check(const struct limiter_settings *settings, struct err *err) MUST_CHECK;

/* Makes the list of limits; nothing is counted yet. The settings have been checked. */
void limiter_init(struct limiter *limiter, const struct limiter_settings *settings);
/* From now on these settings hold. Where a rate is another than before, neither side is ahead of the
 * other now. */
void limiter_set(struct limiter *limiter, const struct limiter_settings *settings);
/* Counts from nothing, as for a table that was just made. */
void limiter_reset(struct limiter *limiter);

/* May a batch be drawn from a table that holds `resident` transitions? Where it may not, `why`
 * (unless NULL) gets the reason in a few words: "min_transitions: 99 of 100". */
bool limiter_allow_sample(const struct limiter *limiter, uint64_t resident, bool sealed, char *why,
                          size_t why_size);
/* May an episode be inserted that evicts `evict` transitions (0: none)? */
bool limiter_allow_insert(const struct limiter *limiter, bool restored, uint64_t evict, char *why,
                          size_t why_size);
/* Does a draw change what the next draw may do? Then batches are drawn one at a time. */
bool limiter_couples_samples(const struct limiter *limiter);

void limiter_commit_sample(struct limiter *limiter, uint64_t transitions);
void limiter_commit_insert(struct limiter *limiter, bool restored, uint64_t transitions,
                           uint64_t evicted);
/* An insert that was counted has failed. */
void limiter_cancel_insert(struct limiter *limiter, bool restored, uint64_t transitions);

#endif
