/* The rules by which an experiment is proposed: at their bounds, and between them. */
#include "deploy/local/start_experiment.h"
#include "tests/lib/check.h"

#include <math.h>

static void the_horizon_is_an_episode_within_bounds(void **state)
{
    (void)state;
    assert_int_equal(start_settings(148.6, 5943, 3, 1).horizon, 100);
    assert_int_equal(start_settings(30, 5943, 3, 1).horizon, 30);
    assert_int_equal(start_settings(1, 5943, 3, 1).horizon, 20);
    assert_int_equal(start_settings(64.4, 400000, 3, 1).horizon, 64);
}

static void every_transition_is_drawn_often_within_bounds(void **state)
{
    (void)state;
    assert_int_equal(start_settings(150, 5943, 3, 1).steps, 12000);
    /* 20 draws in batches of 256. */
    assert_int_equal(start_settings(150, 1000000, 3, 1).steps, 79000);
    assert_int_equal(start_settings(150, 100000000, 3, 1).steps, 200000);
}

static void rewards_are_scaled_where_their_size_is_unusual(void **state)
{
    (void)state;
    assert_true(start_settings(150, 5943, 3, 0).reward_scale == 1);
    assert_true(start_settings(150, 5943, 3, 0.2).reward_scale == 1);
    assert_true(start_settings(150, 5943, 3, 9).reward_scale == 1);
    assert_true(fabs(start_settings(150, 5943, 3, 320).reward_scale - 0.003) < 1e-15);
    assert_true(fabs(start_settings(150, 5943, 3, 0.004).reward_scale - 200) < 1e-9);
}

static void the_reach_grows_with_the_action(void **state)
{
    (void)state;
    assert_true(start_settings(150, 5943, 1, 1).eps == 0.1);
    assert_true(start_settings(150, 5943, 3, 1).eps == 0.3);
    assert_true(start_settings(150, 5943, 30, 1).eps == 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reach_grows_with_the_action),
        cmocka_unit_test(the_horizon_is_an_episode_within_bounds),
        cmocka_unit_test(every_transition_is_drawn_often_within_bounds),
        cmocka_unit_test(rewards_are_scaled_where_their_size_is_unusual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
