/* The table's index: counts, draws against a plain search, sealing, priorities, thousands of random
 * changes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/noise.h"
#include "common/base/rng.h"
#include "replay_server/table/table.h"
#include "tests/lib/check.h"

static const struct table_settings settings = {.sampler = SELECTOR_PRIORITIZED,
                                               .remover = SELECTOR_FIFO,
                                               .priority_exponent = 1,
                                               .removes = true};

static struct table_episode episode(uint64_t id, uint64_t number, uint32_t T)
{
    return (struct table_episode){.identity = {.source = 5, .episode = number},
                                  .id = id,
                                  .bytes = 100 + T,
                                  .priority = 1,
                                  .n_rows = T + 1};
}

static void add(struct table *table, uint64_t id, uint64_t number, uint32_t T)
{
    const struct table_episode e = episode(id, number, T);
    assert_int_equal(table_begin(table, &e), STATUS_OK);
    table_commit(table, id);
}

static void pending_episodes_are_known_and_not_drawn(void **state)
{
    (void)state;
    struct table *table;
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    add(table, 1, 10, 4);
    const struct table_episode e = episode(2, 11, 1000000);
    assert_int_equal(table_begin(table, &e), STATUS_OK);
    bool pending = false;
    assert_non_null(table_find(table, &e.identity, &pending));
    assert_true(pending);
    assert_int_equal(table_counts(table)->transitions, 4);
    assert_int_equal(table_counts(table)->pending_transitions, 1000000);
    for (uint32_t i = 0; i < 100; i++) {
        struct table_draw draw;
        table_draw(table, 1, 0, i, 0, 8, &draw);
        assert_int_equal(draw.id, 1);
    }
    struct table_episode duplicate = episode(3, 11, 7);
    assert_int_equal(table_begin(table, &duplicate), STATUS_EXISTS);
    assert_false(table_remove(table, 2, false));
    table_cancel(table, 2);
    assert_null(table_find(table, &e.identity, NULL));
    assert_int_equal(table_begin(table, &duplicate), STATUS_OK);
    table_commit(table, 3);
    assert_int_equal(table_counts(table)->episodes, 2);
    assert_int_equal(table_counts(table)->episodes_inserted, 2);
    assert_int_equal(table_counts(table)->transitions_inserted, 11);
    assert_true(table_check(table));
    table_free(table);
}

static void a_draw_is_the_transition_with_that_number(void **state)
{
    (void)state;
    struct table *table;
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    enum { EPISODES = 700 };
    uint32_t T[EPISODES];
    uint64_t sum = 0;
    for (uint32_t k = 0; k < EPISODES; k++) {
        T[k] = 1 + (k * 37) % 50;
        sum += T[k];
        add(table, k + 1, k, T[k]);
    }
    assert_int_equal(table_seal(table), STATUS_OK);
    for (uint32_t i = 0; i < 5000; i++) {
        struct table_draw draw;
        table_draw(table, 9, 4, i, 0, 8, &draw);
        /* Identities rise with k, so slots in order of identity are k = 0, 1, .. */
        uint64_t x = noise_below(sum, 9, 4, TABLE_DRAW_PURPOSE, i);
        uint32_t k = 0;
        while (x >= T[k]) {
            x -= T[k++];
        }
        assert_int_equal(draw.id, k + 1);
        assert_int_equal(draw.first_row, x);
        assert_int_equal(draw.n_valid, T[k] - x < 8 ? T[k] - x : 8);
        assert_int_equal(draw.n_rows, T[k] + 1);
        assert_true(fabs(draw.probability * (double)sum - 1) < 1e-12);
    }
    table_free(table);
}

static void sealed_draws_do_not_depend_on_arrival(void **state)
{
    (void)state;
    struct table *a, *b;
    assert_int_equal(table_new(&a, &settings), STATUS_OK);
    assert_int_equal(table_new(&b, &settings), STATUS_OK);
    for (uint32_t k = 0; k < 300; k++) {
        add(a, k + 1, k, 1 + k % 7);
        const uint32_t back = 299 - k;
        add(b, 10 * k + 5, back, 1 + back % 7);
    }
    /* b has seen more: something that was removed before sealing leaves no trace. */
    add(b, 5000, 1000, 77);
    assert_true(table_remove(b, 5000, false));
    assert_int_equal(table_version(a), 0);
    assert_int_equal(table_seal(a), STATUS_OK);
    assert_int_equal(table_seal(b), STATUS_OK);
    assert_int_not_equal(table_version(a), 0);
    assert_int_equal(table_version(a), table_version(b));
    for (uint32_t i = 0; i < 1000; i++) {
        struct table_draw x, y;
        table_draw(a, 1, 2, i, 0, 4, &x);
        table_draw(b, 1, 2, i, 0, 4, &y);
        assert_int_equal(table_get(a, x.id, NULL)->identity.episode,
                         table_get(b, y.id, NULL)->identity.episode);
        assert_int_equal(x.first_row, y.first_row);
    }
    /* The same episodes with one other length are other contents; so is one fewer. */
    const uint64_t version = table_version(a);
    assert_true(table_remove(a, 5, true));
    assert_int_not_equal(table_version(a), version);
    assert_int_equal(table_counts(a)->episodes_corrupt, 1);
    assert_true(table_check(a));
    assert_true(table_check(b));
    table_free(a);
    table_free(b);
}

/* In order of identity, whatever the order of arrival, and again from the first; a corrupt episode
 * that is taken out meanwhile is passed over. */
static void transitions_in_order_come_once_each(void **state)
{
    (void)state;
    struct table *table;
    struct table_place place = {0};
    struct table_draw draw;
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    add(table, 1, 30, 2);
    add(table, 2, 10, 3);
    add(table, 3, 20, 1);
    assert_int_equal(table_seal(table), STATUS_OK);
    static const uint64_t ids[] = {2, 2, 2, 3, 1, 1};
    static const uint32_t rows[] = {0, 1, 2, 0, 0, 1};
    for (uint64_t i = 0; i < 14; i++) {
        table_draw_in_order(table, i, 2, &place, &draw);
        assert_int_equal(draw.id, ids[i % 6]);
        assert_int_equal(draw.first_row, rows[i % 6]);
        assert_int_equal(draw.n_valid, draw.first_row + 2 < draw.n_rows ? 2 : 1);
    }
    assert_true(table_remove(table, 3, true));
    table_draw_in_order(table, 3, 2, &place, &draw);
    assert_int_equal(draw.id, 1);
    assert_int_equal(draw.first_row, 0);
    table_free(table);
}

static void all_transitions_are_equally_likely(void **state)
{
    (void)state;
    struct table *table;
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    static const uint32_t T[] = {1, 2, 17, 30};
    uint32_t counts[50] = {0};
    uint32_t offset[5] = {0};
    for (uint32_t k = 0; k < 4; k++) {
        add(table, k + 1, k, T[k]);
        offset[k + 1] = offset[k] + T[k];
    }
    enum { DRAWS = 200000 };
    for (uint32_t i = 0; i < DRAWS; i++) {
        struct table_draw draw;
        table_draw(table, 1, i / 1000, i % 1000, 0, 8, &draw);
        counts[offset[draw.id - 1] + draw.first_row]++;
    }
    double chi2 = 0;
    for (int t = 0; t < 50; t++) {
        const double expected = DRAWS / 50.0;
        chi2 += (counts[t] - expected) * (counts[t] - expected) / expected;
    }
    printf("chi2 %.1f of 49 degrees of freedom\n", chi2);
    assert_true(chi2 < 94); /* p = 1e-4 */
    table_free(table);
}

static void priorities_weigh_transitions(void **state)
{
    (void)state;
    struct table *table;
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    add(table, 1, 1, 10);
    add(table, 2, 2, 30);
    assert_true(table_draws_evenly(table));
    assert_int_equal(table_set_priority(table, 1, 6), STATUS_OK); /* 60 : 30 */
    assert_false(table_draws_evenly(table));
    assert_int_equal(table_set_priority(table, 3, 1), STATUS_NOT_FOUND);
    assert_int_equal(table_set_priority(table, 1, 0), STATUS_INVALID);
    assert_int_equal(table_set_priority(table, 1, (double)NAN), STATUS_INVALID);
    assert_int_equal(table_set_priority(table, 1, (double)INFINITY), STATUS_INVALID);
    enum { DRAWS = 90000 };
    uint32_t first = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        struct table_draw draw;
        table_draw(table, 1, 0, i, 0, 8, &draw);
        assert_true(draw.first_row + draw.n_valid < draw.n_rows);
        assert_true(fabs(draw.probability - (draw.id == 1 ? 6 : 1) / 90.0) < 1e-12);
        first += draw.id == 1;
    }
    printf("%u of %d, expected %d\n", first, DRAWS, DRAWS / 3 * 2);
    assert_true(abs((int)first - DRAWS / 3 * 2) < 5 * 142); /* 5 sigma: sqrt(90000 2/9) = 141 */
    assert_int_equal(table_set_priority(table, 1, 1), STATUS_OK);
    assert_true(table_draws_evenly(table));
    table_free(table);
}

/* Two learners that see the same version see the same draws. */
static void priorities_change_the_version_of_a_sealed_table(void **state)
{
    (void)state;
    struct table *a, *b, *even;
    const struct table_settings uniform = {.sampler = SELECTOR_UNIFORM};
    assert_int_equal(table_new(&a, &settings), STATUS_OK);
    assert_int_equal(table_new(&b, &settings), STATUS_OK);
    assert_int_equal(table_new(&even, &uniform), STATUS_OK);
    for (uint32_t k = 1; k <= 20; k++) {
        add(a, k, k, 5);
        add(b, k, k, 5);
        add(even, k, k, 5);
    }
    const uint64_t contents = table_contents_version(b);
    assert_int_equal(table_set_priority(b, 7, 3), STATUS_OK);
    assert_int_equal(table_contents_version(b), contents);
    assert_int_equal(table_seal(a), STATUS_OK);
    assert_int_equal(table_seal(b), STATUS_OK);
    assert_int_equal(table_seal(even), STATUS_OK);
    const uint64_t plain = table_version(a);
    assert_int_not_equal(plain, table_version(b));
    assert_int_equal(table_set_priority(a, 9, 0.5), STATUS_OK);
    assert_int_not_equal(plain, table_version(a));
    assert_int_equal(table_set_priority(a, 9, 1), STATUS_OK);
    assert_int_equal(table_version(a), plain); /* as it was before */
    assert_int_equal(table_set_priority(a, 7, 3), STATUS_OK);
    assert_int_equal(table_version(a), table_version(b)); /* set before or after the seal */
    assert_int_equal(table_version(even), plain);
    assert_int_equal(table_set_priority(even, 7, 3), STATUS_OK);
    assert_int_equal(table_version(even), plain); /* its draws do not use priorities */
    assert_true(table_remove(a, 7, true));
    assert_true(table_remove(b, 7, true));
    assert_int_equal(table_version(a), table_version(b));
    assert_true(table_check(a) && table_check(b) && table_check(even));
    table_free(a);
    table_free(b);
    table_free(even);
}

static void priorities_have_a_range(void **state)
{
    (void)state;
    struct table *table;
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    add(table, 1, 1, 1000000);
    static const double bad[] = {1.01e30, 0.99e-30, 1e308, 5e-324, -1};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(table_set_priority(table, 1, bad[i]), STATUS_INVALID);
    }
    /* At the ends of the range every transition is drawn. */
    add(table, 2, 2, 3);
    for (int end = 0; end < 2; end++) {
        const double priority = end ? TABLE_PRIORITY_MAX : TABLE_PRIORITY_MIN;
        bool seen[3] = {0};
        assert_int_equal(table_set_priority(table, 1, TABLE_PRIORITY_MIN), STATUS_OK);
        assert_int_equal(table_set_priority(table, 2, priority * (end ? 1 : 1e6)), STATUS_OK);
        for (uint32_t i = 0; i < 200; i++) {
            struct table_draw draw;
            table_draw(table, 1, 0, i, 0, 4, &draw);
            assert_true(isfinite(draw.probability) && draw.probability > 0);
            seen[draw.id == 2 ? draw.first_row : 0] = true;
        }
        assert_true(seen[0] && seen[1] && seen[2]);
    }
    table_free(table);
}

/* Rounding of uneven priorities must never lead to an empty place. */
static void extreme_priorities_draw_only_what_is_there(void **state)
{
    (void)state;
    struct table *table;
    struct rng rng;
    rng_init(&rng, 1, "table", 0);
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    for (uint32_t k = 0; k < 200; k++) {
        add(table, k + 1, k, 1 + (uint32_t)rng_below(&rng, 9));
        assert_int_equal(table_set_priority(table, k + 1, exp(60 * (rng_uniform(&rng) - 0.5))),
                         STATUS_OK);
        if (k % 3 == 2) {
            assert_true(table_remove(table, k, false));
        }
        for (uint32_t i = 0; i < 200; i++) {
            struct table_draw draw;
            table_draw(table, k, 0, i, 0, 4, &draw);
            assert_non_null(table_get(table, draw.id, NULL));
            assert_true(draw.first_row < draw.n_rows - 1);
        }
    }
    assert_true(table_check(table));
    table_free(table);
}

static void the_list_is_in_order_of_insertion(void **state)
{
    (void)state;
    struct table *table;
    assert_int_equal(table_new(&table, &settings), STATUS_OK);
    assert_null(table_newer(table, NULL));
    for (uint32_t k = 1; k <= 6; k++) {
        add(table, k, 100 - k, 1);
    }
    assert_true(table_remove(table, 1, false));
    assert_true(table_remove(table, 4, false));
    const struct table_episode last = episode(7, 50, 1);
    assert_int_equal(table_begin(table, &last),
                     STATUS_OK); /* pending: not in the list of what could go */
    static const uint64_t expected[] = {2, 3, 5, 6};
    for (int sealed = 0; sealed < 2; sealed++) {
        const struct table_episode *at = NULL;
        for (int i = 0; i < 4; i++) {
            at = table_newer(table, at);
            assert_int_equal(at->id, expected[i]);
        }
        assert_null(table_newer(table, at));
        for (int i = 3; i >= 0; i--) {
            assert_int_equal(at->id, expected[i]);
            at = table_older(table, at);
        }
        assert_null(at);
        if (!sealed) {
            table_cancel(table, 7);
            assert_int_equal(table_seal(table), STATUS_OK);
        }
    }
    table_free(table);
}

static void random_changes_keep_everything_in_step(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 36; seed++) {
        struct table *table;
        struct rng rng;
        rng_init(&rng, seed, "table", 1);
        /* Every kind of selector on both sides. */
        struct table_settings kinds = settings;
        kinds.sampler = (enum selector_kind)(seed % 6);
        kinds.remover = (enum selector_kind)(seed / 6 % 6);
        assert_int_equal(table_new(&table, &kinds), STATUS_OK);
        uint64_t next = 1;
        uint64_t present = 0;
        for (int round = 0; round < 1500; round++) {
            const uint64_t what = rng_below(&rng, 10);
            if (what < 6) {
                struct table_episode e =
                    episode(next++, rng_below(&rng, 800), 1 + (uint32_t)rng_below(&rng, 60));
                e.priority = rng_below(&rng, 4) == 0 ? 2.5 : 1;
                e.client = (uint32_t)rng_below(&rng, 5);
                const bool known = table_find(table, &e.identity, NULL) != NULL;
                assert_int_equal(table_begin(table, &e), known ? STATUS_EXISTS : STATUS_OK);
                if (!known && rng_below(&rng, 8) == 0) {
                    table_cancel(table, e.id);
                } else if (!known) {
                    table_commit(table, e.id);
                    present++;
                }
            } else if (what < 9) {
                present -= table_remove(table, 1 + rng_below(&rng, next), false);
            } else {
                status s =
                    table_set_priority(table, 1 + rng_below(&rng, next), 1 + rng_uniform(&rng));
                assert_true(s == STATUS_OK || s == STATUS_NOT_FOUND);
            }
            assert_int_equal(table_counts(table)->episodes, present);
            if (round % 100 == 0 && !table_check(table)) {
                fail_msg("seed %d, round %d", (int)seed, round);
            }
        }
        const struct table_counts *c = table_counts(table);
        assert_int_equal(c->episodes_inserted - c->episodes_removed, present);
        assert_int_equal(table_seal(table), STATUS_OK);
        assert_true(table_check(table));
        table_free(table);
    }
}

/* With a heap, draws depend on priorities, and so does the version. */
static void a_heap_draws_from_one_end_of_the_priorities(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        const struct table_settings heap = {.sampler = k ? SELECTOR_MAX_HEAP : SELECTOR_MIN_HEAP};
        struct table *table;
        struct table_draw draw;
        assert_int_equal(table_new(&table, &heap), STATUS_OK);
        for (uint32_t id = 1; id <= 3; id++) {
            add(table, id, 10 - id, 4);
            assert_int_equal(table_set_priority(table, id, 2 + id), STATUS_OK);
        }
        assert_int_equal(table_seal(table), STATUS_OK);
        table_draw(table, 1, 0, 0, 0, 8, &draw);
        assert_int_equal(draw.id, k ? 3 : 1);
        assert_true(draw.probability == 0.25);
        const uint64_t version = table_version(table);
        assert_int_equal(table_set_priority(table, 2, k ? 9 : 1), STATUS_OK);
        assert_int_not_equal(table_version(table), version);
        table_draw(table, 1, 0, 0, 0, 8, &draw);
        assert_int_equal(draw.id, 2);
        table_free(table);
    }
}

/* Random draws and removals beside a plain count of what each episode has left. */
static void episodes_leave_when_they_are_used_up(void **state)
{
    (void)state;
    enum { EPISODES = 40, TIMES = 3 };
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct table_settings uses = settings;
        uses.sampler = (enum selector_kind)(seed % 6);
        uses.max_times_sampled = TIMES;
        uint64_t left[EPISODES + 1] = {0}, sum = 0;
        struct table *table;
        struct rng rng;
        rng_init(&rng, seed, "uses", 0);
        assert_int_equal(table_new(&table, &uses), STATUS_OK);
        for (uint64_t id = 1; id <= EPISODES; id++) {
            add(table, id, id, 1 + (uint32_t)rng_below(&rng, 9));
            left[id] = TIMES;
            sum += TIMES;
            for (uint64_t n = rng_below(&rng, 5); n > 0 && sum > 0; n--) {
                struct table_draw draw;
                table_draw(table, seed, id, (uint32_t)n, 0, 4, &draw);
                assert_true(left[draw.id] > 0);
                assert_int_equal(table_use(table, draw.id), left[draw.id] == 1);
                left[draw.id]--;
                sum--;
            }
            if (rng_below(&rng, 6) == 0 && table_remove(table, id, false)) {
                sum -= left[id];
                left[id] = 0;
            }
            assert_int_equal(table_draws_left(table), sum);
            assert_true(table_check(table));
        }
        /* Sealed, a table keeps what it has. */
        assert_int_equal(table_seal(table), STATUS_OK);
        const uint64_t resident = table_counts(table)->episodes;
        for (uint64_t id = 1; id <= EPISODES; id++) {
            assert_false(left[id] > 0 && table_use(table, id));
        }
        assert_true(table_draws_left(table) == UINT64_MAX);
        assert_int_equal(table_counts(table)->episodes, resident);
        table_free(table);
    }
}

/* What is taken is what was drawn since, whatever has come and gone; a table that is loaded from it
 * goes on where the first one was. */
static void how_often_episodes_were_sampled_is_taken_once(void **state)
{
    (void)state;
    enum { EPISODES = 300, TIMES = 4 };
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct table_settings uses = settings;
        uses.sampler = SELECTOR_UNIFORM;
        uses.max_times_sampled = TIMES;
        uint32_t drawn[EPISODES + 1] = {0}, stored[EPISODES + 1] = {0};
        struct table *table, *again;
        struct rng rng;
        rng_init(&rng, seed, "times", 0);
        assert_int_equal(table_new(&table, &uses), STATUS_OK);
        for (uint64_t id = 1; id <= EPISODES; id++) {
            struct table_draw draw;
            struct table_times times[8];
            add(table, id, id, 3);
            for (uint64_t n = rng_below(&rng, 4); n > 0 && table_draws_left(table) > 0; n--) {
                table_draw(table, seed, id, (uint32_t)n, 0, 4, &draw);
                drawn[draw.id]++;
                (void)table_use(table, draw.id);
            }
            const uint32_t max = (uint32_t)rng_below(&rng, 9);
            const uint32_t n = table_take_times(table, times, max);
            assert_true(n <= max);
            for (uint32_t i = 0; i < n; i++) {
                assert_int_equal(times[i].times, drawn[times[i].id]);
                if (rng_below(&rng, 8) == 0) {
                    table_note_times(table, times[i].id); /* was not stored */
                } else {
                    stored[times[i].id] = times[i].times;
                }
            }
            assert_true(table_check(table));
        }
        struct table_times rest[EPISODES];
        const uint32_t n = table_take_times(table, rest, EPISODES);
        for (uint32_t i = 0; i < n; i++) {
            stored[rest[i].id] = rest[i].times;
        }
        assert_int_equal(table_noted_times(table), 0);
        assert_int_equal(table_new(&again, &uses), STATUS_OK);
        for (uint64_t id = 1; id <= EPISODES; id++) {
            const struct table_episode e = episode(id, id, 3);
            if (table_get(table, id, NULL) != NULL) {
                assert_int_equal(stored[id], drawn[id]);
                assert_int_equal(table_load(again, &e), STATUS_OK);
                table_set_times_sampled(again, id, stored[id]);
            }
        }
        assert_int_equal(table_draws_left(again), table_draws_left(table));
        /* One that was used up, and whose removal was lost, has one draw. */
        const struct table_episode last = episode(EPISODES + 1, EPISODES + 1, 3);
        assert_int_equal(table_load(again, &last), STATUS_OK);
        table_set_times_sampled(again, last.id, TIMES);
        assert_int_equal(table_draws_left(again), table_draws_left(table) + 1);
        assert_true(table_use(again, last.id));
        assert_true(table_check(again));
        table_free(again);
        table_free(table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pending_episodes_are_known_and_not_drawn),
        cmocka_unit_test(a_draw_is_the_transition_with_that_number),
        cmocka_unit_test(sealed_draws_do_not_depend_on_arrival),
        cmocka_unit_test(transitions_in_order_come_once_each),
        cmocka_unit_test(all_transitions_are_equally_likely),
        cmocka_unit_test(priorities_weigh_transitions),
        cmocka_unit_test(priorities_change_the_version_of_a_sealed_table),
        cmocka_unit_test(priorities_have_a_range),
        cmocka_unit_test(extreme_priorities_draw_only_what_is_there),
        cmocka_unit_test(the_list_is_in_order_of_insertion),
        cmocka_unit_test(random_changes_keep_everything_in_step),
        cmocka_unit_test(a_heap_draws_from_one_end_of_the_priorities),
        cmocka_unit_test(episodes_leave_when_they_are_used_up),
        cmocka_unit_test(how_often_episodes_were_sampled_is_taken_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
