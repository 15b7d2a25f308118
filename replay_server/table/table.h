/* A table's index: which episodes it holds, the draw of snippets from them, and the choice of the
 * episodes that are removed when it is full. Memory only; the rows are in the store.
 *
 * An episode goes through these states:
 *
 *     table_begin ---> pending --- table_commit ---> resident --- table_remove, table_use ---> gone
 *                         '------- table_cancel ---> gone
 *
 * A pending episode is on its way to the store: its identity is known, so that it is not taken
 * twice, but nothing is drawn from it. Resident episodes are in two selectors (selector.h): the
 * sampler, in which an episode weighs as much as it has transitions, and the remover.
 *
 * A sealed table sorts its episodes by identity and takes no more. Where its sampler is uniform or
 * prioritized, a draw from it is a pure function of (contents, priorities, seed, batch, i): it does
 * not depend on the order in which episodes arrived, nor on what was drawn before.
 *
 * Pure: no clock, no I/O, no threads. One thread at a time. docs/storage.md, "Tables". */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_TABLE_H
#define HINDCAST_REPLAY_SERVER_TABLE_TABLE_H

#include "common/trajectory/episode.h"
#include "replay_server/table/selector.h"

/* The noise purposes of draws ("draw") and of random removal ("evic"). */
#define TABLE_DRAW_PURPOSE  0x64726177u
#define TABLE_EVICT_PURPOSE 0x65766963u

/* The range of priorities. It keeps every sum of weights finite, and large beside the smallest
 * numbers that a double can tell from 0. */
#define TABLE_PRIORITY_MIN 1e-30
#define TABLE_PRIORITY_MAX 1e30

struct table;

/* How much the table may hold, and how much of it one client; 0: no limit. */
struct table_limits {
    uint64_t max_transitions, max_bytes, max_episodes;
    uint64_t max_client_bytes, max_client_episodes;
};

struct table_settings {
    enum selector_kind sampler;
    enum selector_kind remover;
    double priority_exponent; /* of a prioritized sampler or remover, 0 .. 1 */
    bool removes;             /* false: inserts into a full table are refused, .. */
    bool waits;               /* .. or, where it does not remove, wait for room */
    /* An episode of which so many snippets were drawn leaves the table; 0: none does. As long as the
     * table is not sealed. */
    uint32_t max_times_sampled;
    struct table_limits limits;
};

struct table_episode {
    struct episode_identity identity;
    uint64_t id;     /* the store's key of its first chunk; rises with insertion */
    uint64_t bytes;  /* on disk */
    double priority; /* TABLE_PRIORITY_MIN .. TABLE_PRIORITY_MAX */
    uint32_t n_rows; /* T + 1 */
    uint32_t client; /* who inserted it; 0: not known */
};

struct table_counts {
    /* What the table holds: */
    uint64_t episodes, transitions, bytes; /* of resident episodes */
    uint64_t pending_episodes, pending_transitions, pending_bytes;
    /* What has happened since the table was made; the store keeps these: */
    uint64_t episodes_inserted, transitions_inserted;
    uint64_t episodes_removed, transitions_removed;
    uint64_t episodes_duplicate, episodes_corrupt;
    uint64_t snippets_sampled;
};

/* NO_MEMORY. */
status table_new(struct table **table, const struct table_settings *settings) MUST_CHECK;
void table_free(struct table *table);
const struct table_settings *table_settings(const struct table *table);
/* From now on these limits hold. A table that is above them shrinks with the next insert. */
void table_set_limits(struct table *table, const struct table_limits *limits);
const struct table_counts *table_counts(const struct table *table);
/* Sets the second half of the counts to what the store has. At open. */
void table_set_history(struct table *table, const struct table_counts *history);
/* At open, after the history is set and all episodes are loaded: makes
 *
 *     episodes + episodes_removed + episodes_corrupt = episodes_inserted
 *
 * true again. A history is stored with the next job, whatever that is: at a crash it may count inserts
 * and removals that the store has not got. What the table holds is right. */
void table_settle_history(struct table *table);

/* Adds a pending episode. Ids must rise. EXISTS: an episode of that identity is resident or
 * pending; NO_MEMORY. */
status table_begin(struct table *table, const struct table_episode *episode) MUST_CHECK;
/* The pending episode is in the store: from now on it is drawn from. */
void table_commit(struct table *table, uint64_t id);
/* The pending episode did not get into the store. */
void table_cancel(struct table *table, uint64_t id);
/* begin and commit, for what the store had at open: not counted as inserted. */
status table_load(struct table *table, const struct table_episode *episode) MUST_CHECK;

/* Removes a resident episode; false where there is none of that id. Corrupt episodes are counted
 * separately from removed ones. */
bool table_remove(struct table *table, uint64_t id, bool corrupt);

/* The resident or pending episode of this identity or id; NULL where there is none. `pending` may
 * be NULL. Borrowed until the next change. */
const struct table_episode *table_find(const struct table *table,
                                       const struct episode_identity *identity, bool *pending);
const struct table_episode *table_get(const struct table *table, uint64_t id, bool *pending);
/* The resident episode that was inserted next after `episode` (NULL: the first of all), or next
 * before it (NULL: the last of all). NULL where there is none. Borrowed likewise. */
const struct table_episode *table_newer(const struct table *table,
                                        const struct table_episode *episode);
const struct table_episode *table_older(const struct table *table,
                                        const struct table_episode *episode);

/* Is this number in the range of priorities? False for NaN. */
bool table_priority_valid(double priority);
/* NOT_FOUND; INVALID: not in the range. */
status table_set_priority(struct table *table, uint64_t id, double priority) MUST_CHECK;
/* Is every transition equally likely to be drawn now? */
bool table_draws_evenly(const struct table *table);

/* ---- Eviction ---- */

/* What must be removed before an episode fits. */
struct eviction {
    uint64_t *ids; /* of the episodes to remove; mem_free; NULL where n is 0 */
    uint32_t n;
    uint64_t transitions; /* theirs */
};
/* Plans what the remover takes out so that an episode of T transitions and `bytes` fits. Changes
 * nothing: the caller removes the episodes once the limiter agrees, and until the table changes
 * gets the same plan again. RETRY: the episodes that would have to go are pending, or the table
 * waits for room. FULL: it never fits, or the table does not remove. NO_MEMORY. */
status table_plan_eviction(struct table *table, uint32_t T, uint64_t bytes,
                           struct eviction *eviction, struct err *err) MUST_CHECK;

/* May the client insert an episode of `bytes` once this plan is carried out? FULL: it would hold more
 * than one client may; RETRY: likewise, and the table waits for room. */
status table_check_client(const struct table *table, uint32_t client, uint64_t bytes,
                          const struct eviction *eviction, struct err *err) MUST_CHECK;
/* Who holds how many episodes, pending ones too: client i, in no order; false: there are no more.
 * `episodes` is above 0. */
bool table_client(const struct table *table, uint32_t i, uint32_t *client, uint64_t *episodes,
                  uint64_t *bytes);

/* ---- Sealing ---- */

/* Sorts the episodes by identity and drops the remover. No episode may be pending. NO_MEMORY leaves
 * the table as it was. Idempotent. */
status table_seal(struct table *table) MUST_CHECK;
bool table_sealed(const struct table *table);
/* Digest of what draws from a sealed table depend on: identities and lengths in order of identity,
 * and those priorities that the sampler uses and that are not 1. Never 0 for a sealed table, 0
 * otherwise. It changes when a corrupt episode is taken out, and with priorities. */
uint64_t table_version(const struct table *table);
/* The same without priorities: of what transitions in order depend on. */
uint64_t table_contents_version(const struct table *table);

/* ---- Drawing ---- */

struct table_draw {
    uint64_t id;
    double probability; /* of this start */
    uint32_t first_row; /* 0 .. T - 1 */
    uint32_t n_valid;   /* min(N, T - first_row) */
    uint32_t n_rows;    /* of the episode */
};
/* Snippet i of batch `batch`. The table must hold at least one transition. `attempt` is 0; a
 * snippet whose episode was removed between draw and read is drawn again with 1, 2, .. The random
 * number is noise_below(.., seed, batch, TABLE_DRAW_PURPOSE, i + attempt 2^32); selector_draw says
 * what is made of it. */
void table_draw(const struct table *table, uint64_t seed, uint64_t batch, uint32_t i,
                uint32_t attempt, uint32_t N, struct table_draw *draw);
/* The same for the snippet that starts at transition number `transition` mod all, counted over the
 * episodes of a sealed table in order of identity; its probability is 1. *place, zeroed before the
 * first call, is where the last one was found: a call for one of the next transitions begins there.
 */
struct table_place {
    uint64_t version; /* of the table's contents, 0: none yet */
    uint64_t before;  /* transitions before the episode in slot_i */
    uint32_t slot_i;
};
void table_draw_in_order(const struct table *table, uint64_t transition, uint32_t N,
                         struct table_place *place, struct table_draw *draw);
void table_count_sampled(struct table *table, uint64_t snippets);
/* How many snippets may be drawn before every episode has been drawn from max_times_sampled times;
 * UINT64_MAX: any number. */
uint64_t table_draws_left(const struct table *table);
/* A snippet was drawn from the resident episode `id`. True: it was the last one that
 * max_times_sampled allows, and the episode has been removed. */
bool table_use(struct table *table, uint64_t id);
/* How often the episode had been drawn from when the store was written, after table_load. One that
 * was used up, or is so under today's limit, keeps one draw. */
void table_set_times_sampled(struct table *table, uint64_t id, uint32_t times);
/* Episodes that were drawn from since they were taken here last, at most `max` of them, those that
 * have waited longest first, and how often they have been drawn from in all. Returns their number. */
struct table_times {
    uint64_t id;
    uint32_t times;
};
uint32_t table_take_times(struct table *table, struct table_times *times, uint32_t max);
/* How many there are to take, at most. */
uint32_t table_noted_times(const struct table *table);
/* The episode is to be taken once more: what was taken did not get into the store. */
void table_note_times(struct table *table, uint64_t id);
void table_count_duplicate(struct table *table);

/* For AUDIT and tests: sums, lists, maps and selectors agree. Slow. */
bool table_check(const struct table *table);

#endif
