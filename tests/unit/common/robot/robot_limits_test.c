/* Each limit of a robot, at its edge and beyond. */
#include "common/robot/robot_limits.h"

#include <math.h>
#include <string.h>

#include "tests/lib/check.h"
#include "tests/unit/common/robot/robot_samples.h"

static struct robot_description robot;

static struct robot_limits begun(void)
{
    struct robot_limits limits = {0};
    robot_sample(&robot);
    robot_limits_begin(&limits, &robot);
    return limits;
}

static void actions(void **state)
{
    (void)state;
    struct err err = {0};
    static const struct {
        float first, second;
        status expected;
    } cases[] = {
        {2.0f, 2.0f, STATUS_OK},     {-2.0f, -1.5f, STATUS_OK},      {0.0f, 0.500001f, STATUS_OK},
        {0.0f, 0.52f, STATUS_LIMIT}, {2.0f, 2.1f, STATUS_LIMIT},     {-2.0f, -2.1f, STATUS_LIMIT},
        {0.0f, NAN, STATUS_LIMIT},   {0.0f, INFINITY, STATUS_LIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct robot_limits limits = begun();
        assert_int_equal(robot_limits_act(&limits, &cases[i].first, &err), STATUS_OK);
        assert_int_equal(robot_limits_act(&limits, &cases[i].second, &err), cases[i].expected);
    }
    /* A new episode has no action before it. */
    struct robot_limits limits = begun();
    const float low = -2.0f, high = 2.0f;
    assert_int_equal(robot_limits_act(&limits, &low, &err), STATUS_OK);
    robot_limits_begin(&limits, &robot);
    assert_int_equal(robot_limits_act(&limits, &high, &err), STATUS_OK);
    assert_int_equal(robot_limits_act(&limits, &low, &err), STATUS_LIMIT);
    assert_non_null(strstr(err.text, "changes from 2 to -2 in a step, 40 a second"));
}

static void observations(void **state)
{
    (void)state;
    struct err err = {0};
    static const struct {
        float values[4];
        status expected;
        const char *words;
    } cases[] = {
        {{1, 0, 1, 1}, STATUS_OK, ""},
        {{-1, 9e9f, -0.9f, -1}, STATUS_OK, ""}, /* the knee's position has no limits */
        {{1.01f, 0, 0, 0}, STATUS_LIMIT, "joint hip: position 1.01"},
        {{0, 0, 3.1f, 0}, STATUS_LIMIT, "joint hip: velocity 3.1"},
        {{0, 0, 1.1f, 0}, STATUS_LIMIT, "joint hip: acceleration 11"},
        {{0, 0, 0, 1.1f}, STATUS_LIMIT, "joint knee: velocity 1.1"},
        {{0, NAN, 0, 0}, STATUS_CORRUPT, "observation position[1] is"},
        {{0, 0, 0, INFINITY}, STATUS_CORRUPT, "observation velocity[1] is inf"},
    };
    const float still[4] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct robot_limits limits = begun();
        assert_int_equal(robot_limits_observe(&limits, still, &err), STATUS_OK);
        assert_int_equal(robot_limits_observe(&limits, cases[i].values, &err), cases[i].expected);
        assert_true(cases[i].expected == STATUS_OK || strstr(err.text, cases[i].words) != NULL);
    }
    /* Where nothing limits a velocity, what its index is does not matter. */
    robot_sample(&robot);
    robot.joints[1] = (struct robot_joint){.name = "knee", .velocity = UINT32_MAX};
    struct robot_limits without = {.robot = &robot};
    assert_int_equal(robot_limits_observe(&without, still, &err), STATUS_OK);
    /* The first observation has no acceleration. */
    struct robot_limits limits = begun();
    assert_int_equal(robot_limits_observe(&limits, (float[]){0, 0, 2.9f, 0}, &err), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(actions),
        cmocka_unit_test(observations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
