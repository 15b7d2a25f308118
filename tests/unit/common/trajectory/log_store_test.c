/* The collector's logs: what was kept is there after restarts, in order, once. */
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/log_store.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

static struct signature signature;
static struct log_store_settings settings;

static int setup(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    trajectories_signature(&signature, 2);
    settings = (struct log_store_settings){scratch_folder, "collector-0", "toy", 3, 4, NULL};
    return 0;
}

static struct log_store *open_store(void)
{
    struct log_store *store;
    struct err err = {0};
    if (log_store_open(&store, &settings, &signature, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return store;
}

static status append(struct log_store *store, uint64_t number)
{
    struct episode episode;
    struct err err = {0};
    trajectories_episode(&episode, &signature, 2 + (uint32_t)number % 5, number, false);
    status s = log_store_append(store, &episode, &err);
    episode_fini(&episode);
    return s;
}

static void append_all(struct log_store *store, uint64_t first, uint64_t last)
{
    for (uint64_t number = first; number <= last; number++) {
        assert_int_equal(append(store, number), STATUS_OK);
        assert_int_equal(log_store_last(store), number);
    }
}

struct expectation {
    uint64_t source;
    uint64_t next; /* the sequence that must come */
};

static status expect_next(void *arg, const struct episode *episode, struct err *err)
{
    (void)err;
    struct expectation *expected = arg;
    struct episode want;
    assert_int_equal(episode->identity.source, expected->source);
    assert_int_equal(episode->identity.episode, expected->next);
    trajectories_episode(&want, &signature, 2 + (uint32_t)expected->next % 5, expected->next,
                         false);
    /* Shards keep physical actions: back and forth costs a rounding. */
    assert_true(trajectories_difference(episode, &want) < 1e-6);
    episode_fini(&want);
    expected->next++;
    return STATUS_OK;
}

static void check_episodes(struct log_store *store, uint64_t after, uint64_t last)
{
    struct err err = {0};
    struct expectation expected = {log_store_source(store), after + 1};
    assert_int_equal(log_store_each(store, after, expect_next, &expected, &err), STATUS_OK);
    assert_int_equal(expected.next, last + 1);
}

static void kept_in_order_over_restarts(void **state)
{
    (void)state;
    struct log_store *store = open_store();
    uint64_t source = log_store_source(store), started_ns = log_store_started_ns(store);
    assert_int_equal(log_store_last(store), 0);
    assert_int_not_equal(source, 0);
    append_all(store, 1, 3); /* journal only */
    log_store_close(store);
    store = open_store();
    assert_int_equal(log_store_last(store), 3);
    assert_int_equal(log_store_source(store), source);
    assert_int_equal(log_store_started_ns(store), started_ns);
    append_all(store, 4, 8); /* two whole shards, journal empty */
    log_store_close(store);
    store = open_store();
    assert_int_equal(log_store_last(store), 8);
    append_all(store, 9, 10);
    check_episodes(store, 0, 10);
    check_episodes(store, 5, 10);
    check_episodes(store, 9, 10);
    check_episodes(store, 10, 10);
    log_store_close(store);
}

static void the_rest_becomes_a_shard_at_the_end(void **state)
{
    (void)state;
    struct err err = {0};
    struct dataset *dataset;
    struct log_store *store = open_store();
    append_all(store, 1, 6);
    assert_int_equal(log_store_compact(store, &err), STATUS_OK);
    assert_int_equal(log_store_compact(store, &err), STATUS_OK);
    log_store_close(store);
    assert_int_equal(dataset_open(&dataset, scratch_folder, &err), STATUS_OK);
    assert_int_equal(dataset_n_shards(dataset), 2);
    assert_int_equal(dataset_episodes(dataset), 6);
    dataset_close(dataset);
}

/* A folder has one environment, seed and writer at a time. */
static void other_collectors_are_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct log_store *other, *store = open_store();
    assert_int_equal(log_store_open(&other, &settings, &signature, &err), STATUS_EXISTS);
    log_store_close(store);
    settings.seed = 4;
    assert_int_equal(log_store_open(&other, &settings, &signature, &err), STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "seed 3"));
    settings.seed = 3;
    settings.environment = "another";
    assert_int_equal(log_store_open(&other, &settings, &signature, &err), STATUS_MISMATCH);
}

/* Fails each write, sync and rename in turn: what was acknowledged stays, what was not is not
 * there. */
static void every_failing_write_keeps_what_was_acknowledged(void **state)
{
    (void)state;
    uint64_t acknowledged = 0;
    struct log_store *store = open_store();
    for (uint64_t nth = 1; nth < 30; nth++) {
        file_fail_at(nth, 28 /* ENOSPC */);
        for (int i = 0; i < 4; i++) {
            if (append(store, acknowledged + 1) == STATUS_OK) {
                acknowledged++;
            }
            assert_int_equal(log_store_last(store), acknowledged);
        }
        file_fail_at(0, 0);
        if (nth % 3 == 0) {
            log_store_close(store);
            store = open_store();
        }
        assert_int_equal(log_store_last(store), acknowledged);
        check_episodes(store, 0, acknowledged);
    }
    assert_true(acknowledged > 29 * 2);
    log_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kept_in_order_over_restarts, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(the_rest_becomes_a_shard_at_the_end, setup,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(other_collectors_are_refused, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(every_failing_write_keeps_what_was_acknowledged, setup,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
