/* Priorities on their way back: to the server that owns the episode, averaged, also after it was
 * away; what cannot be delivered is counted. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/replay_priorities.h"
#include "tests/lib/check.h"
#include "tests/lib/replay_world.h"

enum { EPISODES = 30, B = 512 };

/* Episode k of this world has 10 + k transitions; where it came from is in its first number. */
static uint32_t number_of(const struct replay_batch *batch, uint32_t i)
{
    uint32_t number, t, column;
    replay_number_read(batch->rows[(size_t)i * 3 * 10], &number, &t, &column);
    return number;
}

static double priority_of(uint32_t number)
{
    return 0.25 + number;
}

static struct replay_priorities *open_priorities(struct replay_world *world)
{
    struct replay_priorities *priorities;
    struct err err = {0};
    if (replay_priorities_open(&priorities, &world->experiment, "default", &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return priorities;
}

static struct replay_sampler *open_sampler(struct replay_world *world)
{
    return replay_world_open_sampler(
        world, (struct replay_sampler_options){
                   .batch_snippets = B, .snippet_transitions = 2, .seed = 4, .origins = true});
}

/* Snippets, and a value for each. */
struct lot {
    uint64_t ids[8 * B];
    uint32_t servers[8 * B], rows[8 * B];
    double ratios[8 * B], values[8 * B];
    uint32_t n;
};

/* Each snippet twice, with half and one and a half times its episode's priority, whose mean that
 * is, until every episode has come. */
static void draw_lot(struct replay_world *world, struct lot *lot)
{
    struct replay_sampler *sampler = open_sampler(world);
    bool seen[EPISODES] = {false};
    lot->n = 0;
    for (uint32_t n_seen = 0; n_seen < EPISODES;) {
        struct replay_batch *batch = replay_world_must_next(sampler);
        for (uint32_t i = 0; i < 2 * B; i++) {
            const uint32_t number = number_of(batch, i / 2);
            assert_true(lot->n < 8 * B);
            lot->ids[lot->n] = batch->origins->episode_id[i / 2];
            lot->servers[lot->n] = batch->origins->server[i / 2];
            lot->values[lot->n++] = priority_of(number) * (i % 2 == 0 ? 0.5 : 1.5);
            n_seen += !seen[number];
            seen[number] = true;
        }
        replay_sampler_return(sampler, batch);
    }
    replay_sampler_close(sampler);
}

static void add_lot(struct replay_priorities *priorities, struct lot *lot)
{
    const struct replay_origins origins = {lot->ids, lot->rows, lot->servers, lot->ratios};
    replay_priorities_add(priorities, &origins, lot->values, lot->n);
}

/* Waits until the counts say so. */
static struct replay_priorities_counts await(struct replay_priorities *priorities, uint64_t updated,
                                             uint64_t absent)
{
    struct replay_priorities_counts counts = {0};
    for (int i = 0; i < 1000; i++) {
        counts = replay_priorities_counts(priorities);
        if (counts.updated >= updated && counts.absent >= absent) {
            return counts;
        }
        clock_sleep_ms(20);
    }
    fail_msg("updated %llu, absent %llu", (unsigned long long)counts.updated,
             (unsigned long long)counts.absent);
    return counts;
}

/* Every start's ratio is its episode's priority over the mean one of its server's transitions; over
 * all starts of a server the probabilities add up to 1. */
static void assert_prioritized(struct replay_world *world, uint32_t n_servers)
{
    struct replay_sampler *sampler = open_sampler(world);
    double weight[3] = {0}, sum[3] = {0}, transitions[3] = {0}, ratio[EPISODES] = {0};
    uint32_t server[EPISODES];
    for (uint32_t n_seen = 0; n_seen < EPISODES;) {
        struct replay_batch *batch = replay_world_must_next(sampler);
        for (uint32_t i = 0; i < B; i++) {
            const uint32_t number = number_of(batch, i);
            n_seen += ratio[number] == 0;
            assert_true(ratio[number] == 0 || ratio[number] == batch->origins->ratio[i]);
            ratio[number] = batch->origins->ratio[i];
            server[number] = batch->origins->server[i];
        }
        replay_sampler_return(sampler, batch);
    }
    replay_sampler_close(sampler);
    for (uint32_t k = 0; k < EPISODES; k++) {
        assert_true(server[k] < n_servers);
        weight[server[k]] += (10 + k) * priority_of(k);
        transitions[server[k]] += 10 + k;
        sum[server[k]] += (10 + k) * ratio[k];
    }
    for (uint32_t k = 0; k < EPISODES; k++) {
        const uint32_t s = server[k];
        const double want = priority_of(k) * transitions[s] / weight[s];
        assert_true(fabs(ratio[k] - want) < 1e-9 * want);
    }
    for (uint32_t s = 0; s < n_servers; s++) {
        assert_true(transitions[s] > 0 && fabs(sum[s] / transitions[s] - 1) < 1e-9);
    }
}

static void they_reach_the_server_that_owns_the_episode(void **state)
{
    struct replay_world *world = *state;
    for (uint32_t i = 0; i < 3; i++) {
        replay_world_serve(world, i, NULL);
    }
    replay_world_fill(world, 0, EPISODES);
    struct replay_priorities *priorities = open_priorities(world);
    static struct lot lot;
    draw_lot(world, &lot);
    add_lot(priorities, &lot);
    /* Closing sends what waits. */
    replay_priorities_close(priorities);
    assert_prioritized(world, 3);
    /* A restart keeps them. */
    for (uint32_t i = 0; i < 3; i++) {
        replay_world_stop(world, i);
        replay_world_serve(world, i, NULL);
    }
    assert_prioritized(world, 3);
}

static void they_wait_for_a_server_that_is_away(void **state)
{
    struct replay_world *world = *state;
    for (uint32_t i = 0; i < 2; i++) {
        replay_world_serve(world, i, NULL);
    }
    replay_world_fill(world, 0, EPISODES);
    struct replay_priorities *priorities = open_priorities(world);
    static struct lot lot;
    draw_lot(world, &lot);
    replay_world_stop(world, 1);
    add_lot(priorities, &lot);
    clock_sleep_ms(1500);
    const struct replay_priorities_counts before = replay_priorities_counts(priorities);
    assert_true(before.updated > 0 && before.updated < EPISODES && before.lost == 0);
    replay_world_serve(world, 1, NULL);
    const struct replay_priorities_counts after = await(priorities, EPISODES, 0);
    assert_true(after.updated == EPISODES && after.lost == 0 && after.absent == 0);
    replay_priorities_close(priorities);
    assert_prioritized(world, 2);
}

static void what_cannot_be_delivered_is_counted(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_fill(world, 0, 3);
    struct replay_priorities *priorities = open_priorities(world);
    /* Episodes that are gone. */
    uint64_t ids[B];
    uint32_t servers[B] = {0}, rows[B] = {0};
    double values[B], ratios[B] = {0};
    const struct replay_origins origins = {ids, rows, servers, ratios};
    for (uint32_t i = 0; i < B; i++) {
        ids[i] = 1000000 + i;
        values[i] = i == 0   ? 1e300
                    : i == 1 ? 0
                             : 1; /* what the wire does not allow is made to fit */
    }
    replay_priorities_add(priorities, &origins, values, B);
    assert_true(await(priorities, 0, B).lost == 0);
    /* More than may wait for a server that is away. */
    replay_world_stop(world, 0);
    uint64_t id = 2000000;
    for (int batch = 0; batch < 3 * 65536 / B; batch++) {
        for (uint32_t i = 0; i < B; i++) {
            ids[i] = id++;
        }
        replay_priorities_add(priorities, &origins, values, B);
    }
    const uint64_t lost = replay_priorities_counts(priorities).lost;
    /* One list may have been taken for a call meanwhile. */
    assert_true(lost == 65536 || lost == 2 * 65536);
    replay_priorities_close(priorities);
}

#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, replay_world_set_up, replay_world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(they_reach_the_server_that_owns_the_episode),
        TEST(they_wait_for_a_server_that_is_away),
        TEST(what_cannot_be_delivered_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
