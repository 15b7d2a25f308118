/* The restorer's plan: every episode once a pass whoever shares it, the same order for the same
 * seed, positions that come back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "restorer/plan.h"
#include "tests/lib/check.h"

#define N 5
static const struct plan_shard shards[N] = {{1, 7}, {2, 1}, {3, 20}, {4, 0}, {5, 3}};
#define ALL 31

static struct plan *make(uint64_t seed, bool shuffle, uint32_t index, uint32_t count, size_t n)
{
    struct plan *plan;
    const struct plan_settings settings = {seed, shuffle, index, count};
    assert_int_equal(plan_new(&plan, shards, n, &settings, NULL), STATUS_OK);
    return plan;
}

/* Marks what one pass gives; at most once each. */
static void mark(struct plan *plan, uint8_t seen[N][20])
{
    struct plan_step step;
    const uint64_t pass = plan_position(plan).pass;
    for (uint64_t i = 0; i < plan_episodes(plan); i++) {
        assert_int_equal(plan_done(plan), i);
        plan_next(plan, &step);
        assert_false(step.pass_end);
        assert_true(step.shard_i < N && step.episode_i < shards[step.shard_i].episodes);
        assert_int_equal(seen[step.shard_i][step.episode_i]++, 0);
        assert_int_equal(plan_position(plan).pass, pass);
    }
    plan_next(plan, &step);
    assert_true(step.pass_end);
    assert_int_equal(plan_position(plan).pass, pass + 1);
}

static void shares_cover_all_once(void **state)
{
    (void)state;
    for (size_t n = 1; n <= N; n++) {
        for (uint32_t count = 1; count <= 9; count++) {
            uint8_t seen[3][N][20] = {{{0}}};
            uint64_t all = 0;
            for (uint32_t index = 0; index < count; index++) {
                struct plan *plan = make(3, index % 2 == 0, index, count, n);
                for (int pass = 0; pass < 3; pass++) {
                    mark(plan, seen[pass]);
                }
                plan_free(plan);
            }
            for (size_t i = 0; i < n; i++) {
                for (uint64_t e = 0; e < shards[i].episodes; e++) {
                    assert_int_equal(seen[0][i][e] + seen[1][i][e] + seen[2][i][e], 3);
                }
                all += shards[i].episodes;
            }
            assert_in_range(all, 0, ALL);
        }
    }
}

static uint64_t order_of(struct plan *plan)
{
    uint64_t order = 0;
    struct plan_step step;
    for (;;) {
        plan_next(plan, &step);
        if (step.pass_end) {
            return order;
        }
        order = order * 1000003 + step.shard_i * 100 + step.episode_i;
    }
}

static void order_depends_on_seed_and_pass_alone(void **state)
{
    (void)state;
    struct plan *a = make(1, true, 0, 1, N);
    struct plan *b = make(1, true, 0, 1, N);
    struct plan *c = make(2, true, 0, 1, N);
    struct plan *d = make(2, false, 0, 1, N);
    const uint64_t first = order_of(a);
    assert_true(first == order_of(b));
    assert_true(first != order_of(c));
    const uint64_t second = order_of(a);
    assert_true(first != second);
    assert_true(second == order_of(b));
    assert_true(order_of(d) == order_of(d)); /* unshuffled: always the same */
    plan_free(a);
    plan_free(b);
    plan_free(c);
    plan_free(d);
}

/* From every position of two passes, by cursor in another plan: the same goes on. */
static void cursors_bring_a_position_back(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 7; count += 3) {
        struct plan *plan = make(9, true, 0, count, N);
        unsigned char before[PLAN_CURSOR_SIZE] = {0};
        for (uint64_t i = 0; i < 2 * plan_episodes(plan) + 2; i++) {
            unsigned char cursor[PLAN_CURSOR_SIZE];
            struct plan_position position;
            struct plan *other = make(9, true, 0, count, N);
            plan_cursor(plan, plan_position(plan), cursor);
            assert_true(i == 0 || memcmp(before, cursor, 24) < 0);
            assert_int_equal(plan_from_cursor(other, cursor, sizeof cursor, &position, NULL),
                             STATUS_OK);
            assert_int_equal(plan_seek(other, position, NULL), STATUS_OK);
            assert_int_equal(plan_done(other), plan_done(plan));
            struct plan *walk = make(9, true, 0, count, N);
            assert_int_equal(plan_seek(walk, position, NULL), STATUS_OK);
            assert_true(order_of(walk) == order_of(other));
            plan_free(walk);
            plan_free(other);
            memcpy(before, cursor, sizeof before);
            struct plan_step step;
            plan_next(plan, &step);
        }
        plan_free(plan);
    }
}

static void strange_cursors_are_refused(void **state)
{
    (void)state;
    struct plan *plan = make(9, true, 0, 1, N);
    struct plan_position position = {3, 3, 3};
    unsigned char cursor[PLAN_CURSOR_SIZE];
    plan_cursor(plan, plan_position(plan), cursor);
    for (size_t i = 0; i < sizeof cursor; i++) {
        cursor[i] ^= 1;
        assert_int_equal(plan_from_cursor(plan, cursor, sizeof cursor, &position, NULL),
                         STATUS_CORRUPT);
        cursor[i] ^= 1;
        assert_int_equal(plan_from_cursor(plan, cursor, i, &position, NULL), STATUS_CORRUPT);
    }
    struct plan *others[] = {make(8, true, 0, 1, N), make(9, false, 0, 1, N),
                             make(9, true, 0, 2, N), make(9, true, 1, 2, N),
                             make(9, true, 0, 1, N - 1)};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(plan_from_cursor(others[i], cursor, sizeof cursor, &position, NULL),
                         STATUS_MISMATCH);
        plan_free(others[i]);
    }
    assert_int_equal(position.pass, 3);
    static const struct plan_position nowhere[] = {{0, 5, 0}, {0, 4, 1}, {0, 0, 20}, {7, 1000, 0}};
    struct plan_step step;
    plan_next(plan, &step);
    const struct plan_position here = plan_position(plan);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(plan_seek(plan, nowhere[i], NULL), STATUS_INVALID);
        assert_int_equal(plan_compare(plan_position(plan), here), 0);
    }
    plan_free(plan);
}

static void failing_memory_is_reported(void **state)
{
    (void)state;
    const struct plan_settings settings = {1, true, 0, 1};
    uint64_t nth = 1;
    for (;; nth++) {
        struct plan *plan = NULL;
        memory_fail_at(nth);
        const status s = plan_new(&plan, shards, N, &settings, NULL);
        memory_fail_at(0);
        if (s == STATUS_OK) {
            plan_free(plan);
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
        assert_null(plan);
    }
    assert_true(nth > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_cover_all_once),
        cmocka_unit_test(order_depends_on_seed_and_pass_alone),
        cmocka_unit_test(cursors_bring_a_position_back),
        cmocka_unit_test(strange_cursors_are_refused),
        cmocka_unit_test(failing_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
