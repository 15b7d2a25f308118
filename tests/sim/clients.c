/* The processes of writers and samplers: starting, killing and replacing them. What a process does
 * is in clients_writer.c and clients_sampler.c. */
#include "tests/sim/clients.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/clients_private.h"
#include "tests/sim/network.h"
#include "tests/sim/trace.h"

#define INCARNATIONS_MAX 400u
#define N_CLIENTS        (PLAN_WRITERS_MAX + PLAN_SAMPLERS_MAX)

static const struct plan *plan;
static struct incarnation *all[INCARNATIONS_MAX];
static uint32_t n_all;
static struct incarnation *latest[N_CLIENTS]; /* writers, then samplers */

bool incarnation_stopping(void *incarnation)
{
    return ((struct incarnation *)incarnation)->stopping;
}

static bool is_writer(uint32_t i)
{
    return i < PLAN_WRITERS_MAX;
}

static void begin(uint32_t i)
{
    ASSERT(n_all < INCARNATIONS_MAX);
    struct incarnation *incarnation = mem_new(sizeof *incarnation);
    ASSERT(incarnation != NULL);
    incarnation->plan = plan;
    incarnation->client = is_writer(i) ? i : i - PLAN_WRITERS_MAX;
    incarnation->host = CLIENTS_FIRST_HOST + (int)n_all;
    all[n_all++] = incarnation;
    latest[i] = incarnation;
    incarnation->fiber = fiber_start(is_writer(i) ? "writer" : "sampler", incarnation->host,
                                     is_writer(i) ? writer_run : sampler_run, incarnation);
}

void clients_open(const struct plan *of)
{
    plan = of;
    n_all = 0;
    memset(latest, 0, sizeof latest);
    memset(sampler_progress, 0, sizeof sampler_progress);
    for (uint32_t i = 0; i < plan->n_writers; i++) {
        begin(i);
    }
    for (uint32_t i = 0; i < plan->n_samplers; i++) {
        begin(PLAN_WRITERS_MAX + i);
    }
}

/* One that still has something to do; N_CLIENTS: none. */
static uint32_t choose(uint32_t from, uint32_t to)
{
    uint32_t chosen = N_CLIENTS;
    unsigned n = 0;
    for (uint32_t i = from; i < to; i++) {
        if (latest[i] && !latest[i]->over && chance_in(++n)) {
            chosen = i;
        }
    }
    return n_all < INCARNATIONS_MAX ? chosen : N_CLIENTS;
}

void clients_kill_one(void)
{
    const uint32_t i = choose(0, N_CLIENTS);
    if (i < N_CLIENTS) {
        trace("%s %u: killed", is_writer(i) ? "writer" : "sampler", latest[i]->client);
        network_kill_host(latest[i]->host);
        latest[i]->stopping = true;
        begin(i);
    }
}

void clients_replace_writer(void)
{
    const uint32_t i = choose(0, PLAN_WRITERS_MAX);
    if (i < N_CLIENTS) {
        trace("writer %u: another begins", latest[i]->client);
        latest[i]->stale = true;
        begin(i);
    }
}

void clients_restart_sampler(void)
{
    const uint32_t i = choose(PLAN_WRITERS_MAX, N_CLIENTS);
    if (i < N_CLIENTS) {
        latest[i]->stopping = true;
        begin(i);
    }
}

bool clients_writers_done(void)
{
    for (uint32_t i = 0; i < plan->n_writers; i++) {
        if (!latest[i]->over) {
            return false;
        }
    }
    return true;
}

bool clients_done(void)
{
    for (uint32_t i = 0; i < N_CLIENTS; i++) {
        if (latest[i] && !latest[i]->over) {
            return false;
        }
    }
    return true;
}

void clients_describe(char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < N_CLIENTS && at + 200 < size; i++) {
        if (latest[i] && !latest[i]->over) {
            at += (size_t)snprintf(text + at, size - at, " %s %u %.150s",
                                   is_writer(i) ? "writer" : "sampler", latest[i]->client,
                                   is_writer(i) ? "" : sampler_waits(latest[i]->client));
        }
    }
}

void clients_close(void)
{
    for (uint32_t i = 0; i < n_all; i++) {
        all[i]->stopping = true;
    }
    for (uint32_t i = 0; i < n_all; i++) {
        fiber_join(all[i]->fiber, NULL);
    }
    for (uint32_t i = 0; i < n_all; i++) {
        mem_free(all[i]); /* who still ran may have looked at the others */
    }
    n_all = 0;
}
