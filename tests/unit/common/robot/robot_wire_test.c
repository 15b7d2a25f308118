/* Descriptions as messages and back, and those that are refused. */
#include "common/robot/robot_wire.h"

#include <math.h>
#include <stdlib.h>

#include "tests/lib/check.h"
#include "tests/unit/common/robot/robot_samples.h"

static struct robot_description robot, read_back;
static struct robot_wire wire;

static void round_trip(void **state)
{
    (void)state;
    struct err err = {0};
    robot_sample(&robot);
    robot_wire_fill(&wire, &robot);
    assert_int_equal(robot_wire_read(&read_back, &wire.message, "robot:x", &err), STATUS_OK);
    assert_string_equal(read_back.environment.uri, "robot:x");
    (void)snprintf(robot.environment.uri, sizeof robot.environment.uri, "robot:x");
    assert_memory_equal(&robot, &read_back, sizeof robot);
}

/* Each change makes a description that nobody may act with. */
static void refused(void **state)
{
    (void)state;
    struct err err = {0};
    for (int change = 0; change < 9; change++) {
        robot_sample(&robot);
        switch (change) {
        case 0:
            robot.deadline_s = 0.11;
            break;
        case 1:
            robot.deadline_s = NAN;
            break;
        case 2:
            robot.lease_ms = 10;
            break;
        case 3:
            robot.joints[0].position = 4;
            break;
        case 4:
            robot.joints[1].velocity = 4;
            break;
        case 5:
            robot.joints[0].position_min = 1;
            break;
        case 6:
            robot.joints[0].acceleration_max = NAN;
            break;
        case 7:
            robot.action_rate_max[0] = -1;
            break;
        default:
            robot.environment.signature.control_period_s = 0;
            break;
        }
        robot_wire_fill(&wire, &robot);
        assert_int_equal(robot_wire_read(&read_back, &wire.message, "robot:x", &err),
                         STATUS_INVALID);
        assert_true(err.text[0] != '\0');
    }
    robot_sample(&robot);
    robot_wire_fill(&wire, &robot);
    wire.message.n_success = 0;
    assert_int_equal(robot_wire_read(&read_back, &wire.message, "robot:x", &err), STATUS_INVALID);
    robot_wire_fill(&wire, &robot);
    wire.message.n_joints = ROBOT_JOINTS_MAX + 1;
    assert_int_equal(robot_wire_read(&read_back, &wire.message, "robot:x", &err), STATUS_INVALID);
    robot_wire_fill(&wire, &robot);
    wire.message.signature = NULL;
    assert_int_equal(robot_wire_read(&read_back, &wire.message, "robot:x", &err), STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
