/* The stop rule, by cases worked out by hand. */
#include "evaluator/stop_rule.h"

#include <math.h>

#include "tests/lib/check.h"

/* Feeds `n` means; says after how many it stopped (0: it did not). */
static int stops_after_window(uint32_t patience, double min_delta, uint32_t window,
                              const double *means, int n)
{
    struct stop_rule rule;
    stop_rule_init(&rule, patience, min_delta, window);
    for (int i = 0; i < n; i++) {
        if (stop_rule_add(&rule, &means[i], 1)) {
            return i + 1;
        }
    }
    return 0;
}

static int stops_after(uint32_t patience, double min_delta, const double *means, int n)
{
    return stops_after_window(patience, min_delta, 1, means, n);
}

/* Means of three: 2, 4, 5, 4, 5: the last two are no improvement. Single ones would stop earlier. */
static void the_mean_of_a_window_counts(void **state)
{
    (void)state;
    const double means[] = {4, 0, 2, 10, 3, -1, 13};
    assert_int_equal(stops_after_window(2, 0, 3, means, 7), 7);
    assert_int_equal(stops_after_window(2, 0, 1, means, 7), 3);
    assert_int_equal(stops_after_window(1, 0, 3, means, 2), 0);
    const double gap[] = {1, (double)NAN, 1, 1, 1, 1};
    assert_int_equal(stops_after_window(2, 0, 2, gap, 6), 3);
    assert_int_equal(stops_after_window(3, 0, 2, gap, 6), 0);
}

static void stops_when_nothing_improves(void **state)
{
    (void)state;
    const double means[] = {1, 5, 4, 3, 5, 2};
    assert_int_equal(stops_after(3, 0, means, 6), 5);
    assert_int_equal(stops_after(4, 0, means, 6), 6);
    assert_int_equal(stops_after(5, 0, means, 6), 0);
}

static void patience_nought_never_stops(void **state)
{
    (void)state;
    double means[100] = {0};
    assert_int_equal(stops_after(0, 0, means, 100), 0);
    assert_int_equal(stops_after(99, 0, means, 100), 100);
}

/* Small steps count once they have come to more than min_delta together. */
static void small_steps_add_up(void **state)
{
    (void)state;
    const double means[] = {10, 11, 12, 13, 14, 14.5, 15, 15};
    /* Improvements at 10, 13 (> 12), 15.5 would be the next: four without. */
    assert_int_equal(stops_after(3, 2, means, 8), 7);
    assert_int_equal(stops_after(2, 2, means, 8), 3);
}

static void what_is_not_a_number_is_no_improvement(void **state)
{
    (void)state;
    const double means[] = {1, (double)NAN, (double)INFINITY, 0.5};
    assert_int_equal(stops_after(3, 0, means, 4), 4);
    const double none[] = {(double)NAN, (double)NAN};
    assert_int_equal(stops_after(2, 0, none, 2), 2);
}

static void negative_returns_can_improve(void **state)
{
    (void)state;
    const double means[] = {-100, -50, -60, -40, -41, -42};
    assert_int_equal(stops_after(2, 0, means, 6), 6);
}

/* One task goes on to improve while the mean of both does not. */
static void any_of_several_values_counts(void **state)
{
    (void)state;
    const double means[][2] = {{10, 10}, {9, 11}, {8, 12}, {7, 13}, {7, 13}, {6, 13}};
    struct stop_rule rule;
    stop_rule_init(&rule, 2, 0, 1);
    for (int i = 0; i < 5; i++) {
        assert_false(stop_rule_add(&rule, means[i], 2));
    }
    assert_true(stop_rule_add(&rule, means[5], 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_mean_of_a_window_counts),
        cmocka_unit_test(stops_when_nothing_improves),
        cmocka_unit_test(patience_nought_never_stops),
        cmocka_unit_test(small_steps_add_up),
        cmocka_unit_test(what_is_not_a_number_is_no_improvement),
        cmocka_unit_test(negative_returns_can_improve),
        cmocka_unit_test(any_of_several_values_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
