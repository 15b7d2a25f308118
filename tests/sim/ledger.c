/* What the clients have handed over and what was acknowledged to them. */
#include "tests/sim/ledger.h"

#include <string.h>
#include <xxhash.h>

#include "tests/sim/chance.h"
#include "tests/sim/ledger_private.h"
#include "tests/sim/server.h"
#include "tests/sim/verdict.h"

#define SOURCE_STALE 2000u /* + writer */
#define LOOK_EVERY   64u   /* steps */

struct ledger ledger;
static uint64_t steps;

void ledger_begin(const struct plan *plan)
{
    memset(&ledger, 0, sizeof ledger);
    ledger.plan = plan;
    steps = 0;
    ledger_rates_begin();
    ledger_batches_begin();
    ledger_operator_begin();
}

uint32_t ledger_server_of(const struct episode_identity *identity)
{
    return (uint32_t)(XXH3_64bits(identity, sizeof *identity) % ledger.plan->n_servers);
}

bool ledger_removes(void)
{
    const struct table_options *options = &ledger.plan->options.table;
    return options->max_episodes > 0 || options->max_transitions > 0 ||
           options->max_times_sampled > 0;
}

enum ledger_kind ledger_kind_of(const struct episode_identity *identity, uint32_t *writer)
{
    for (uint32_t w = 0; w < ledger.plan->n_writers; w++) {
        const struct ledger_writer *of = &ledger.writers[w];
        *writer = w;
        if (identity->source == SOURCE_STALE + w && identity->episode < of->n_stale) {
            return LEDGER_STALE;
        }
        const struct episode_identity mine =
            plan_identity(ledger.plan, w, (uint32_t)identity->episode);
        if (identity->episode < of->handed && episode_identity_compare(identity, &mine) == 0) {
            return LEDGER_EPISODE;
        }
    }
    return LEDGER_UNKNOWN;
}

/* ---- Writers ---- */

uint32_t ledger_opened(uint32_t w, uint32_t next)
{
    struct ledger_writer *writer = &ledger.writers[w];
    writer->n_opened++;
    /* Of several servers, the cursor is that of the one furthest behind. */
    const bool behind = next < writer->acknowledged && ledger.plan->n_servers == 1;
    if (behind || next > writer->handed) {
        verdict_wrong("writer %u: its cursor says that %u comes next; acknowledged are %u, handed "
                      "over %u",
                      w, next, writer->acknowledged, writer->handed);
    }
    writer->acknowledged = next > writer->acknowledged ? next : writer->acknowledged;
    for (uint32_t i = 0; i < ledger.plan->n_servers; i++) {
        writer->absorb[i] = true;
    }
    ledger_look();
    return writer->n_opened;
}

void ledger_handed(uint32_t w, uint32_t number)
{
    struct ledger_writer *writer = &ledger.writers[w];
    writer->handed = number + 1 > writer->handed ? number + 1 : writer->handed;
}

void ledger_acknowledged(uint32_t w, uint32_t next)
{
    struct ledger_writer *writer = &ledger.writers[w];
    if (next > writer->handed) {
        verdict_wrong("writer %u: %u are acknowledged, %u were handed over", w, next,
                      writer->handed);
    }
    writer->acknowledged = next > writer->acknowledged ? next : writer->acknowledged;
}

struct episode_identity ledger_stale(uint32_t w, uint32_t incarnation)
{
    struct ledger_writer *writer = &ledger.writers[w];
    ASSERT(writer->n_stale < STALE_MAX);
    writer->stale_incarnation[writer->n_stale] = incarnation;
    return (struct episode_identity){.source = SOURCE_STALE + w, .episode = writer->n_stale++};
}

void ledger_sealed(void)
{
    ledger.sealed = true;
}

bool ledger_is_sealed(void)
{
    return ledger.sealed;
}

/* ---- Looking ---- */

void ledger_look(void)
{
    for (uint32_t i = 0; i < ledger.plan->n_servers; i++) {
        struct service *service = servers_service(i);
        if (service) {
            ledger_look_at(i, service);
        }
    }
}

void ledger_step(void)
{
    for (uint32_t i = 0; i < ledger.plan->n_servers; i++) {
        const struct service *service = servers_service(i);
        if (service) {
            ledger_rates_look(i, service);
        }
    }
    if (++steps % LOOK_EVERY == 0) {
        ledger_look();
    }
}
