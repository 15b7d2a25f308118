/* Who may go on, and who waits: the rates of one table.
 *
 * All is counted in transitions. A sampled snippet counts its n_valid transitions, an inserted
 * episode its T.
 *
 *   min_transitions       sampling waits until the table holds so many.
 *   samples_per_insert    (fresh episodes, from acting: online RL) keeps both sides together:
 *                             lead = fresh inserted x samples_per_insert - sampled - offset
 *                         where offset = min_transitions x samples_per_insert: what fills the table
 * first is not owed. A fresh insert waits while lead > tolerance, a sample while lead < -tolerance.
 *   samples_per_eviction  (restored episodes, from logs) an insert that must evict e transitions
 * waits until sampled >= samples_per_eviction x (evicted by restored inserts so far + e).
 *
 * Both comparisons look at what has happened, not at what is asked for, so one side overshoots by
 * at most one episode or one batch, and never do both sides wait: lead cannot be above +tolerance
 * and below -tolerance at once. A sealed table has no rates.
 *
 * Pure. One thread. Source: Reverb's rate limiter (Cassirer et al. 2021), in transitions rather
 * than items. */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_LIMITER_H
#define HINDCAST_REPLAY_SERVER_TABLE_LIMITER_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

struct limiter_settings {
    uint64_t min_transitions;
    double samples_per_insert;   /* 0: no such limit */
    double tolerance;            /* of samples_per_insert, in transitions sampled; >= 0 */
    double samples_per_eviction; /* 0: no such limit */
};

struct limiter {
    struct limiter_settings settings;
    uint64_t sampled;        /* transitions, since the table was made */
    uint64_t fresh_inserted; /* transitions of fresh episodes, likewise */
    uint64_t evicted;        /* transitions that restored inserts pushed out */
};

/* INVALID: negative or not finite. */
status limiter_check(const struct limiter_settings *settings, struct err *err) MUST_CHECK;

/* May a batch be drawn from a table that holds `resident` transitions? Where not, `why` (unless
 * NULL) says in a few words what is waited for. */
bool limiter_allow_sample(const struct limiter *limiter, uint64_t resident, bool sealed, char *why,
                          size_t why_size);
/* May an episode be inserted that pushes out `evict` transitions (0: none)? */
bool limiter_allow_insert(const struct limiter *limiter, bool restored, uint64_t evict, char *why,
                          size_t why_size);

void limiter_commit_sample(struct limiter *limiter, uint64_t transitions);
void limiter_commit_insert(struct limiter *limiter, bool restored, uint64_t transitions,
                           uint64_t evicted);
/* The insert that was counted did not come about. */
void limiter_cancel_insert(struct limiter *limiter, bool restored, uint64_t transitions);

#endif
