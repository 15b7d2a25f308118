/* A robot for tests: two joints of which both position and velocity are observed, one action. */
#ifndef HINDCAST_TESTS_ROBOT_SAMPLES_H
#define HINDCAST_TESTS_ROBOT_SAMPLES_H

#include "common/robot/robot.h"

static inline void robot_sample(struct robot_description *robot)
{
    *robot = (struct robot_description){
        .name = "sample", .n_joints = 2, .deadline_s = 0.05, .lease_ms = 1000, .slow_motion = 1.0};
    struct environment_description *environment = &robot->environment;
    environment->signature = (struct signature){.n_slices = 2,
                                                .slices = {{"position", 2}, {"velocity", 2}},
                                                .A = 1,
                                                .action_min = {-2.0f},
                                                .action_max = {2.0f},
                                                .K = 1,
                                                .rewards = {"goal"},
                                                .control_period_s = 0.1};
    environment->open_max = 1;
    environment->real_time = true;
    environment->start_flags = ENVIRONMENT_START_KEEP;
    environment->step_limit = 3;
    environment->success_steps = 2;
    environment->success[0] = 0.5;
    robot->joints[0] = (struct robot_joint){.name = "hip",
                                            .position = 0,
                                            .velocity = 2,
                                            .has_position = true,
                                            .position_min = -1,
                                            .position_max = 1,
                                            .velocity_max = 3,
                                            .acceleration_max = 10};
    robot->joints[1] = (struct robot_joint){.name = "knee", .velocity = 3, .velocity_max = 1};
    robot->action_rate_max[0] = 5; /* 0.5 in a step */
}

#endif
