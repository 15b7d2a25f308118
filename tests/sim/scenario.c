/* One simulation: a period with faults, then one without, by the end of which every client must be
 * done. */
#include "tests/sim/scenario.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "tests/lib/scratch.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/clients.h"
#include "tests/sim/fiber.h"
#include "tests/sim/ledger.h"
#include "tests/sim/plan.h"
#include "tests/sim/server.h"
#include "tests/sim/trace.h"
#include "tests/sim/verdict.h"

#define STEPS_MAX 20000000u
#define CALM_NS   (600 * NS_PER_S) /* without faults, in which every client must finish */
#define LOOK_NS   (100 * NS_PER_MS)

static struct plan *plan;
static unsigned n_kills;
static uint32_t n_operated[4];

static uint32_t any_server(void)
{
    return (uint32_t)chance_below(plan->n_servers);
}

static uint64_t away_ns(void)
{
    return chance_skewed(1, 5000) * NS_PER_MS;
}

static void inject_fault(void)
{
    switch (chance_below(12)) {
    case 0:
        n_kills++;
        servers_kill(any_server(), away_ns());
        break;
    case 1:
        servers_restart(any_server(), away_ns());
        break;
    case 2:
    case 3:
        clients_kill_one();
        break;
    case 4:
        clients_replace_writer();
        break;
    case 5:
        clients_restart_sampler();
        break;
    case 6:
        servers_fill(chance_in(2));
        break;
    case 7:
    case 8:
        network_stall_one(chance_skewed(1, 20000) * NS_PER_MS);
        break;
    default:
        network_cut_one();
        break;
    }
}

/* Prints the streams that wait at the servers, and what for. */
static void print_waits(void)
{
    const struct served_table *table;
    const char *who, *why;
    uint64_t since_ns;
    for (uint32_t i = 0; i < plan->n_servers; i++) {
        const struct service *service = servers_service(i);
        for (struct insert_stream *s = service ? service->insert_streams : NULL; s;
             s = insert_stream_next(s)) {
            if (insert_stream_waits(s, &table, &who, &why, &since_ns)) {
                printf("  server %u: insert of %s waits: %s\n", i, who, why);
            }
        }
        for (const struct sample_stream *s = service ? service->sample_streams : NULL; s;
             s = sample_stream_next(s)) {
            if (sample_stream_waits(s, &table, &who, &why, &since_ns)) {
                printf("  server %u: sample of %s waits: %s\n", i, who, why);
            }
        }
    }
}

static void *run(void *arg)
{
    (void)arg;
    const uint64_t calm_ns = agenda_now() + plan->trouble_ns;
    servers_open(plan);
    clients_open(plan);
    hostile_open(plan);
    operator_open(plan);
    while (agenda_now() < calm_ns && !clients_done()) {
        fiber_wait(NULL, agenda_now() + chance_between(1, 2 * plan->trouble_every_ns));
        inject_fault();
    }
    servers_fill(false);
    operator_calm();
    trace("no more faults");
    const uint64_t end_ns = agenda_now() + CALM_NS;
    while (!clients_done()) {
        if (agenda_now() > end_ns) {
            char text[800];
            clients_describe(text, sizeof text);
            print_waits();
            verdict_wrong("600 s without a fault, and not done:%s", text);
        }
        fiber_wait(NULL, agenda_now() + LOOK_NS);
    }
    ledger_look();
    hostile_close();
    clients_close();
    operator_close(n_operated);
    ledger_look();
    servers_close();
    return NULL;
}

void scenario_run(uint64_t seed, bool print_plan, struct scenario *scenario)
{
    chance_seed(seed);
    agenda_reset();
    network_reset();
    verdict_begin(seed);
    plan = mem_new(sizeof *plan);
    ASSERT(plan != NULL);
    plan_make(plan, seed);
    if (print_plan) {
        plan_print(plan);
    }
    n_kills = 0;
    memset(n_operated, 0, sizeof n_operated);
    network_set(plan->delay_ns_max, plan->window_bytes);
    ledger_begin(plan);
    const uint64_t start_ns = agenda_now();
    fiber_start("scenario", 0, run, NULL);
    struct fiber_run run;
    const char *wrong = fiber_run_all(&run, STEPS_MAX, ledger_step);
    if (wrong) {
        verdict_wrong("%s", wrong);
    }
    scenario->steps = run.steps;
    scenario->digest = run.digest;
    scenario->fake_ns = agenda_now() - start_ns;
    scenario->kills = n_kills;
    memcpy(scenario->operated, n_operated, sizeof n_operated);
    network_count(&scenario->network);
    ledger_look_at_stores();
    for (uint32_t i = 0; i < plan->n_servers; i++) {
        char path[256];
        servers_path(i, path, sizeof path);
        scratch_remove(path);
    }
    servers_free();
    fiber_reset();
    network_reset();
    mem_free(plan);
}
