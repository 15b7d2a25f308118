/* Rates between clients of the replay server: acting and learning that wait for each other, logs
 * that wait before they evict, and several servers that share by what they hold. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "tests/lib/check.h"
#include "tests/lib/replay_world.h"

/* ---- Rates ---- */

struct acting {
    struct replay_world *world;
    atomic_bool stop;
    atomic_uint inserted; /* episodes of 50 transitions */
};

static bool acting_stops(void *arg)
{
    return atomic_load(&((struct acting *)arg)->stop);
}

static void *act(void *arg)
{
    struct acting *a = arg;
    bool sealed;
    struct err err;
    struct replay_writer *writer = replay_world_open_writer(
        a->world,
        (struct replay_writer_options){
            .stopping = acting_stops, .stopping_arg = a, .max_in_flight_bytes = 1},
        NULL, &sealed);
    struct episode episode;
    replay_episode(&episode, &a->world->signature, 1, 50);
    status s = STATUS_OK;
    while (s == STATUS_OK) {
        episode.identity.episode = atomic_load(&a->inserted) + 100;
        s = replay_writer_insert(writer, &episode, NULL, 0, &err);
        if (s == STATUS_OK) {
            s = replay_writer_flush(writer, 60000, &err);
        }
        atomic_fetch_add(&a->inserted, s == STATUS_OK);
    }
    assert_int_equal(s, STATUS_CLOSED);
    episode_fini(&episode);
    replay_writer_close(writer);
    return NULL;
}

/* Online: 4 transitions sampled per one inserted after the first 1000; each side waits for the
 * other, and a restart remembers. */
static void acting_and_learning_are_kept_in_ratio(void **state)
{
    struct replay_world *world = *state;
    static const char *const flags[] = {"--min_transitions=1000", "--samples_per_insert=4",
                                        "--samples_per_insert_tolerance=400", NULL};
    replay_world_serve(world, 0, flags);
    struct acting a = {.world = world};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, act, &a), 0);
    while (atomic_load(&a.inserted) == 0) { /* until the table is there */
        clock_sleep_ms(5);
    }
    /* Nobody samples: acting stops by itself at 1000 + 400 / 4 transitions, and the episode that
     * crossed. */
    replay_world_await_waiter(world, "insert", "samples_per_insert");
    const unsigned alone = atomic_load(&a.inserted);
    printf("alone: %u transitions\n", alone * 50);
    assert_in_range(alone * 50, 1100, 1200);
    for (int round = 0; round < 2; round++) {
        /* 100 batches of 40 snippets of 1 transition, one at a time: 4000 sampled, 1000 inserted.
         */
        struct replay_sampler *sampler = replay_world_open_sampler(
            world, (struct replay_sampler_options){
                       .batch_snippets = 40, .snippet_transitions = 1, .prefetch_batches = 1});
        for (int n = 0; n < 100; n++) {
            replay_sampler_return(sampler, replay_world_must_next(sampler));
        }
        replay_sampler_close(sampler);
        replay_world_await_waiter(world, "insert", "samples_per_insert");
        struct rpc_message message;
        const Hindcast__TableInfo *table = replay_world_table_info(world, 0, &message);
        const double lead =
            4 * ((double)table->transitions_inserted - 1000) - (double)table->transitions_sampled;
        printf("inserted %d, sampled %d, lead %.0f\n", (int)table->transitions_inserted,
               (int)table->transitions_sampled, lead);
        assert_true(lead > 400 && lead <= 400 + 4 * 50);
        assert_true(table->transitions_sampled >= 4000 * (uint64_t)(round + 1));
        rpc_message_free(&message);
        if (round == 0) {
            replay_world_stop(world, 0);
            replay_world_serve(world, 0, flags);
        }
    }
    atomic_store(&a.stop, true);
    pthread_join(thread, NULL);
    /* And the other way: without inserts sampling ends within the tolerance and one response. */
    struct replay_sampler *sampler = replay_world_open_sampler(
        world, (struct replay_sampler_options){
                   .batch_snippets = 40, .snippet_transitions = 1, .prefetch_batches = 1});
    struct replay_batch *batch;
    struct err err;
    int n = 0;
    while (replay_sampler_next(sampler, &batch, 1000, &err) == STATUS_OK) {
        replay_sampler_return(sampler, batch);
        n++;
    }
    replay_world_await_waiter(world, "sample", "samples_per_insert");
    printf("without inserts: %d transitions sampled\n", n * 40);
    assert_in_range(n * 40, 400, 400 + 600 + 400 + 120);
    replay_sampler_close(sampler);
}

static void logs_wait_before_they_evict(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(
        world, 0,
        (const char *const[]){"--max_transitions=1000", "--samples_per_eviction=2", NULL});
    bool sealed;
    struct replay_writer *writer = replay_world_open_writer(
        world, (struct replay_writer_options){.restored = true, .max_in_flight_bytes = 1u << 20},
        NULL, &sealed);
    for (uint32_t k = 0; k < 12; k++) {
        replay_world_must_insert(world, writer, k, 100);
    }
    replay_world_await_waiter(world, "insert",
                              "samples_per_eviction: transitions sampled: 0 of 200");
    /* The eleventh episode waits already while earlier ones are still on their way to the disk. */
    replay_world_await_transitions(world, 1000);
    struct rpc_message message;
    const Hindcast__TableInfo *table = replay_world_table_info(world, 0, &message);
    assert_int_equal(table->episodes_removed, 0);
    rpc_message_free(&message);
    struct replay_sampler *sampler = replay_world_open_sampler(
        world, (struct replay_sampler_options){
                   .batch_snippets = 50, .snippet_transitions = 1, .prefetch_batches = 1});
    for (int n = 0; n < 10; n++) {
        replay_sampler_return(sampler, replay_world_must_next(sampler));
    }
    replay_world_must_flush(writer);
    table = replay_world_table_info(world, 0, &message);
    assert_int_equal(table->episodes_removed, 2);
    assert_int_equal(table->transitions, 1000);
    rpc_message_free(&message);
    replay_sampler_close(sampler);
    replay_writer_close(writer);
}

/* ---- Several servers ---- */

static void servers_share_by_what_they_hold(void **state)
{
    struct replay_world *world = *state;
    for (uint32_t i = 0; i < 3; i++) {
        replay_world_serve(world, i, NULL);
    }
    replay_world_fill(world, 0, 60);
    uint64_t transitions[3], sum = 0;
    for (uint32_t i = 0; i < 3; i++) {
        struct rpc_message message;
        const Hindcast__TableInfo *table = replay_world_table_info(world, i, &message);
        assert_true(table->sealed && table->episodes > 5);
        transitions[i] = table->transitions;
        sum += table->transitions;
        rpc_message_free(&message);
    }
    assert_int_equal(sum, 60 * 10 + 59 * 30);
    enum { B = 400, BATCHES = 30 };
    const struct replay_sampler_options options = {
        .batch_snippets = B, .snippet_transitions = 3, .seed = 1, .require_sealed = true};
    uint32_t counts[64] = {0};
    struct replay_sampler *sampler = replay_world_open_sampler(world, options);
    struct replay_sampler_options second_half = options;
    second_half.slice_begin = B / 2;
    second_half.slice_count = B / 2;
    struct replay_sampler *half = replay_world_open_sampler(world, second_half);
    for (int n = 0; n < BATCHES; n++) {
        struct replay_batch *batch = replay_world_must_next(sampler);
        replay_world_check_batch(batch, 3, 10, counts);
        assert_int_not_equal(batch->table_version, 0);
        struct replay_batch *part = replay_world_must_next(half);
        assert_memory_equal(part->rows, batch->rows + (size_t)(B / 2) * 4 * 10,
                            (size_t)(B / 2) * 4 * 10 * sizeof(float));
        replay_sampler_return(half, part);
        replay_sampler_return(sampler, batch);
    }
    /* Episodes are drawn in proportion to their length, wherever they are. */
    double chi2 = 0;
    for (uint32_t k = 0; k < 60; k++) {
        const double expected = (double)B * BATCHES * (10 + k) / (double)sum;
        chi2 += (counts[k] - expected) * (counts[k] - expected) / expected;
    }
    printf("servers hold %d, %d, %d; chi2 %.1f of 59\n", (int)transitions[0], (int)transitions[1],
           (int)transitions[2], chi2);
    assert_true(chi2 < 108); /* p = 1e-4 */
    replay_sampler_close(sampler);
    replay_sampler_close(half);
}

static void with_several_servers_the_one_furthest_behind_counts(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_serve(world, 1, NULL);
    bool sealed;
    char cursor[64];
    struct replay_writer *writer =
        replay_world_open_writer(world, (struct replay_writer_options){0}, cursor, &sealed);
    assert_string_equal(cursor, "");
    for (uint32_t k = 0; k < 30; k++) {
        replay_world_must_insert(world, writer, k, 10);
    }
    replay_world_must_flush(writer);
    replay_writer_close(writer);
    uint64_t before = 0;
    for (uint32_t i = 0; i < 2; i++) {
        struct rpc_message message;
        before += replay_world_table_info(world, i, &message)->episodes;
        rpc_message_free(&message);
    }
    assert_int_equal(before, 30);
    writer = replay_world_open_writer(world, (struct replay_writer_options){0}, cursor, &sealed);
    unsigned at;
    assert_int_equal(sscanf(cursor, "at %u", &at), 1);
    assert_in_range(at, 0, 28); /* the last of one of the two, and 29 is the other's */
    for (uint32_t k = at + 1; k < 30; k++) {
        replay_world_must_insert(world, writer, k, 10);
    }
    replay_world_must_flush(writer);
    struct replay_writer_counts counts;
    replay_writer_counts(writer, &counts);
    assert_int_equal(counts.duplicates, 29 - at);
    replay_writer_close(writer);
}

int main(void)
{
#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, replay_world_set_up, replay_world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(acting_and_learning_are_kept_in_ratio),
        TEST(logs_wait_before_they_evict),
        TEST(servers_share_by_what_they_hold),
        TEST(with_several_servers_the_one_furthest_behind_counts),
    };
    rpc_init();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_fini();
    return failed;
}
