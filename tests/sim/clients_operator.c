/* Whoever operates the servers while they serve: sets priorities, changes limits and rates, deletes
 * episodes, compacts stores. Which of it a seed has is the plan's; faults disturb these calls like any
 * other. One call at a time, so that the ledger knows what may have happened. */
#include <stdio.h>
#include <string.h>

#include "common/rpc/client.h"
#include "proto/replay.pb-c.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/clients.h"
#include "tests/sim/fiber.h"
#include "tests/sim/ledger.h"
#include "tests/sim/server.h"
#include "tests/sim/trace.h"
#include "tests/sim/verdict.h"

#define OPERATOR_HOST (CLIENTS_FIRST_HOST + 510)
#define CALL_MS       5000u

static const struct plan *plan;
static bool stopping, calm;
static struct fiber *fiber;
static struct rpc_channel *channels[PLAN_SERVERS_MAX];
static uint32_t n_done[4];

static void pause_for(uint64_t ns)
{
    const uint64_t until_ns = agenda_now() + ns;
    while (!stopping && agenda_now() < until_ns) {
        fiber_wait(NULL, agenda_now() + NS_PER_S / 5);
    }
}

/* What a fault, or another call, explains. */
static bool expected(status s)
{
    return s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT || s == STATUS_CLOSED ||
           s == STATUS_RETRY || s == STATUS_FULL || s == STATUS_NOT_FOUND || s == STATUS_MISMATCH;
}

static status call(uint32_t server, const char *method, const ProtobufCMessage *request,
                   struct rpc_message *response)
{
    const struct rpc_call_options options = {.timeout_ms = CALL_MS};
    struct err err = {0};
    const status s = rpc_unary(channels[server], &hindcast__replay__descriptor, method, request,
                               NULL, &options, response, &err);
    trace("operator: %s at server %u: %s", method, server, s == STATUS_OK ? "ok" : err.text);
    if (s != STATUS_OK && !expected(s)) {
        verdict_wrong("operator: %s at server %u: %s", method, server, err.text);
    }
    return s;
}

/* An episode that is resident at this moment; false: none. */
static bool choose_episode(uint32_t server, struct table_episode *chosen)
{
    const struct service *service = servers_service(server);
    uint64_t n = 0;
    for (const struct served_table *t = service ? service->tables : NULL; t; t = t->next) {
        for (const struct table_episode *e = table_newer(t->table, NULL); e;
             e = table_newer(t->table, e)) {
            if (chance_in(++n)) {
                *chosen = *e;
            }
        }
    }
    return n > 0;
}

/* Powers of two: sums of them are exact, so that the referee has the server's own numbers. */
static void set_priority(uint32_t server)
{
    struct table_episode episode;
    if (!choose_episode(server, &episode)) {
        return;
    }
    double priority = (double)(1u << chance_below(5)) / 4;
    uint64_t id = episode.id;
    Hindcast__UpdatePrioritiesRequest request = HINDCAST__UPDATE_PRIORITIES_REQUEST__INIT;
    request.n_episode_id = request.n_priority = 1;
    request.episode_id = &id;
    request.priority = &priority;
    struct rpc_message response;
    ledger_priority_sent(&episode.identity, priority);
    if (call(server, "UpdatePriorities", &request.base, &response) == STATUS_OK) {
        ledger_priority_stored(&episode.identity, priority);
        rpc_message_free(&response);
        n_done[0]++;
    }
    ledger_look();
}

/* Rates and limits on which no client gets stuck; a limit that falls holds from the next insert on,
 * which the ledger would have to know. */
static void set_table(uint32_t server)
{
    const struct table_options *options = &plan->options.table;
    char value[32];
    Hindcast__Setting setting = HINDCAST__SETTING__INIT;
    Hindcast__Setting *settings = &setting;
    setting.value = value;
    const uint64_t more = chance_between(0, PLAN_MORE_EPISODES);
    if (options->samples_per_insert > 0) {
        setting.name = (char *)"samples_per_insert";
        snprintf(value, sizeof value, "%g", (double)chance_between(1, 64) / 4);
    } else if (options->samples_per_eviction > 0) {
        setting.name = (char *)"samples_per_eviction";
        snprintf(value, sizeof value, "%g", (double)chance_between(1, 32) / 4);
    } else if (options->max_episodes > 0) {
        setting.name = (char *)"max_episodes";
        snprintf(value, sizeof value, "%u", (unsigned)((uint64_t)options->max_episodes + more));
    } else {
        setting.name = (char *)"min_transitions";
        snprintf(value, sizeof value, "%u",
                 (unsigned)chance_between(1, (uint64_t)options->min_transitions));
    }
    /* A limit of the plan is the least that was ever set: it may fall back to no less. */
    const struct service *service = servers_service(server);
    if (strcmp(setting.name, "max_episodes") == 0 && service && service->tables &&
        table_settings(service->tables->table)->limits.max_episodes >
            (uint64_t)options->max_episodes + more) {
        return;
    }
    Hindcast__SetTableRequest request = HINDCAST__SET_TABLE_REQUEST__INIT;
    request.n_settings = 1;
    request.settings = &settings;
    struct rpc_message response;
    if (call(server, "SetTable", &request.base, &response) == STATUS_OK) {
        rpc_message_free(&response);
        n_done[1]++;
    }
}

/* Not the last ones: samplers would wait for ever once the writers are done. */
static void delete_episode(uint32_t server)
{
    struct table_episode episode;
    const struct service *service = servers_service(server);
    if (calm || !choose_episode(server, &episode) ||
        table_counts(service->tables->table)->episodes < 3) {
        return;
    }
    uint64_t id = episode.id;
    Hindcast__DeleteRequest request = HINDCAST__DELETE_REQUEST__INIT;
    request.n_episode_id = 1;
    request.episode_id = &id;
    request.reset = chance_in(2); /* never the case: something is left */
    struct rpc_message response;
    ledger_delete_sent(&episode.identity);
    if (call(server, "Delete", &request.base, &response) == STATUS_OK) {
        const Hindcast__DeleteResponse *answer = (const Hindcast__DeleteResponse *)response.body;
        if (answer->deleted + answer->absent != 1) {
            verdict_wrong("operator: %u deleted, %u absent, of one", answer->deleted,
                          answer->absent);
        }
        rpc_message_free(&response);
        n_done[2]++;
    }
    ledger_look();
}

static void compact(uint32_t server)
{
    Hindcast__CompactRequest request = HINDCAST__COMPACT_REQUEST__INIT;
    struct rpc_message response;
    if (call(server, "Compact", &request.base, &response) == STATUS_OK) {
        rpc_message_free(&response);
        n_done[3]++;
    }
    ledger_look();
}

static void *operate(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < plan->n_servers; i++) {
        struct err err;
        status s = rpc_channel_open(&channels[i], plan->experiment.replay.items[i], NULL, &err);
        ASSERT(s == STATUS_OK);
    }
    while (!stopping) {
        const uint32_t server = (uint32_t)chance_below(plan->n_servers);
        const uint64_t what = chance_below(8);
        if (plan->priorities && what < 4) {
            set_priority(server);
        } else if (plan->sets && what == 4) {
            set_table(server);
        } else if (plan->deletes && what == 5) {
            delete_episode(server);
        } else if (plan->compacts && what > 5) {
            compact(server);
        }
        pause_for(chance_skewed(1, 2000) * NS_PER_MS);
    }
    for (uint32_t i = 0; i < plan->n_servers; i++) {
        rpc_channel_close(channels[i]);
    }
    return NULL;
}

void operator_open(const struct plan *of)
{
    plan = of;
    stopping = calm = false;
    memset(n_done, 0, sizeof n_done);
    fiber = NULL;
    if (plan->priorities || plan->sets || plan->deletes || plan->compacts) {
        fiber = fiber_start("operator", OPERATOR_HOST, operate, NULL);
    }
}

void operator_calm(void)
{
    calm = true;
}

void operator_close(uint32_t counts[4])
{
    stopping = true;
    if (fiber) {
        fiber_join(fiber, NULL);
    }
    memcpy(counts, n_done, sizeof n_done);
}
