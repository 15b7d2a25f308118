/* A table's index: which episodes are there, and the draw of snippets from them. Memory only; the
 * rows are in the store.
 *
 * Episodes stand in slots over which a sum tree adds up   weight = transitions x priority.   With
 * all priorities 1 a draw is uniform over transitions: every transition of every episode is equally
 * likely to be a start.
 *
 * A sealed table orders its slots by identity and takes no more. A draw from it is then a pure
 * function of (contents, seed, batch, i): it does not depend on the order in which episodes
 * arrived, nor on what was drawn before.
 *
 * Pure: no clock, no I/O, no threads. One thread at a time. docs/storage.md, "Tables". */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_TABLE_H
#define HINDCAST_REPLAY_SERVER_TABLE_TABLE_H

#include "common/trajectory/episode.h"

/* noise_below's purpose of all draws: "draw". */
#define TABLE_DRAW_PURPOSE 0x64726177u

struct table;

struct table_episode {
    struct episode_identity identity;
    uint64_t id;     /* the store's key of its first chunk; rising with insertion */
    uint64_t bytes;  /* on disk */
    double priority; /* > 0 */
    uint32_t n_rows; /* T + 1 */
    uint32_t n_chunks;
    bool restored; /* from logs; false: fresh from acting */
};

/* What is there, and what has been since the table was made (the second half is kept in the store).
 */
struct table_counts {
    uint64_t episodes, transitions, bytes; /* committed ones only */
    uint64_t pending_episodes, pending_transitions, pending_bytes;
    uint64_t episodes_inserted, transitions_inserted;
    uint64_t episodes_removed, transitions_removed;
    uint64_t episodes_duplicate, episodes_corrupt;
    uint64_t snippets_sampled;
};

status table_new(struct table **table) MUST_CHECK;
void table_free(struct table *table);
const struct table_counts *table_counts(const struct table *table);
/* The second half, as the store had it: at open. */
void table_set_history(struct table *table, const struct table_counts *history);

/* Takes in an episode that is on its way to the store: known by identity and counted as pending,
 * not drawn from. Ids must rise. EXISTS: that identity is here (or pending); NO_MEMORY. */
status table_begin(struct table *table, const struct table_episode *episode) MUST_CHECK;
/* The pending episode is in the store: from now on it is drawn from. */
void table_commit(struct table *table, uint64_t id);
/* The pending episode did not get into the store. */
void table_cancel(struct table *table, uint64_t id);
/* begin and commit, for what the store had at open: not counted as inserted. */
status table_load(struct table *table, const struct table_episode *episode) MUST_CHECK;

/* Takes a committed episode out. False: it is not there. Corrupt ones are counted apart from
 * removed ones. */
bool table_remove(struct table *table, uint64_t id, bool corrupt);

/* The resident or pending episode of this identity; *pending may be NULL. Borrowed until the next
 * change. NULL: none. */
const struct table_episode *table_find(const struct table *table,
                                       const struct episode_identity *identity, bool *pending);
const struct table_episode *table_get(const struct table *table, uint64_t id, bool *pending);
/* The committed episode that was inserted first after `episode` (NULL: first of all), or last
 * before it. NULL: none. Borrowed likewise. */
const struct table_episode *table_newer(const struct table *table,
                                        const struct table_episode *episode);
const struct table_episode *table_older(const struct table *table,
                                        const struct table_episode *episode);

/* NOT_FOUND; INVALID unless finite and > 0. */
status table_set_priority(struct table *table, uint64_t id, double priority) MUST_CHECK;
/* Has any resident episode a priority other than 1? */
bool table_prioritized(const struct table *table);

/* No episode may be pending. Sorts by identity. NO_MEMORY leaves the table as it was. Idempotent.
 */
status table_seal(struct table *table) MUST_CHECK;
bool table_sealed(const struct table *table);
/* Digest of identities and lengths in order of identity; never 0 for a sealed table, 0 otherwise.
 * Changes when a corrupt episode is taken out of a sealed table. */
uint64_t table_version(const struct table *table);

struct table_draw {
    uint64_t id;
    double probability; /* of this start: priority / sum of all weights */
    uint32_t first_row; /* 0 .. T - 1 */
    uint32_t n_valid;   /* min(N, T - first_row) */
    uint32_t n_rows;    /* of the episode */
};
/* Snippet i of batch `batch`. The table must hold at least one transition. `attempt` is 0; a
 * snippet whose episode went away between draw and read is drawn again with 1, 2, .. x =
 * noise_below(sum of transitions, seed, batch, purpose, i + attempt 2^32);  the transition number x
 * in order of slots (where priorities differ, x is uniform over the weights' sum instead, with 53
 * bits). */
void table_draw(const struct table *table, uint64_t seed, uint64_t batch, uint32_t i,
                uint32_t attempt, uint32_t N, struct table_draw *draw);
void table_count_sampled(struct table *table, uint64_t snippets);
void table_count_duplicate(struct table *table);

/* For AUDIT and tests: sums, lists and maps agree. Slow. */
bool table_check(const struct table *table);

#endif
