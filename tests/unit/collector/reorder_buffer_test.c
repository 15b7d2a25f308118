/* The reorder buffer: sequences come out once each, in order, in whatever order they finish. */
#include "collector/reorder_buffer.h"
#include "common/base/rng.h"
#include "tests/lib/check.h"

#define WINDOW 7u

/* Items are sequences as pointers. */
static void *item_of(uint64_t sequence)
{
    return (void *)(uintptr_t)sequence;
}

static void finished_in_any_order_handed_on_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct reorder_buffer buffer;
        struct rng rng;
        uint64_t working[WINDOW], n_working = 0, expected = 6, sequence;
        rng_init(&rng, seed, "order", 0);
        reorder_buffer_init(&buffer, WINDOW, 5, 105);
        while (!reorder_buffer_done(&buffer)) {
            /* Start one, finish one or take what is there, at random. */
            uint64_t what = rng_below(&rng, 3);
            if (what == 0 && reorder_buffer_start(&buffer, &sequence) == STATUS_OK) {
                assert_true(sequence < expected + WINDOW);
                working[n_working++] = sequence;
            } else if (what == 1 && n_working > 0) {
                uint64_t i = rng_below(&rng, n_working);
                reorder_buffer_finish(&buffer, working[i], item_of(working[i]));
                working[i] = working[--n_working];
            } else if (what == 2) {
                void *item = reorder_buffer_next(&buffer);
                if (item != NULL) {
                    assert_ptr_equal(item, item_of(expected));
                    expected++;
                }
            }
        }
        assert_int_equal(expected, 106);
        assert_int_equal(reorder_buffer_start(&buffer, &sequence), STATUS_CLOSED);
        assert_null(reorder_buffer_next(&buffer));
    }
}

static void the_window_bounds_what_is_under_way(void **state)
{
    (void)state;
    struct reorder_buffer buffer;
    uint64_t sequence;
    reorder_buffer_init(&buffer, 2, 0, 0);
    assert_int_equal(reorder_buffer_start(&buffer, &sequence), STATUS_OK);
    assert_int_equal(reorder_buffer_start(&buffer, &sequence), STATUS_OK);
    assert_int_equal(sequence, 2);
    assert_int_equal(reorder_buffer_start(&buffer, &sequence), STATUS_QUEUE_FULL);
    reorder_buffer_finish(&buffer, 2, item_of(2));
    assert_null(reorder_buffer_next(&buffer));
    assert_int_equal(reorder_buffer_start(&buffer, &sequence), STATUS_QUEUE_FULL);
    reorder_buffer_finish(&buffer, 1, item_of(1));
    assert_ptr_equal(reorder_buffer_next(&buffer), item_of(1));
    assert_int_equal(reorder_buffer_start(&buffer, &sequence), STATUS_OK);
    assert_int_equal(sequence, 3);
    assert_false(reorder_buffer_done(&buffer));
}

static void what_is_left_can_be_drained(void **state)
{
    (void)state;
    struct reorder_buffer buffer;
    uint64_t sequence;
    reorder_buffer_init(&buffer, 4, 0, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(reorder_buffer_start(&buffer, &sequence), STATUS_OK);
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
    uint64_t sequence;
    reorder_buffer_init(&buffer, 1, 10, 10);
    assert_true(reorder_buffer_done(&buffer));
    assert_int_equal(reorder_buffer_start(&buffer, &sequence), STATUS_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finished_in_any_order_handed_on_in_order),
        cmocka_unit_test(the_window_bounds_what_is_under_way),
        cmocka_unit_test(what_is_left_can_be_drained),
        cmocka_unit_test(everything_was_done_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
