/* A served table's history, to the store and back. */
#include <string.h>

#include "replay_server/service/served_table.h"
#include "tests/lib/check.h"
#include "tests/lib/trajectories.h"

/* Ids 1 .. 5 with 10, 20, .. 50 transitions, 100 bytes each. */
static struct served_table *make(void)
{
    static struct options options;
    static struct store_table record;
    struct served_table *table;
    strcpy(options.table.sampler, "prioritized");
    strcpy(options.table.remover, "fifo");
    trajectories_signature(&record.signature, 1);
    strcpy(record.name, "default");
    assert_int_equal(served_table_new(&table, &record, &options, NULL), STATUS_OK);
    for (uint64_t i = 1; i <= 5; i++) {
        const struct table_episode episode = {.identity = {.episode = i},
                                              .id = i,
                                              .bytes = 100,
                                              .priority = 1,
                                              .n_rows = (uint32_t)(10 * i + 1)};
        assert_int_equal(table_begin(table->table, &episode), STATUS_OK);
        table_commit(table->table, i);
    }
    return table;
}

static void the_history_comes_back(void **state)
{
    (void)state;
    struct served_table *a = make();
    struct served_table *b = make();
    struct store_history history, again;
    assert_true(table_remove(a->table, 1, false));
    assert_true(table_remove(a->table, 2, true));
    table_count_duplicate(a->table);
    table_count_sampled(a->table, 17);
    limiter_commit_sample(&a->limiter, 99);
    limiter_commit_insert(&a->limiter, false, 50, 0);
    limiter_commit_insert(&a->limiter, true, 50, 7);
    served_table_history(a, &history);
    served_table_set_history(b, &history);
    served_table_history(b, &again);
    assert_memory_equal(history.counts, again.counts, sizeof history.counts);
    assert_int_equal(b->limiter.counts.sampled, 99);
    assert_int_equal(b->limiter.counts.fresh_inserted, 50);
    assert_int_equal(b->limiter.counts.evicted, 7);
    assert_int_equal(table_counts(b->table)->transitions_inserted, 150);
    assert_int_equal(table_counts(b->table)->transitions_removed, 10);
    assert_int_equal(table_counts(b->table)->episodes_corrupt, 1);
    served_table_free(a);
    served_table_free(b);
}

/* A table that is opened under another rate does not wait for what the old one left behind. */
static void another_rate_at_the_next_start_counts_from_there(void **state)
{
    (void)state;
    struct served_table *a = make(), *b = make();
    struct store_history history;
    limiter_set(&a->limiter, &(struct limiter_settings){.samples_per_insert = 1});
    limiter_set(&b->limiter, &(struct limiter_settings){.samples_per_insert = 50, .tolerance = 5});
    limiter_commit_insert(&a->limiter, false, 100, 0);
    served_table_history(a, &history);
    served_table_set_history(b, &history);
    assert_int_equal(b->limiter.counts.fresh_inserted, 100);
    assert_true(b->limiter.settings.samples_per_insert == 50);
    assert_true(limiter_allow_insert(&b->limiter, false, 0, NULL, 0)); /* and not 5000 ahead */
    /* Under the same rate it goes on where it was. */
    served_table_history(b, &history);
    limiter_commit_insert(&b->limiter, false, 3, 0);
    served_table_set_history(b, &history);
    assert_true(limiter_allow_insert(&b->limiter, false, 0, NULL, 0));
    limiter_commit_insert(&b->limiter, false, 1, 0);
    served_table_history(b, &history);
    served_table_set_history(a, &history); /* rate 1 again */
    assert_true(limiter_allow_insert(&a->limiter, false, 0, NULL, 0));
    served_table_free(a);
    served_table_free(b);
}

/* The history may have been stored with a job before the removals that it counts (a crash came between),
 * and with inserts that failed afterwards: what the table holds is right. */
static void a_history_that_is_ahead_is_settled(void **state)
{
    (void)state;
    static const struct {
        struct table_counts stored, settled;
    } cases[] = {
        /* Two removals of 10 transitions each did not happen. */
        {{.episodes_inserted = 9,
          .episodes_removed = 6,
          .transitions_inserted = 200,
          .transitions_removed = 70},
         {.episodes_inserted = 9,
          .episodes_removed = 4,
          .transitions_inserted = 200,
          .transitions_removed = 50}},
        /* One insert of 30 transitions failed. */
        {{.episodes_inserted = 8,
          .episodes_removed = 2,
          .transitions_inserted = 200,
          .transitions_removed = 20},
         {.episodes_inserted = 7,
          .episodes_removed = 2,
          .transitions_inserted = 170,
          .transitions_removed = 20}},
        /* Of the corrupt one nobody knows how long it was. */
        {{.episodes_inserted = 8,
          .episodes_removed = 2,
          .episodes_corrupt = 1,
          .transitions_inserted = 200,
          .transitions_removed = 20},
         {.episodes_inserted = 8,
          .episodes_removed = 2,
          .episodes_corrupt = 1,
          .transitions_inserted = 200,
          .transitions_removed = 20}},
        /* There was no history. */
        {{0}, {.episodes_inserted = 5, .transitions_inserted = 150}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct served_table *a = make();
        const struct table_counts *now = table_counts(a->table), *want = &cases[i].settled;
        table_set_history(a->table, &cases[i].stored);
        table_settle_history(a->table);
        assert_int_equal(now->episodes, 5);
        assert_int_equal(now->transitions, 150);
        assert_int_equal(now->episodes_inserted, want->episodes_inserted);
        assert_int_equal(now->episodes_removed, want->episodes_removed);
        assert_int_equal(now->episodes_corrupt, want->episodes_corrupt);
        assert_int_equal(now->transitions_inserted, want->transitions_inserted);
        assert_int_equal(now->transitions_removed, want->transitions_removed);
        served_table_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_history_comes_back),
        cmocka_unit_test(another_rate_at_the_next_start_counts_from_there),
        cmocka_unit_test(a_history_that_is_ahead_is_settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
