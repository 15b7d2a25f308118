/* The offset and delay of a clock, from exchanges whose truth is known. */
#include "common/robot/robot_clock.h"

#include "tests/lib/check.h"

static void offset_of_the_quickest_exchange(void **state)
{
    (void)state;
    struct robot_clock clock = {0};
    int64_t delay;
    assert_int_equal(robot_clock_offset_ns(&clock, &delay), 0);
    assert_int_equal(delay, 0);
    /* The other clock is 1000 behind; 10 there, 30 back, answered after 5. */
    robot_clock_add(&clock, 5000, 4010, 4015, 5045);
    assert_int_equal(robot_clock_offset_ns(&clock, &delay), -1010);
    assert_int_equal(delay, 40);
    /* 4 there, 4 back: nearer the truth. */
    robot_clock_add(&clock, 6000, 5004, 5010, 6014);
    assert_int_equal(robot_clock_offset_ns(&clock, &delay), -1000);
    assert_int_equal(delay, 8);
}

static void old_exchanges_are_forgotten(void **state)
{
    (void)state;
    struct robot_clock clock = {0};
    int64_t delay;
    robot_clock_add(&clock, 100, 100, 100, 100);
    for (int i = 0; i < ROBOT_CLOCK_SAMPLES; i++) {
        robot_clock_add(&clock, 1000, 2010, 2010, 1020);
    }
    assert_int_equal(robot_clock_offset_ns(&clock, &delay), 1000);
    assert_int_equal(delay, 20);
}

/* Zeros of the two clocks may be anywhere. */
static void far_apart(void **state)
{
    (void)state;
    struct robot_clock clock = {0};
    int64_t delay;
    robot_clock_add(&clock, 9000000000000000000ull, 10, 20, 9000000000000000030ull);
    assert_int_equal(robot_clock_offset_ns(&clock, &delay), -9000000000000000000ll);
    assert_int_equal(delay, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offset_of_the_quickest_exchange),
        cmocka_unit_test(old_exchanges_are_forgotten),
        cmocka_unit_test(far_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
