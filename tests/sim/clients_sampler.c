/* One incarnation of a sampler: takes batches in order, holds one or two at a time, and returns
 * them. The next incarnation starts at a batch that this one has had, as a learner does from its
 * checkpoint. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/clients/replay_sampler.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/clients_private.h"
#include "tests/sim/ledger.h"
#include "tests/sim/trace.h"
#include "tests/sim/verdict.h"

struct sampler_progress sampler_progress[PLAN_SAMPLERS_MAX];
static char waits[PLAN_SAMPLERS_MAX][160];

const char *sampler_waits(uint32_t sampler)
{
    return waits[sampler];
}

/* Where a rate couples both sides, sampling continues until the writers are done: they wait for it,
 * and once they are done nothing would let it continue. */
static bool is_done(const struct incarnation *incarnation)
{
    const struct table_options *options = &incarnation->plan->options.table;
    if (options->samples_per_insert > 0 || options->samples_per_eviction > 0 ||
        incarnation->plan->queue) {
        return clients_writers_done();
    }
    return sampler_progress[incarnation->client].delivered >= incarnation->plan->n_batches;
}

/* Half of those that sample by priorities are told where snippets come from. */
static bool wants_origins(const struct plan *plan)
{
    return plan->seed % 2 == 0 && strcmp(plan->options.table.sampler, "prioritized") == 0;
}

static status open_sampler(struct incarnation *incarnation, struct replay_sampler **sampler,
                           uint64_t first, struct err *err)
{
    struct signature signature = incarnation->plan->signature;
    if (chance_in(2)) {
        signature = (struct signature){0}; /* the server's */
    }
    const struct replay_sampler_options options = {
        .batch_snippets = incarnation->plan->B,
        .snippet_transitions = incarnation->plan->N,
        .seed = incarnation->plan->seed,
        .first_batch = first,
        .require_sealed = incarnation->plan->require_sealed,
        .origins = wants_origins(incarnation->plan),
        .prefetch_batches = (uint32_t)chance_between(0, 6),
    };
    return replay_sampler_open(sampler, &incarnation->plan->experiment, &signature, &options,
                               chance_skewed(100, 120000), incarnation_stopping, incarnation, err);
}

static void look_at(const struct incarnation *incarnation, const struct replay_batch *batch,
                    uint64_t number)
{
    if (batch->number != number) {
        verdict_wrong("sampler %u: batch %" PRIu64 " comes, %" PRIu64 " was to come",
                      incarnation->client, batch->number, number);
    }
    if (incarnation->plan->require_sealed && batch->table_version == 0) {
        verdict_wrong("sampler %u: batch %" PRIu64 " is of a table that is not sealed",
                      incarnation->client, number);
    }
    /* Where nobody sets priorities draws are even. */
    for (uint32_t i = 0; wants_origins(incarnation->plan) && i < batch->snippets; i++) {
        const double ratio = batch->origins->ratio[i];
        const double least = incarnation->plan->priorities ? 0 : 1 - 1e-9;
        const double most = incarnation->plan->priorities ? HUGE_VAL : 1 + 1e-9;
        if (!(ratio > least && ratio < most) || batch->origins->episode_id[i] == 0) {
            verdict_wrong("sampler %u: batch %" PRIu64 ", snippet %u of episode %" PRIu64
                          " is %g times as likely as in an even draw",
                          incarnation->client, number, i, batch->origins->episode_id[i], ratio);
        }
    }
    ledger_batch(batch, incarnation->plan->seed);
}

/* number: of the first batch that comes. */
static status sample(struct incarnation *incarnation, struct replay_sampler *sampler,
                     uint64_t number, struct err *err)
{
    struct sampler_progress *progress = &sampler_progress[incarnation->client];
    struct replay_batch *held[2];
    uint32_t n_held = 0;
    status s = STATUS_OK;
    while (!incarnation->stopping && !is_done(incarnation)) {
        struct replay_batch *batch;
        s = replay_sampler_next(sampler, &batch, chance_skewed(1, 5000), err);
        if (s == STATUS_TIMEOUT) {
            snprintf(waits[incarnation->client], sizeof waits[0], "%.150s", err->text);
            continue;
        }
        if (s != STATUS_OK) {
            break;
        }
        look_at(incarnation, batch, number);
        number++;
        progress->delivered = number > progress->delivered ? number : progress->delivered;
        if (chance_in(8)) { /* a checkpoint */
            progress->next = number;
        }
        held[n_held++] = batch;
        while (n_held > 0 && (n_held == 2 || chance_in(2))) {
            replay_sampler_return(sampler, held[0]);
            held[0] = held[1];
            n_held--;
        }
        if (chance_in(6)) {
            fiber_wait(NULL, agenda_now() + chance_below(4 * incarnation->plan->pause_ns));
        }
    }
    while (n_held > 0) {
        replay_sampler_return(sampler, held[--n_held]);
    }
    return s == STATUS_TIMEOUT ? STATUS_OK : s;
}

void *sampler_run(void *arg)
{
    struct incarnation *incarnation = arg;
    fiber_wait(NULL, agenda_now() + chance_skewed(1, 1000) * NS_PER_MS);
    while (!incarnation->stopping && !is_done(incarnation)) {
        struct replay_sampler *sampler = NULL;
        struct err err = {0};
        /* Read once: the life before this one may still be stopping, and make a checkpoint meanwhile. */
        const uint64_t first = sampler_progress[incarnation->client].next;
        status s = open_sampler(incarnation, &sampler, first, &err);
        if (s == STATUS_OK) {
            s = sample(incarnation, sampler, first, &err);
        }
        if (s != STATUS_OK) {
            snprintf(waits[incarnation->client], sizeof waits[0], "%.150s", err.text);
            trace("sampler %u: %s", incarnation->client, err.text);
            if (s != STATUS_UNAVAILABLE && s != STATUS_NOT_FOUND && s != STATUS_TIMEOUT &&
                s != STATUS_CLOSED) {
                verdict_wrong("sampler %u is refused: %s", incarnation->client, err.text);
            }
        }
        replay_sampler_close(sampler);
    }
    incarnation->over = is_done(incarnation);
    return NULL;
}
