/* Makes a plan from a seed. Sizes are small, so that episodes span several chunks, tables evict and
 * buffers fill within seconds of simulated time. */
#include "tests/sim/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "tests/sim/chance.h"

#define SOURCE_WRITER     1000u /* + writer */
#define SOURCE_DUPLICATES 999u  /* of what several writers have */

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ b * 0x9e3779b97f4a7c15ull) + 0x632be59bd9b4e019ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    return z ^ z >> 31;
}

static void defaults(struct plan *plan)
{
    static struct options options;
    static struct experiment experiment;
    static bool done = false;
    if (!done) {
        const struct config_section sections[] = {experiment_section(&experiment),
                                                  options_section(&options)};
        char name[] = "sim";
        char *argv[] = {name, NULL};
        struct err err;
        bool leave;
        status s = config_load(sections, 2, "sim", 1, argv, &leave, &err);
        ASSERT(s == STATUS_OK);
        done = true;
    }
    plan->options = options;
    plan->experiment = experiment;
}

/* Rows from a few floats to a few to a chunk, so that episodes have one chunk or several. */
static void choose_sizes(struct plan *plan)
{
    static const uint32_t widths[] = {0, 3, 40, 400, 2500};
    const uint32_t wide = widths[chance_below(chance_in(3) ? 5 : 3)];
    struct signature *signature = &plan->signature;
    signature->n_slices = 1;
    strcpy(signature->slices[0].name, "where");
    signature->slices[0].size = 3 + wide;
    signature->A = 1;
    signature->action_min[0] = -1;
    signature->action_max[0] = 1;
    signature->K = 1;
    strcpy(signature->rewards[0], "task");
    signature->control_period_s = 0.1;
    plan->W = signature_width(signature);
    plan->T_max = (uint32_t)chance_scale(1, 24);
    plan->n_episodes = (uint32_t)chance_between(1, chance_in(3) ? PLAN_EPISODES_MAX : 16);
    plan->n_episodes = wide > 100 && plan->n_episodes > 8 ? 8 : plan->n_episodes;
    plan->n_writers = (uint32_t)chance_between(1, PLAN_WRITERS_MAX);
    plan->n_samplers = (uint32_t)chance_between(0, PLAN_SAMPLERS_MAX);
    plan->n_servers = chance_in(4) ? 2 : 1;
    plan->B = (uint32_t)chance_between(1, 8);
    plan->N = (uint32_t)chance_between(1, 6);
    plan->n_batches = (uint32_t)chance_between(1, 60);
    plan->in_flight_bytes = (size_t)chance_scale(100, 1 << 20);
}

uint64_t plan_transitions(const struct plan *plan)
{
    uint64_t sum = 0;
    for (uint32_t w = 0; w < plan->n_writers; w++) {
        for (uint32_t i = 0; i < plan->n_episodes; i++) {
            const struct episode_identity identity = plan_identity(plan, w, i);
            /* What several writers have counts once. */
            if (identity.source != SOURCE_DUPLICATES || w == 0) {
                sum += plan_T(plan, &identity);
            }
        }
    }
    return sum;
}

/* Limits on which no plan gets stuck: whatever sampling waits for, the inserts provide. */
static void choose_limits(struct plan *plan)
{
    struct table_options *options = &plan->options.table;
    const uint64_t transitions = plan_transitions(plan);
    options->min_transitions = 1;
    if (plan->n_servers > 1) {
        return; /* episodes are spread by hash: no limit of one server can be planned */
    }
    if (chance_in(3)) { /* all of it, the last transition too */
        options->min_transitions =
            (int64_t)(chance_in(3) ? transitions : chance_between(1, transitions));
    } else if (chance_in(2)) {
        options->max_episodes = (int64_t)chance_between(1, plan->n_episodes);
        strcpy(options->remover, chance_in(3) ? "lifo" : "fifo");
    } else if (chance_in(2)) {
        options->max_transitions = (int64_t)chance_between(plan->T_max, transitions + plan->T_max);
        strcpy(options->remover, chance_in(3) ? "lifo" : "fifo");
    }
    const bool removes = options->max_episodes > 0 || options->max_transitions > 0;
    if (plan->online && chance_in(2)) {
        options->samples_per_insert = (double)chance_between(1, 64) / 4;
        options->samples_per_insert_tolerance =
            (double)chance_between(0, 4 * plan->T_max) * options->samples_per_insert;
    } else if (!plan->online && removes && chance_in(2)) {
        options->samples_per_eviction = (double)chance_between(1, 32) / 4;
    }
    /* A rate needs a sampler. */
    if (options->samples_per_insert > 0 || options->samples_per_eviction > 0) {
        plan->n_samplers = plan->n_samplers ? plan->n_samplers : 1;
        plan->require_sealed = false;
    }
}

static void choose_server(struct plan *plan)
{
    struct options *options = &plan->options;
    static const char *const durabilities[] = {"each", "interval", "none"};
    strcpy(options->durability, durabilities[chance_below(3)]);
    options->map_bytes = 64 << 20;
    options->table.max_bytes = 48 << 20;
    options->sync_ms = (int64_t)chance_scale(1, 5000);
    options->gather_threads = (int64_t)chance_between(1, 3);
    options->insert_buffer_bytes = (int64_t)chance_skewed(1 << 20, 8 << 20);
    options->sample_buffer_bytes = (int64_t)chance_skewed(1 << 16, 4 << 20);
    options->endpoint.grace_ms = (int64_t)chance_scale(1, 2000);
    options->idle_seconds = 120;
    options->scrub_bytes_per_s = chance_in(2) ? 0 : 1 << 20;
}

/* From the seed itself, as what follows. */
static void choose_operator(struct plan *plan)
{
    const uint64_t seed = plan->seed;
    plan->priorities = mix(seed, 7) % 4 == 0;
    plan->sets = mix(seed, 8) % 4 == 0;
    /* Where samplers wait for many transitions, none may go. */
    plan->deletes = mix(seed, 9) % 4 == 0 && plan->options.table.min_transitions == 1;
    plan->compacts = mix(seed, 10) % 3 == 0;
}

/* Tables that are never sealed sample in any way, and some use their episodes up: what waits for room
 * then waits for samples. With room for a batch's snippets, and an episode each, neither side waits for
 * ever. */
static void choose_selectors(struct plan *plan)
{
    static const char *const samplers[] = {"uniform", "fifo", "lifo", "min_heap", "max_heap"};
    struct table_options *options = &plan->options.table;
    const uint64_t seed = plan->seed;
    if (!plan->online) {
        return;
    }
    if (mix(seed, 11) % 2) {
        strcpy(options->sampler, samplers[mix(seed, 12) % 5]);
    }
    if (plan->n_servers > 1 || plan->n_samplers == 0 || plan->hoarder ||
        options->samples_per_insert > 0 || options->min_transitions > 1 || mix(seed, 13) % 3) {
        return;
    }
    plan->queue = true;
    plan->deletes = false; /* of what is drawn until the writers are done, nothing may be missing */
    options->max_times_sampled = (int64_t)(1 + mix(seed, 14) % 4);
    options->max_transitions = 0;
    options->max_episodes = 0;
    if (mix(seed, 15) % 2) {
        options->max_episodes = (int64_t)(plan->B + mix(seed, 16) % 8);
        strcpy(options->remover, "wait");
    }
}

void plan_make(struct plan *plan, uint64_t seed)
{
    defaults(plan);
    plan->seed = seed;
    plan->online = chance_in(2);
    plan->duplicates = chance_in(3);
    plan->require_sealed = !plan->online && chance_in(2);
    memset(&plan->signature, 0, sizeof plan->signature);
    choose_sizes(plan);
    choose_server(plan);
    choose_limits(plan);
    /* Where both sides wait for each other, thousands of batches may be needed. */
    const bool coupled =
        plan->options.table.samples_per_insert > 0 || plan->options.table.samples_per_eviction > 0;
    plan->pause_ns = chance_scale(1, coupled ? 4 : 1000) * NS_PER_MS;
    plan->trouble_ns = chance_in(8) ? 0 : chance_scale(2, 60) * NS_PER_S;
    plan->trouble_every_ns = chance_scale(20, 4000) * NS_PER_MS;
    plan->delay_ns_max = chance_scale(50, 50000) * 1000;
    plan->window_bytes = chance_scale(64, 1 << 20);
    /* From the seed itself, so that the rest of the plan is what it is without them. */
    plan->hoarder = mix(seed, 1) % 6 == 0;
    plan->trickler = mix(seed, 2) % 6 == 0;
    plan->cold = mix(seed, 4) % 4 == 0;
    if (plan->options.table.max_episodes + plan->options.table.max_transitions > 0 &&
        mix(seed, 5) % 3 == 0) {
        strcpy(plan->options.table.remover, mix(seed, 6) % 2 ? "min_heap" : "max_heap");
    }
    choose_operator(plan);
    choose_selectors(plan);
    if (plan->hoarder || plan->trickler) {
        plan->options.idle_seconds = 20;
    }
    if (plan->hoarder) { /* small enough for its few responses to fill */
        plan->options.sample_buffer_bytes = (int64_t)(1 + mix(seed, 3) % 7) << 16;
    }
    if (plan->trickler) { /* so large that it takes longer than the faultless period at the end */
        plan->options.insert_buffer_bytes = 8 << 20;
    }
    plan->experiment.replay.n = plan->n_servers;
    for (uint32_t i = 0; i < plan->n_servers; i++) {
        snprintf(plan->experiment.replay.items[i], CONFIG_TEXT_SIZE, "127.0.0.1:%u", 7000 + i);
    }
}

uint32_t plan_hoarder_snippets(const struct plan *plan)
{
    return 1 + (60u << 10) / (2 * plan->W * (uint32_t)sizeof(float) + 64);
}

void plan_print(const struct plan *plan)
{
    const struct options *o = &plan->options;
    const struct table_options *t = &o->table;
    printf("seed %" PRIu64 ": %s, %u writers of %u episodes of up to %u transitions%s, %u samplers"
           " of %u batches (%u x %u)%s, %u servers, W %u%s%s%s\n",
           plan->seed, plan->online ? "online" : "logs", plan->n_writers, plan->n_episodes,
           plan->T_max, plan->duplicates ? " with duplicates" : "", plan->n_samplers,
           plan->n_batches, plan->B, plan->N, plan->require_sealed ? " once sealed" : "",
           plan->n_servers, plan->W, plan->hoarder ? ", a hoarder" : "",
           plan->trickler ? ", a trickler" : "", plan->cold ? ", a cold store" : "");
    printf("  operator:%s%s%s%s; sampler %s, %" PRId64 " times\n",
           plan->priorities ? " priorities" : "", plan->sets ? " settings" : "",
           plan->deletes ? " deletes" : "", plan->compacts ? " compactions" : "", t->sampler,
           t->max_times_sampled);
    printf("  limits: min %" PRId64 ", max %" PRId64 " transitions, %" PRId64 " episodes (%s),"
           " per insert %g +- %g, per eviction %g\n",
           t->min_transitions, t->max_transitions, t->max_episodes, t->remover,
           t->samples_per_insert, t->samples_per_insert_tolerance, t->samples_per_eviction);
    printf("  durability %s, %" PRId64 " gather threads, in flight %zu bytes, windows %" PRIu64
           " bytes, delays to %.3f ms, trouble for %.1f s every %.3f s\n",
           o->durability, o->gather_threads, plan->in_flight_bytes, plan->window_bytes,
           (double)plan->delay_ns_max * 1e-6, (double)plan->trouble_ns * 1e-9,
           (double)plan->trouble_every_ns * 1e-9);
}

/* ---- Episodes ---- */

struct episode_identity plan_identity(const struct plan *plan, uint32_t writer, uint32_t number)
{
    const bool duplicate = plan->duplicates && number % 4 == 1;
    return (struct episode_identity){
        .source = duplicate ? SOURCE_DUPLICATES : SOURCE_WRITER + writer, .episode = number};
}

uint32_t plan_T(const struct plan *plan, const struct episode_identity *identity)
{
    return 1 + (uint32_t)(mix(mix(plan->seed, identity->source), identity->episode) >> 20) %
                   plan->T_max;
}

float plan_number(const struct episode_identity *identity, uint32_t t, uint32_t column)
{
    switch (column) {
    case 0:
        return (float)identity->source;
    case 1:
        return (float)identity->episode;
    case 2:
        return (float)t;
    default:
        return (float)(mix(mix(identity->source, identity->episode), (uint64_t)t << 32 | column) &
                       0xffff);
    }
}

void plan_number_read(const float *row, struct episode_identity *identity, uint32_t *t)
{
    *identity = (struct episode_identity){.source = (uint64_t)row[0], .episode = (uint64_t)row[1]};
    *t = (uint32_t)row[2];
}

void plan_episode(const struct plan *plan, struct episode *episode,
                  const struct episode_identity *identity)
{
    episode_init(episode, plan->W);
    episode->T = plan_T(plan, identity);
    episode->identity = *identity;
    status s = episode_reserve(episode, episode->T + 1, NULL);
    ASSERT(s == STATUS_OK);
    for (uint32_t t = 0; t <= episode->T; t++) {
        for (uint32_t column = 0; column < plan->W; column++) {
            episode->rows[(size_t)t * plan->W + column] = plan_number(identity, t, column);
        }
    }
}
