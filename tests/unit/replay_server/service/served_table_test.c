/* Making room: what must go, in which order, and when it cannot. */
#include <string.h>

#include "common/base/memory.h"
#include "replay_server/service/served_table.h"
#include "tests/lib/check.h"
#include "tests/lib/trajectories.h"

static struct served_table *make(const char *remover, int64_t transitions, int64_t bytes,
                                 int64_t episodes)
{
    static struct options options;
    static struct store_table record;
    struct served_table *table;
    options = (struct options){
        .max_transitions = transitions, .max_bytes = bytes, .max_episodes = episodes};
    strcpy(options.remover, remover);
    trajectories_signature(&record.signature, 1);
    strcpy(record.name, "default");
    assert_int_equal(served_table_new(&table, &record, &options, NULL), STATUS_OK);
    /* Ids 1 .. 5 with 10, 20, .. 50 transitions, 100 bytes each. */
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

static void check(struct served_table *table, uint32_t T, uint64_t bytes, uint32_t n,
                  const uint64_t *ids)
{
    struct room room;
    struct err err;
    uint64_t transitions = 0;
    assert_int_equal(served_table_make_room(table, T, bytes, &room, &err), STATUS_OK);
    assert_int_equal(room.n, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(room.ids[i], ids[i]);
        transitions += 10 * ids[i];
    }
    assert_int_equal(room.transitions, transitions);
    mem_free(room.ids);
    served_table_free(table);
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
    struct room room;
    struct err err;
    struct served_table *table = make("fifo", 160, 600, 0);
    assert_int_equal(served_table_make_room(table, 161, 1, &room, &err), STATUS_FULL);
    assert_non_null(strstr(err.text, "max_transitions 160"));
    assert_int_equal(served_table_make_room(table, 1, 601, &room, &err), STATUS_FULL);
    served_table_free(table);
    table = make("none", 160, 0, 0);
    assert_int_equal(served_table_make_room(table, 11, 1, &room, &err), STATUS_FULL);
    assert_string_equal(err.text, "table default is full and its remover is none");
    served_table_free(table);
}

static void what_is_on_its_way_counts_and_cannot_go(void **state)
{
    (void)state;
    struct room room;
    struct err err;
    struct served_table *table = make("fifo", 160, 0, 0);
    const struct table_episode pending = {
        .identity = {.episode = 9}, .id = 9, .bytes = 1, .priority = 1, .n_rows = 101};
    for (uint64_t id = 1; id <= 5; id++) {
        assert_true(table_remove(table->table, id, false));
    }
    assert_int_equal(table_begin(table->table, &pending), STATUS_OK);
    assert_int_equal(served_table_make_room(table, 60, 1, &room, &err), STATUS_OK);
    assert_int_equal(room.n, 0);
    assert_int_equal(served_table_make_room(table, 61, 1, &room, &err), STATUS_RETRY);
    table_commit(table->table, 9);
    assert_int_equal(served_table_make_room(table, 61, 1, &room, &err), STATUS_OK);
    assert_int_equal(room.n, 1);
    mem_free(room.ids);
    served_table_free(table);
}

static void the_history_comes_back(void **state)
{
    (void)state;
    struct served_table *a = make("fifo", 0, 0, 0);
    struct served_table *b = make("fifo", 0, 0, 0);
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
    assert_int_equal(b->limiter.sampled, 99);
    assert_int_equal(b->limiter.fresh_inserted, 50);
    assert_int_equal(b->limiter.evicted, 7);
    assert_int_equal(table_counts(b->table)->transitions_inserted, 150);
    assert_int_equal(table_counts(b->table)->transitions_removed, 10);
    assert_int_equal(table_counts(b->table)->episodes_corrupt, 1);
    served_table_free(a);
    served_table_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_goes_where_it_fits),
        cmocka_unit_test(the_oldest_or_the_newest_goes),
        cmocka_unit_test(what_never_fits_is_refused),
        cmocka_unit_test(what_is_on_its_way_counts_and_cannot_go),
        cmocka_unit_test(the_history_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
