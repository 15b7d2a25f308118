/* The limiter, checked from outside: its counters before a step and after it. */
#include <inttypes.h>
#include <string.h>

#include "tests/sim/ledger_private.h"
#include "tests/sim/server.h"
#include "tests/sim/verdict.h"

struct seen {
    uint32_t incarnation;
    struct limiter limiter;
    uint64_t transitions, removed, begun; /* of the table: there, removed, ever begun */
    uint64_t held;                        /* there, or on the way to the store */
    uint64_t next_chunk;
};

static struct seen seen[PLAN_SERVERS_MAX];

void ledger_rates_begin(void)
{
    memset(seen, 0, sizeof seen);
}

static double lead(const struct limiter *limiter)
{
    return ((double)limiter->counts.fresh_inserted - (double)limiter->origin.fresh_inserted -
            (double)limiter->settings.min_transitions) *
               limiter->settings.samples_per_insert -
           ((double)limiter->counts.sampled - (double)limiter->origin.sampled);
}

static void check_inserts(uint32_t server, const struct seen *before, const struct seen *now)
{
    const struct limiter_settings *set = &now->limiter.settings;
    /* What holds too little to be sampled from takes inserts whatever the rates say. */
    if (before->held < set->min_transitions) {
        return;
    }
    if (set->samples_per_insert > 0 &&
        now->limiter.counts.fresh_inserted > before->limiter.counts.fresh_inserted) {
        const uint32_t most_chunks = store_n_chunks(ledger.plan->T_max + 1, ledger.plan->W);
        const double more =
            (double)(now->limiter.counts.fresh_inserted - before->limiter.counts.fresh_inserted);
        /* Of one episode alone it is known where the lead was when it went in. One that has failed is
         * not counted as begun any more, but the numbers of its chunks are not given again. */
        const bool alone = now->begun == before->begun + 1 &&
                           now->next_chunk <= before->next_chunk + most_chunks &&
                           now->limiter.counts.sampled == before->limiter.counts.sampled;
        const double overshoot =
            set->samples_per_insert * (alone ? more : (double)ledger.plan->T_max);
        if (lead(&now->limiter) > set->tolerance + overshoot) {
            verdict_wrong("server %u: an insert went in at a lead of %g, above %g", server,
                          lead(&now->limiter) - overshoot, set->tolerance);
        }
    }
    const struct limiter_counts *from = &now->limiter.origin;
    if (now->limiter.counts.evicted > before->limiter.counts.evicted &&
        (double)(now->limiter.counts.sampled - from->sampled) <
            set->samples_per_eviction * (double)(now->limiter.counts.evicted - from->evicted)) {
        verdict_wrong("server %u: %" PRIu64 " transitions evicted after %" PRIu64
                      " sampled, at %g per eviction",
                      server, now->limiter.counts.evicted, now->limiter.counts.sampled,
                      set->samples_per_eviction);
    }
}

static void check_samples(uint32_t server, const struct served_table *table,
                          const struct seen *before, const struct seen *now)
{
    const struct limiter_settings *set = &now->limiter.settings;
    const bool sealed = table_sealed(table->table);
    if (now->limiter.counts.sampled <= before->limiter.counts.sampled || sealed) {
        return;
    }
    if (now->removed == before->removed && now->transitions < set->min_transitions) {
        verdict_wrong("server %u: sampled from %" PRIu64 " transitions, below %" PRIu64, server,
                      now->transitions, set->min_transitions);
    }
    const uint64_t batch = (uint64_t)ledger.plan->B * ledger.plan->N;
    const uint64_t hoarded = ledger.plan->hoarder ? plan_hoarder_snippets(ledger.plan) : 0;
    const double most = (double)(batch > hoarded ? batch : hoarded);
    /* An insert that failed after the draw takes its part of the lead back. */
    const bool cancelled =
        now->limiter.counts.fresh_inserted < before->limiter.counts.fresh_inserted;
    if (set->samples_per_insert > 0 && !cancelled && lead(&now->limiter) < -set->tolerance - most) {
        verdict_wrong("server %u: sampled to a lead of %g, more than one batch below %g", server,
                      lead(&now->limiter), -set->tolerance);
    }
}

void ledger_rates_look(uint32_t server, const struct service *service)
{
    const struct served_table *table = service->tables;
    if ((uint64_t)service->options.insert_buffer_bytes < service->insert_reserved) {
        verdict_wrong("server %u: %" PRIu64 " bytes promised to inserts, of %" PRId64, server,
                      service->insert_reserved, service->options.insert_buffer_bytes);
    }
    if (table == NULL) {
        return;
    }
    const struct table_counts *counts = table_counts(table->table);
    const struct seen now = {servers_incarnation(server),
                             table->limiter,
                             counts->transitions,
                             counts->episodes_removed,
                             counts->episodes_inserted + counts->pending_episodes,
                             counts->transitions + counts->pending_transitions,
                             service->next_chunk};
    if (seen[server].incarnation == now.incarnation) {
        check_inserts(server, &seen[server], &now);
        check_samples(server, table, &seen[server], &now);
    }
    seen[server] = now;
}
