/* The reorder buffer: sequences come out once each, in order, in whatever order they finish. */
#include "collector/reorder_buffer.h"
#include "common/base/rng.h"
#include "tests/lib/check.h"

enum { LANES = 4, BLOCK_MAX = 5 };

/* Items are sequences as pointers. */
static void *item_of(uint64_t sequence)
{
    return (void *)(uintptr_t)sequence;
}

/* One that acts: the sequences that are left of its block, and whether the first is being acted. */
struct lane {
    uint64_t next, n_left;
    bool acting;
};

/* One lane does at random what it can do; false: nothing. */
static bool move(struct lane *lane, struct reorder_buffer *buffer)
{
    if (lane->n_left == 0) {
        return reorder_buffer_start(buffer, &lane->next, &lane->n_left) == STATUS_OK;
    }
    if (!lane->acting) {
        lane->acting = reorder_buffer_may_act(buffer, lane->next);
        return lane->acting;
    }
    reorder_buffer_finish(buffer, lane->next, item_of(lane->next));
    lane->acting = false;
    lane->next++;
    lane->n_left--;
    return true;
}

/* With windows as the worker pool has them nothing ever gets stuck. */
static void finished_in_any_order_handed_on_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct reorder_buffer buffer;
        struct lane lanes[LANES] = {0};
        struct rng rng;
        uint64_t expected = 6, first, n;
        rng_init(&rng, seed, "order", 0);
        const uint32_t block = 1 + (uint32_t)rng_below(&rng, BLOCK_MAX);
        const uint32_t n_lanes = 1 + (uint32_t)rng_below(&rng, LANES);
        const uint32_t window = n_lanes * block + 1;
        reorder_buffer_init(&buffer, window, block, 5, 105);
        while (!reorder_buffer_done(&buffer)) {
            /* Someone who can do something is always there: a lane, or who takes finished ones. */
            bool moved = false;
            const uint64_t who = rng_below(&rng, n_lanes + 1);
            for (uint64_t i = 0; i <= n_lanes && !moved; i++) {
                const uint64_t k = (who + i) % (n_lanes + 1);
                void *item = k == n_lanes ? reorder_buffer_next(&buffer) : NULL;
                moved = k == n_lanes ? item != NULL : move(&lanes[k], &buffer);
                if (item != NULL) {
                    assert_ptr_equal(item, item_of(expected));
                    expected++;
                }
            }
            assert_true(moved);
            assert_true(buffer.n_items <= window);
        }
        assert_int_equal(expected, 106);
        assert_int_equal(reorder_buffer_start(&buffer, &first, &n), STATUS_CLOSED);
        assert_null(reorder_buffer_next(&buffer));
    }
}

static uint64_t started(struct reorder_buffer *buffer)
{
    uint64_t first, n;
    assert_int_equal(reorder_buffer_start(buffer, &first, &n), STATUS_OK);
    assert_int_equal(n, 1);
    return first;
}

static void the_window_bounds_what_is_under_way(void **state)
{
    (void)state;
    struct reorder_buffer buffer;
    uint64_t first, n;
    reorder_buffer_init(&buffer, 2, 1, 0, 0);
    assert_int_equal(started(&buffer), 1);
    assert_int_equal(started(&buffer), 2);
    assert_int_equal(reorder_buffer_start(&buffer, &first, &n), STATUS_QUEUE_FULL);
    reorder_buffer_finish(&buffer, 2, item_of(2));
    assert_null(reorder_buffer_next(&buffer));
    assert_int_equal(reorder_buffer_start(&buffer, &first, &n), STATUS_QUEUE_FULL);
    reorder_buffer_finish(&buffer, 1, item_of(1));
    assert_ptr_equal(reorder_buffer_next(&buffer), item_of(1));
    assert_int_equal(started(&buffer), 3);
    assert_false(reorder_buffer_done(&buffer));
}

/* Blocks begin at 1, 5, 9, also where a restart continues within one; the last is cut off. */
static void blocks_are_aligned(void **state)
{
    (void)state;
    struct reorder_buffer buffer;
    static const uint64_t expected[][2] = {{3, 2}, {5, 4}, {9, 2}};
    uint64_t first, n;
    reorder_buffer_init(&buffer, 9, 4, 2, 10);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(reorder_buffer_start(&buffer, &first, &n), STATUS_OK);
        assert_int_equal(first, expected[i][0]);
        assert_int_equal(n, expected[i][1]);
    }
    assert_int_equal(reorder_buffer_start(&buffer, &first, &n), STATUS_CLOSED);
}

static void what_is_left_can_be_drained(void **state)
{
    (void)state;
    struct reorder_buffer buffer;
    reorder_buffer_init(&buffer, 4, 1, 0, 0);
    for (int i = 0; i < 4; i++) {
        (void)started(&buffer);
    }
    reorder_buffer_finish(&buffer, 2, item_of(2));
    reorder_buffer_finish(&buffer, 4, item_of(4));
    uint64_t sum = 0;
    void *item;
    while ((item = reorder_buffer_drain(&buffer)) != NULL) {
        sum += (uint64_t)(uintptr_t)item;
    }
    assert_int_equal(sum, 6);
}

static void everything_was_done_before(void **state)
{
    (void)state;
    struct reorder_buffer buffer;
    uint64_t first, n;
    reorder_buffer_init(&buffer, 1, 1, 10, 10);
    assert_true(reorder_buffer_done(&buffer));
    assert_int_equal(reorder_buffer_start(&buffer, &first, &n), STATUS_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finished_in_any_order_handed_on_in_order),
        cmocka_unit_test(the_window_bounds_what_is_under_way),
        cmocka_unit_test(blocks_are_aligned),
        cmocka_unit_test(what_is_left_can_be_drained),
        cmocka_unit_test(everything_was_done_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
