/* Eviction: what must go from a full table, in which order, and when it cannot. */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "replay_server/table/table.h"
#include "tests/lib/check.h"

static struct table *make(const char *remover, uint64_t transitions, uint64_t bytes,
                          uint64_t episodes)
{
    struct table_settings settings = {
        .sampler = SELECTOR_PRIORITIZED,
        .priority_exponent = 1,
        .waits = strcmp(remover, "wait") == 0,
        .removes = strcmp(remover, "none") != 0 && strcmp(remover, "wait") != 0,
        .limits = {.max_transitions = transitions, .max_bytes = bytes, .max_episodes = episodes}};
    struct table *table;
    assert_true(!settings.removes || selector_kind_read(&settings.remover, remover));
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    /* Ids 1 .. 5 with 10, 20, .. 50 transitions, 100 bytes each. */
    for (uint64_t i = 1; i <= 5; i++) {
        const struct table_episode episode = {.identity = {.episode = i},
                                              .id = i,
                                              .bytes = 100,
                                              .priority = 1,
                                              .n_rows = (uint32_t)(10 * i + 1)};
        assert_int_equal(table_begin(table, &episode), STATUS_OK);
        table_commit(table, i);
    }
    return table;
}

static void check(struct table *table, uint32_t T, uint64_t bytes, uint32_t n, const uint64_t *ids)
{
    struct eviction plan;
    struct err err;
    uint64_t transitions = 0;
    assert_int_equal(table_plan_eviction(table, T, bytes, &plan, &err), STATUS_OK);
    assert_int_equal(plan.n, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(plan.ids[i], ids[i]);
        transitions += 10 * ids[i];
    }
    assert_int_equal(plan.transitions, transitions);
    assert_true(table_check(table));
    mem_free(plan.ids);
    table_free(table);
}

static void nothing_goes_where_it_fits(void **state)
{
    (void)state;
    check(make("fifo", 0, 0, 0), 1000, 1000, 0, NULL);
    check(make("fifo", 160, 600, 6), 10, 100, 0, NULL);
    check(make("none", 160, 600, 6), 10, 100, 0, NULL);
}

static void the_oldest_or_the_newest_goes(void **state)
{
    (void)state;
    check(make("fifo", 160, 0, 0), 11, 1, 1, (uint64_t[]){1});
    check(make("fifo", 160, 0, 0), 41, 1, 3, (uint64_t[]){1, 2, 3});
    check(make("lifo", 160, 0, 0), 11, 1, 1, (uint64_t[]){5});
    check(make("lifo", 160, 0, 0), 61, 1, 2, (uint64_t[]){5, 4});
    check(make("fifo", 0, 500, 0), 1, 150, 2, (uint64_t[]){1, 2});
    check(make("fifo", 0, 0, 4), 1, 1, 2, (uint64_t[]){1, 2});
    check(make("fifo", 160, 0, 0), 160, 1, 5, (uint64_t[]){1, 2, 3, 4, 5});
}

static void what_never_fits_is_refused(void **state)
{
    (void)state;
    struct eviction plan;
    struct err err;
    struct table *table = make("fifo", 160, 600, 0);
    assert_int_equal(table_plan_eviction(table, 161, 1, &plan, &err), STATUS_FULL);
    assert_non_null(strstr(err.text, "max_transitions 160"));
    assert_int_equal(table_plan_eviction(table, 1, 601, &plan, &err), STATUS_FULL);
    table_free(table);
    table = make("none", 160, 0, 0);
    assert_int_equal(table_plan_eviction(table, 11, 1, &plan, &err), STATUS_FULL);
    assert_string_equal(err.text, "the table is full and its remover is none");
    table_free(table);
}

static void a_table_that_waits_asks_to_try_again(void **state)
{
    (void)state;
    struct eviction plan;
    struct err err;
    struct table *table = make("wait", 160, 0, 0);
    assert_int_equal(table_plan_eviction(table, 10, 1, &plan, &err), STATUS_OK);
    assert_int_equal(table_plan_eviction(table, 11, 1, &plan, &err), STATUS_RETRY);
    assert_non_null(strstr(err.text, "remover is wait"));
    assert_int_equal(table_plan_eviction(table, 161, 1, &plan, &err), STATUS_FULL);
    assert_true(table_remove(table, 1, false));
    assert_int_equal(table_plan_eviction(table, 11, 1, &plan, &err), STATUS_OK);
    assert_int_equal(plan.n, 0);
    table_free(table);
}

/* Lower limits than what the table holds: the next insert brings it down to them. */
static void limits_can_change(void **state)
{
    (void)state;
    struct eviction plan;
    struct table *table = make("fifo", 160, 0, 0);
    table_set_limits(table, &(struct table_limits){.max_transitions = 60});
    assert_int_equal(table_plan_eviction(table, 10, 1, &plan, NULL), STATUS_OK);
    assert_int_equal(plan.n, 4); /* 10, 20, 30, 40: the last of 50 and the new one fit */
    mem_free(plan.ids);
    table_set_limits(table, &(struct table_limits){0});
    assert_int_equal(table_plan_eviction(table, 1000, 1, &plan, NULL), STATUS_OK);
    assert_int_equal(plan.n, 0);
    table_free(table);
}

/* By priority: heaps take the lowest and the highest out first, the older one of equals. */
static void heaps_remove_by_priority(void **state)
{
    (void)state;
    const double priorities[] = {3, 1, 2, 1, 5};
    const uint64_t lowest[] = {2, 4, 3}, highest[] = {5, 1, 3};
    for (int k = 0; k < 2; k++) {
        struct table *table = make(k == 0 ? "min_heap" : "max_heap", 0, 0, 5);
        struct eviction plan;
        for (uint64_t id = 1; id <= 5; id++) {
            assert_int_equal(table_set_priority(table, id, priorities[id - 1]), STATUS_OK);
        }
        for (uint32_t i = 0; i < 3; i++) {
            const uint64_t expected = (k == 0 ? lowest : highest)[i];
            table_set_limits(table, &(struct table_limits){.max_episodes = 5 - i});
            assert_int_equal(table_plan_eviction(table, 1, 1, &plan, NULL), STATUS_OK);
            assert_int_equal(plan.n, 1);
            assert_int_equal(plan.ids[0], expected);
            assert_true(table_remove(table, expected, false));
            assert_true(table_check(table));
            mem_free(plan.ids);
        }
        table_free(table);
    }
}

static void pending_episodes_count_and_cannot_go(void **state)
{
    (void)state;
    struct eviction plan;
    struct err err;
    struct table *table = make("fifo", 160, 0, 0);
    const struct table_episode pending = {
        .identity = {.episode = 9}, .id = 9, .bytes = 1, .priority = 1, .n_rows = 101};
    for (uint64_t id = 1; id <= 5; id++) {
        assert_true(table_remove(table, id, false));
    }
    assert_int_equal(table_begin(table, &pending), STATUS_OK);
    assert_int_equal(table_plan_eviction(table, 60, 1, &plan, &err), STATUS_OK);
    assert_int_equal(plan.n, 0);
    assert_int_equal(table_plan_eviction(table, 61, 1, &plan, &err), STATUS_RETRY);
    table_commit(table, 9);
    assert_int_equal(table_plan_eviction(table, 61, 1, &plan, &err), STATUS_OK);
    assert_int_equal(plan.n, 1);
    mem_free(plan.ids);
    table_free(table);
}

/* A waiting insert is tried again and again: what it would evict must not change meanwhile, also
 * where the remover draws by chance. */
static void a_plan_stays_the_same_until_the_table_changes(void **state)
{
    (void)state;
    static const char *const removers[] = {"uniform", "prioritized", "fifo",
                                           "lifo",    "min_heap",    "max_heap"};
    for (size_t k = 0; k < sizeof removers / sizeof removers[0]; k++) {
        struct table *table = make(removers[k], 160, 0, 0);
        struct eviction first, again;
        assert_int_equal(table_plan_eviction(table, 100, 1, &first, NULL), STATUS_OK);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(table_plan_eviction(table, 100, 1, &again, NULL), STATUS_OK);
            assert_int_equal(again.n, first.n);
            assert_memory_equal(again.ids, first.ids, first.n * sizeof *first.ids);
            mem_free(again.ids);
        }
        for (uint32_t i = 0; i < first.n; i++) {
            assert_true(table_remove(table, first.ids[i], false)); /* no id twice */
        }
        assert_true(table_check(table));
        mem_free(first.ids);
        table_free(table);
    }
}

/* A uniform remover takes every episode equally often, whatever its length. */
static void a_uniform_remover_takes_all_equally_often(void **state)
{
    (void)state;
    enum { ROUNDS = 4000 };
    uint32_t counts[6] = {0};
    struct table_settings settings = {.sampler = SELECTOR_UNIFORM,
                                      .remover = SELECTOR_UNIFORM,
                                      .removes = true,
                                      .limits = {.max_episodes = 5}};
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct table *table;
        struct eviction plan;
        assert_int_equal(table_new(&table, &settings), STATUS_OK);
        for (uint64_t i = 1; i <= 5; i++) {
            const struct table_episode e = {.identity = {.episode = i},
                                            .id = 5 * round + i,
                                            .priority = 1,
                                            .n_rows = (uint32_t)(1 + 20 * i)};
            assert_int_equal(table_load(table, &e), STATUS_OK);
        }
        assert_int_equal(table_plan_eviction(table, 1, 1, &plan, NULL), STATUS_OK);
        assert_int_equal(plan.n, 1);
        counts[plan.ids[0] - 5 * round]++;
        mem_free(plan.ids);
        table_free(table);
    }
    double chi2 = 0;
    for (int i = 1; i <= 5; i++) {
        const double expected = ROUNDS / 5.0;
        chi2 += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    printf("chi2 %.1f of 4 degrees of freedom\n", chi2);
    assert_true(chi2 < 23.5); /* p = 1e-4 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_goes_where_it_fits),
        cmocka_unit_test(the_oldest_or_the_newest_goes),
        cmocka_unit_test(what_never_fits_is_refused),
        cmocka_unit_test(a_table_that_waits_asks_to_try_again),
        cmocka_unit_test(limits_can_change),
        cmocka_unit_test(heaps_remove_by_priority),
        cmocka_unit_test(pending_episodes_count_and_cannot_go),
        cmocka_unit_test(a_plan_stays_the_same_until_the_table_changes),
        cmocka_unit_test(a_uniform_remover_takes_all_equally_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
