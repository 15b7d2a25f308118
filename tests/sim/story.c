/* Trouble for a while, then peace: by its end all must have come to what they wanted. */
#include "tests/sim/story.h"

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
#define PEACE_NS  (600 * NS_PER_S) /* of fake time that all have to finish in */
#define LOOK_NS   (100 * NS_PER_MS)

static struct plan *plan;
static unsigned n_kills;

static uint32_t any_server(void)
{
    return (uint32_t)chance_below(plan->n_servers);
}

static uint64_t away_ns(void)
{
    return chance_skewed(1, 5000) * NS_PER_MS;
}

static void make_trouble(void)
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

/* What the servers say that streams wait for. */
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

static void *tell(void *arg)
{
    (void)arg;
    const uint64_t peace_ns = agenda_now() + plan->trouble_ns;
    servers_open(plan);
    clients_open(plan);
    hostile_open(plan);
    while (agenda_now() < peace_ns && !clients_done()) {
        fiber_wait(NULL, agenda_now() + chance_between(1, 2 * plan->trouble_every_ns));
        make_trouble();
    }
    servers_fill(false);
    trace("peace");
    const uint64_t end_ns = agenda_now() + PEACE_NS;
    while (!clients_done()) {
        if (agenda_now() > end_ns) {
            char text[800];
            clients_describe(text, sizeof text);
            print_waits();
            verdict_wrong("nothing goes wrong any more, and still are not done:%s", text);
        }
        fiber_wait(NULL, agenda_now() + LOOK_NS);
    }
    ledger_look();
    hostile_close();
    clients_close();
    ledger_look();
    servers_close();
    return NULL;
}

void story_run(uint64_t seed, bool print_plan, struct story *story)
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
    network_set(plan->delay_ns_max, plan->window_bytes);
    ledger_begin(plan);
    const uint64_t start_ns = agenda_now();
    fiber_start("story", 0, tell, NULL);
    struct fiber_run run;
    const char *wrong = fiber_run_all(&run, STEPS_MAX, ledger_step);
    if (wrong) {
        verdict_wrong("%s", wrong);
    }
    story->steps = run.steps;
    story->digest = run.digest;
    story->fake_ns = agenda_now() - start_ns;
    story->kills = n_kills;
    network_count(&story->network);
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
