/* Sampling batches of snippets: a background thread per replay server keeps a few batches ready, so
 * that the learner never waits for the network. Batches come in order of their number, also after a
 * reconnect.
 *
 * With several servers each batch consists of one share per server, in server order and in
 * proportion to their transitions (refreshed from Info). While one of them is away, sealed tables
 * are waited for; batches of others are made without it after 10 s, until it is back. */
#ifndef HINDCAST_CLIENTS_REPLAY_SAMPLER_H
#define HINDCAST_CLIENTS_REPLAY_SAMPLER_H

#include "common/base/experiment.h"
#include "common/trajectory/signature.h"

struct replay_sampler;

struct replay_sampler_options {
    const char *table;            /* NULL: "default" */
    uint32_t batch_snippets;      /* B, of the global batch */
    uint32_t snippet_transitions; /* N */
    uint64_t seed;
    uint64_t first_batch;
    uint32_t slice_begin, slice_count; /* this rank's share; 0, 0: all */
    bool require_sealed;
    /* No draws: snippet i of batch b starts at transition b B + i mod all of a sealed table, counted
     * over its episodes in order of identity. One server. Implies `origins`. */
    bool in_order;
    /* Batches say where their snippets come from. MISMATCH where a table's sampler is not
     * `prioritized`. */
    bool origins;
    uint32_t prefetch_batches; /* 0: 4 */
};

/* Where the snippets of a batch come from. */
struct replay_origins {
    uint64_t *episode_id; /* (snippets) of its server's table */
    uint32_t *first_row;  /* (snippets) where in the episode it starts */
    uint32_t *server;     /* (snippets) which of experiment.replay it came from */
    /* (snippets) probability of this start over that in an even draw from the same table: 1 where
     * draws are even, 0.5 for a start that comes half as often. No meaning with in_order. */
    double *ratio;
};

/* One batch. Rows are 64-byte aligned. */
struct replay_batch {
    uint64_t number;
    uint64_t table_version; /* 0: not sealed */
    uint32_t snippets;      /* B, or slice_count */
    float *rows;            /* (snippets, N + 1, W) */
    uint32_t *n_valid;      /* (snippets) */
    /* NULL unless `origins` or `in_order` was set. */
    const struct replay_origins *origins;
};

/* Learns the table's signature from the server when `signature` has A == 0 on entry (then it is
 * filled in), else asks for it. Waits up to `timeout_ms` for server and table; UNAVAILABLE or
 * NOT_FOUND say what was missing. `stopping` as in replay_writer. */
status replay_sampler_open(struct replay_sampler **sampler, const struct experiment *experiment,
                           struct signature *signature,
                           const struct replay_sampler_options *options, uint64_t timeout_ms,
                           bool (*stopping)(void *arg), void *stopping_arg,
                           struct err *err) MUST_CHECK;

/* What the table had when the sampler was opened, on all servers together. */
struct replay_sampler_table {
    bool sealed; /* on every server */
    uint64_t episodes, transitions;
};
struct replay_sampler_table replay_sampler_table(const struct replay_sampler *sampler);

/* How many of the servers cannot be reached now. */
uint32_t replay_sampler_away(const struct replay_sampler *sampler);

/* The next batch; return it with replay_sampler_return, which makes its buffer available again. OK;
 * TIMEOUT: none yet, and `err` says what is being waited for; MISMATCH and others are final. */
status replay_sampler_next(struct replay_sampler *sampler, struct replay_batch **batch,
                           uint64_t timeout_ms, struct err *err) MUST_CHECK;
void replay_sampler_return(struct replay_sampler *sampler, struct replay_batch *batch);

void replay_sampler_close(struct replay_sampler *sampler);

#endif
