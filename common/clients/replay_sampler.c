/* Sampling from several servers as if they were one.
 *
 * Opening waits until every server is reachable and has the table, then divides each batch among
 * the servers in proportion to their transitions. A thread per server (replay_share) fills its part
 * of the batches in a ring (replay_ring); this file hands complete batches to the caller. Tables
 * that grow are measured again now and then, and the shares are started anew when the proportions
 * have changed.
 *
 * Everything here runs on the caller's thread; what the threads of the shares need is in the
 * ring. */
#define LOG_MODULE "replay_sampler"
#include "common/clients/replay_sampler.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/clients/replay_ring.h"
#include "common/clients/replay_servers.h"
#include "common/clients/replay_share.h"

#define PREFETCH_DEFAULT 4u
/* Batches that the caller may hold at once without starving the ring. */
#define WITH_THE_CALLER 2u
#define RETRY_MS        100u
#define SLICE_MS        100u
#define REFRESH_NS      (10 * NS_PER_S)
#define AWAY_NS         (10 * NS_PER_S)
#define MESSAGE_SPARE   (2u << 20)

struct replay_sampler {
    struct replay_sampler_options options;
    char *table;
    struct signature signature;
    bool (*stopping)(void *arg);
    void *stopping_arg;
    struct replay_ring *ring;
    /* When the sizes were last asked for, or the shares started. */
    uint64_t refreshed_ns;
    uint32_t n_taken; /* batches with the caller */
    struct replay_servers servers;
    /* NULL: this server contributes nothing to our slice. */
    struct replay_share *shares[CONFIG_LIST_MAX];
};

/* Waits until all servers have the table, something fails for good, or the time is over. */
static status wait_for_servers(struct replay_sampler *sampler, struct signature *signature,
                               uint64_t timeout_ms, struct err *err)
{
    const uint64_t start_ns = clock_now_ns();
    for (;;) {
        /* The reason is kept apart: `err` is set only when waiting ends. */
        struct err why = {0};
        status s = replay_servers_ask(&sampler->servers, sampler->table,
                                      sampler->options.require_sealed, signature, &why);
        if (s == STATUS_OK) {
            return STATUS_OK;
        }
        if (sampler->stopping && sampler->stopping(sampler->stopping_arg)) {
            return err_set(err, STATUS_CLOSED, "stopping");
        }
        /* Absence is waited for, everything else is final. */
        const bool wait = s == STATUS_UNAVAILABLE || s == STATUS_NOT_FOUND || s == STATUS_TIMEOUT ||
                          s == STATUS_CLOSED;
        if (!wait || clock_now_ns() - start_ns > timeout_ms * NS_PER_MS) {
            return err_set(err, s, "%s", why.text);
        }
        clock_sleep_ms(RETRY_MS);
    }
}

/* ---- Shares ---- */

/* A server draws the range [from, from + dealt) of the global batch; we want our slice of it.
 * *begin, *count: the intersection, relative to `from`. */
static void slice_of(const struct replay_sampler *sampler, uint32_t from, uint32_t dealt,
                     uint32_t *begin, uint32_t *count)
{
    /* The two ranges, in numbers of the global batch. */
    const uint32_t want_begin = sampler->options.slice_begin;
    const uint32_t want_end = want_begin + sampler->options.slice_count;
    const uint32_t lo = from > want_begin ? from : want_begin;
    const uint32_t hi = from + dealt < want_end ? from + dealt : want_end;
    /* Where they do not meet, `count` is 0 and `begin` has no meaning. */
    *begin = lo - from;
    *count = hi > lo ? hi - lo : 0;
}

/* Joins the threads of all shares. Batches in the ring are lost; they can be drawn again. */
static void stop_shares(struct replay_sampler *sampler)
{
    /* The threads may wait for the ring; closing it wakes them. */
    if (sampler->ring) {
        replay_ring_close(sampler->ring);
    }
    for (size_t i = 0; i < sampler->servers.n; i++) {
        replay_share_close(sampler->shares[i]);
        sampler->shares[i] = NULL;
    }
    /* No thread uses the ring now. */
    replay_ring_free(sampler->ring);
    sampler->ring = NULL;
}

/* A new ring, and a thread for each server that has a part of our slice. After an error the caller
 * calls stop_shares. */
static status start_shares(struct replay_sampler *sampler, uint64_t first_batch, struct err *err)
{
    const struct replay_sampler_options *options = &sampler->options;
    uint32_t begin[CONFIG_LIST_MAX], count[CONFIG_LIST_MAX];
    /* Deep enough for the batches that are requested ahead and those that the caller holds. */
    struct replay_ring_settings ring = {.depth = options->prefetch_batches + WITH_THE_CALLER,
                                        .snippets = options->slice_count,
                                        .N = options->snippet_transitions,
                                        .W = signature_width(&sampler->signature),
                                        .first_batch = first_batch,
                                        .origins = options->origins};
    /* The ring needs the number of parts before the first share starts to fill it. */
    uint32_t from = 0;
    for (size_t i = 0; i < sampler->servers.n; i++) {
        slice_of(sampler, from, sampler->servers.at[i].dealt, &begin[i], &count[i]);
        from += sampler->servers.at[i].dealt;
        ring.n_parts += count[i] > 0;
    }
    status s = replay_ring_new(&sampler->ring, &ring);
    if (s != STATUS_OK) {
        return err_set(err, s, "%u batches of %u snippets", ring.depth, ring.snippets);
    }
    /* The parts lie in the batch in the order of the servers. */
    uint32_t at = 0;
    uint32_t part = 0;
    for (size_t i = 0; s == STATUS_OK && i < sampler->servers.n; i++) {
        if (count[i] == 0) {
            continue;
        }
        const struct replay_share_settings share = {.ring = sampler->ring,
                                                    .channel = sampler->servers.at[i].channel,
                                                    .signature = &sampler->signature,
                                                    .table = sampler->table,
                                                    .server = (uint32_t)i,
                                                    .part = part++,
                                                    .at = at,
                                                    .B = sampler->servers.at[i].dealt,
                                                    .begin = begin[i],
                                                    .count = count[i],
                                                    .N = options->snippet_transitions,
                                                    .seed = options->seed,
                                                    .require_sealed = options->require_sealed,
                                                    .in_order = options->in_order,
                                                    .origins = options->origins};
        s = replay_share_open(&sampler->shares[i], &share, err);
        at += count[i];
    }
    /* The sizes are those of now. */
    sampler->refreshed_ns = clock_now_ns();
    return s;
}

/* May batches be divided anew? Only with several servers whose tables are not all sealed, where the
 * draws are not reproducible anyway; and only while the caller holds no batch, since the ring is
 * replaced. */
static bool may_divide(const struct replay_sampler *sampler)
{
    return sampler->servers.n > 1 && !replay_servers_sealed(&sampler->servers) &&
           sampler->n_taken == 0;
}

/* The new ring begins with the batch that the caller expects next. */
static status divide(struct replay_sampler *sampler, struct err *err)
{
    const uint64_t next = replay_ring_next_number(sampler->ring);
    log_info("the sizes of the servers have changed; batches are divided anew batch=%" PRIu64,
             next);
    stop_shares(sampler);
    return start_shares(sampler, next, err);
}

/* Leaves out servers that have been away for long, unless all are. */
static status leave_out(struct replay_sampler *sampler, struct err *err)
{
    size_t n_there = 0, n_new = 0;
    bool gone[CONFIG_LIST_MAX];
    for (size_t i = 0; i < sampler->servers.n; i++) {
        const bool left_out = sampler->servers.at[i].left_out;
        gone[i] = !left_out && sampler->shares[i] != NULL &&
                  replay_share_away_ns(sampler->shares[i]) > AWAY_NS;
        n_new += gone[i];
        n_there += !gone[i] && !left_out;
    }
    if (n_new == 0 || n_there == 0 || !may_divide(sampler)) {
        return STATUS_OK;
    }
    for (size_t i = 0; i < sampler->servers.n; i++) {
        if (gone[i]) {
            sampler->servers.at[i].left_out = true;
            log_warn("%s has been away for %u s: batches are made without it until it is back",
                     rpc_channel_address(sampler->servers.at[i].channel),
                     (unsigned)(AWAY_NS / NS_PER_S));
        }
    }
    replay_servers_deal(&sampler->servers, sampler->options.batch_snippets);
    return divide(sampler, err);
}

/* Divides batches anew when the sizes of growing tables have changed by more than a twentieth of a
 * batch. */
static status refresh(struct replay_sampler *sampler, struct err *err)
{
    uint32_t before[CONFIG_LIST_MAX];
    if (!may_divide(sampler) || clock_now_ns() - sampler->refreshed_ns < REFRESH_NS) {
        return STATUS_OK;
    }
    sampler->refreshed_ns = clock_now_ns();
    replay_servers_measure(&sampler->servers, sampler->table);
    /* How many snippets of a batch would another server draw? */
    for (size_t i = 0; i < sampler->servers.n; i++) {
        before[i] = sampler->servers.at[i].dealt;
    }
    replay_servers_deal(&sampler->servers, sampler->options.batch_snippets);
    uint32_t moved = 0;
    for (size_t i = 0; i < sampler->servers.n; i++) {
        const uint32_t dealt = sampler->servers.at[i].dealt;
        moved += dealt > before[i] ? dealt - before[i] : 0;
    }
    /* Too few to lose the batches in the ring for. */
    if (20 * moved <= sampler->options.batch_snippets) {
        for (size_t i = 0; i < sampler->servers.n; i++) {
            sampler->servers.at[i].dealt = before[i];
        }
        return STATUS_OK;
    }
    return divide(sampler, err);
}

/* ---- The interface ---- */

/* Fills in defaults and checks the slice. */
static status check_options(struct replay_sampler_options *options, struct err *err)
{
    /* No slice means the whole batch, no number of batches the default. */
    if (options->slice_count == 0 && options->slice_begin == 0) {
        options->slice_count = options->batch_snippets;
    }
    options->prefetch_batches =
        options->prefetch_batches ? options->prefetch_batches : PREFETCH_DEFAULT;
    options->origins = options->origins || options->in_order;
    /* The sum slice_begin + slice_count might overflow, so it is not formed. */
    if (options->batch_snippets < 1 || options->snippet_transitions < 1 ||
        options->slice_count < 1 || options->slice_begin > options->batch_snippets ||
        options->slice_count > options->batch_snippets - options->slice_begin) {
        return err_set(err, STATUS_INVALID, "batch of %u snippets of %u transitions, slice %u + %u",
                       options->batch_snippets, options->snippet_transitions, options->slice_begin,
                       options->slice_count);
    }
    return STATUS_OK;
}

/* What one message may hold: one batch, or several up to 256 KiB. The width of a row is not known
 * yet, so the limit is that of the widest; and messages are bounded by 1 GiB, however large a batch
 * may be. */
static size_t message_bytes(const struct replay_sampler_options *options)
{
    const size_t most = (size_t)options->slice_count * (options->snippet_transitions + 1) *
                            SIGNATURE_ROW_MAX * sizeof(float) +
                        (size_t)options->slice_count * 32 + MESSAGE_SPARE;
    const size_t limit = (size_t)1 << 30;
    return most < limit ? most : limit;
}

status replay_sampler_open(struct replay_sampler **out, const struct experiment *experiment,
                           struct signature *signature,
                           const struct replay_sampler_options *options, uint64_t timeout_ms,
                           bool (*stopping)(void *arg), void *stopping_arg, struct err *err)
{
    struct replay_sampler *sampler = mem_new(sizeof *sampler);
    if (sampler == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "replay sampler");
    }
    /* The options are copied; the name of the table, too. */
    sampler->options = *options;
    sampler->stopping = stopping;
    sampler->stopping_arg = stopping_arg;
    sampler->table = mem_text(options->table ? options->table : "default");
    sampler->signature = *signature;
    status s = sampler->table ? check_options(&sampler->options, err)
                              : err_set(err, STATUS_NO_MEMORY, "replay sampler");
    if (s == STATUS_OK && options->in_order && experiment->replay.n != 1) {
        s = err_set(err, STATUS_INVALID, "%zu servers: in order there is one",
                    experiment->replay.n);
    }
    /* Channels, then servers, then shares: each needs what comes before it. */
    if (s == STATUS_OK) {
        s = replay_servers_open(&sampler->servers, experiment, message_bytes(&sampler->options),
                                err);
    }
    if (s == STATUS_OK) {
        s = wait_for_servers(sampler, &sampler->signature, timeout_ms, err);
    }
    if (s == STATUS_OK && options->origins) {
        s = replay_servers_check_prioritized(&sampler->servers, sampler->table, err);
    }
    if (s == STATUS_OK) {
        replay_servers_deal(&sampler->servers, sampler->options.batch_snippets);
        s = start_shares(sampler, options->first_batch, err);
    }
    /* Whatever was opened is closed again. */
    if (s != STATUS_OK) {
        replay_sampler_close(sampler);
        return s;
    }
    *signature = sampler->signature;
    *out = sampler;
    return STATUS_OK;
}

struct replay_sampler_table replay_sampler_table(const struct replay_sampler *sampler)
{
    struct replay_sampler_table table = {.sealed = true};
    for (size_t i = 0; i < sampler->servers.n; i++) {
        table.sealed = table.sealed && sampler->servers.at[i].sealed;
        table.episodes += sampler->servers.at[i].episodes;
        table.transitions += sampler->servers.at[i].transitions;
    }
    return table;
}

uint32_t replay_sampler_away(const struct replay_sampler *sampler)
{
    uint32_t n = 0;
    for (size_t i = 0; i < sampler->servers.n; i++) {
        n += sampler->servers.at[i].left_out ||
             (sampler->shares[i] && replay_share_away_ns(sampler->shares[i]) > 0);
    }
    return n;
}

/* Sets `err` to what the first server that waits is waiting for. */
static void describe_wait(struct replay_sampler *sampler, struct err *err)
{
    for (size_t i = 0; i < sampler->servers.n; i++) {
        char why[1024] = "";
        if (sampler->shares[i]) {
            replay_share_waits(sampler->shares[i], why, sizeof why);
        }
        if (why[0]) {
            err_set(err, STATUS_TIMEOUT, "%s", why);
            return;
        }
    }
}

status replay_sampler_next(struct replay_sampler *sampler, struct replay_batch **batch,
                           uint64_t timeout_ms, struct err *err)
{
    /* Between two batches is the only time when shares can be divided anew. */
    status s = refresh(sampler, err);
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t until_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    /* In slices, so that `stopping` is asked often enough. */
    struct err why;
    for (;;) {
        const uint64_t now_ns = clock_now_ns();
        /* Rounded up, so that a wait of less than a millisecond does not become a busy loop. */
        const uint64_t left_ms =
            until_ns > now_ns ? (until_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
        s = replay_ring_next(sampler->ring, batch, left_ms < SLICE_MS ? left_ms : SLICE_MS, &why);
        if (s == STATUS_OK) {
            sampler->n_taken++;
            return STATUS_OK;
        }
        /* An error of a share is final. */
        if (s != STATUS_TIMEOUT) {
            return err_set(err, s, "%s", why.text);
        }
        if (sampler->stopping && sampler->stopping(sampler->stopping_arg)) {
            return err_set(err, STATUS_CLOSED, "stopping");
        }
        s = leave_out(sampler, err);
        if (s != STATUS_OK) {
            return s;
        }
        /* The time is over: what does the server wait for? */
        if (left_ms <= SLICE_MS) {
            err_set(err, STATUS_TIMEOUT, "%s", why.text);
            describe_wait(sampler, err);
            return STATUS_TIMEOUT;
        }
    }
}

void replay_sampler_return(struct replay_sampler *sampler, struct replay_batch *batch)
{
    /* refresh must know when the ring is free. */
    ASSERT(sampler->n_taken > 0);
    sampler->n_taken--;
    replay_ring_return(sampler->ring, batch);
}

void replay_sampler_close(struct replay_sampler *sampler)
{
    /* The shares use the channels, so they end first. */
    if (sampler) {
        stop_shares(sampler);
        replay_servers_close(&sampler->servers);
        mem_free(sampler->table);
        mem_free(sampler);
    }
}
