/* Counts are checked before anything is copied into arrays of fixed sizes, the whole at the end by
 * robot_check. */
#include "common/robot/robot_wire.h"

#include <stdio.h>
#include <string.h>

void robot_wire_fill(struct robot_wire *wire, const struct robot_description *robot)
{
    const struct environment_description *environment = &robot->environment;
    Hindcast__RobotDescription *message = &wire->message;
    hindcast__robot_description__init(message);
    signature_wire_fill(&wire->signature, &environment->signature);
    /* The casts: protobuf-c's fields are not const, but packing only reads them. */
    message->name = (char *)robot->name;
    message->signature = &wire->signature.message;
    message->step_limit = environment->step_limit;
    message->start_flags = environment->start_flags;
    message->success_steps = environment->success_steps;
    message->n_success = environment->success_steps > 0 ? environment->signature.K : 0;
    message->success = (double *)environment->success;
    for (uint32_t j = 0; j < robot->n_joints; j++) {
        const struct robot_joint *joint = &robot->joints[j];
        hindcast__joint_limits__init(&wire->joints[j]);
        wire->joints[j].name = (char *)joint->name;
        wire->joints[j].position = joint->position;
        wire->joints[j].velocity = joint->velocity;
        wire->joints[j].has_position = joint->has_position;
        wire->joints[j].position_min = joint->position_min;
        wire->joints[j].position_max = joint->position_max;
        wire->joints[j].velocity_max = joint->velocity_max;
        wire->joints[j].acceleration_max = joint->acceleration_max;
        wire->joint_pointers[j] = &wire->joints[j];
    }
    message->n_joints = robot->n_joints;
    message->joints = wire->joint_pointers;
    message->n_action_rate_max = environment->signature.A;
    message->action_rate_max = (double *)robot->action_rate_max;
    message->deadline_s = robot->deadline_s;
    message->lease_ms = robot->lease_ms;
    message->slow_motion = robot->slow_motion;
}

/* The arrays fit, and have the sizes that the signature asks for. */
static status check_counts(const Hindcast__RobotDescription *message, const struct signature *have,
                           struct err *err)
{
    if (message->n_joints > ROBOT_JOINTS_MAX) {
        return err_set(err, STATUS_INVALID, "%zu joints: expected at most %d", message->n_joints,
                       ROBOT_JOINTS_MAX);
    }
    if (message->n_action_rate_max != 0 && message->n_action_rate_max != have->A) {
        return err_set(err, STATUS_INVALID, "%zu action_rate_max: expected none, or %u",
                       message->n_action_rate_max, have->A);
    }
    if (message->success_steps > 0 && message->n_success != have->K) {
        return err_set(err, STATUS_INVALID, "%zu success: expected %u, one per reward",
                       message->n_success, have->K);
    }
    return STATUS_OK;
}

static status read_joint(struct robot_joint *joint, const Hindcast__JointLimits *message,
                         struct err *err)
{
    if (strlen(message->name) >= sizeof joint->name) {
        return err_set(err, STATUS_INVALID, "joint \"%.32s..\": a name of %zu bytes", message->name,
                       strlen(message->name));
    }
    (void)snprintf(joint->name, sizeof joint->name, "%s", message->name);
    joint->position = message->position;
    joint->velocity = message->velocity;
    joint->has_position = message->has_position != 0;
    joint->position_min = message->position_min;
    joint->position_max = message->position_max;
    joint->velocity_max = message->velocity_max;
    joint->acceleration_max = message->acceleration_max;
    return STATUS_OK;
}

status robot_wire_read(struct robot_description *robot, const Hindcast__RobotDescription *message,
                       const char *uri, struct err *err)
{
    struct environment_description *environment = &robot->environment;
    memset(robot, 0, sizeof *robot);
    (void)snprintf(robot->name, sizeof robot->name, "%s", message->name);
    (void)snprintf(environment->uri, sizeof environment->uri, "%s", uri);
    status s = signature_wire_read(&environment->signature, message->signature, err);
    s = s != STATUS_OK ? s : check_counts(message, &environment->signature, err);
    if (s != STATUS_OK) {
        return s;
    }
    environment->step_limit = message->step_limit;
    environment->open_max = 1;
    environment->real_time = true;
    environment->start_flags =
        message->start_flags & (ENVIRONMENT_START_KEEP | ENVIRONMENT_START_ADVANCED);
    environment->success_steps = message->success_steps;
    for (size_t k = 0; message->success_steps > 0 && k < message->n_success; k++) {
        environment->success[k] = message->success[k];
    }
    robot->n_joints = (uint32_t)message->n_joints;
    for (size_t j = 0; s == STATUS_OK && j < message->n_joints; j++) {
        s = read_joint(&robot->joints[j], message->joints[j], err);
    }
    for (size_t a = 0; a < message->n_action_rate_max; a++) {
        robot->action_rate_max[a] = message->action_rate_max[a];
    }
    robot->deadline_s = message->deadline_s;
    robot->lease_ms = message->lease_ms;
    robot->slow_motion = message->slow_motion == 0 ? 1.0 : message->slow_motion;
    return s != STATUS_OK ? s : robot_check(robot, err);
}
