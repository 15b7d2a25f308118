/* Checks of a description, and the names of faults. Pure. */
#include "common/robot/robot.h"

#include <math.h>

#define PERIOD_MAX_S 60.0 /* longer control periods are mistakes */
#define LEASE_MIN_MS 100u

/* One joint: its elements are in the observation, its limits are numbers in order. */
static status check_joint(const struct robot_joint *joint, uint32_t O, struct err *err)
{
    if ((joint->has_position && joint->position >= O) ||
        ((joint->velocity_max > 0 || joint->acceleration_max > 0) && joint->velocity >= O)) {
        return err_set(err, STATUS_INVALID,
                       "joint %s: elements %u and %u: the observation has %u elements", joint->name,
                       joint->position, joint->velocity, O);
    }
    /* Written so that NaN fails too. */
    if (joint->has_position && !(joint->position_min < joint->position_max)) {
        return err_set(err, STATUS_INVALID, "joint %s: position limits %g..%g: expected min < max",
                       joint->name, joint->position_min, joint->position_max);
    }
    if (!(joint->velocity_max >= 0 && joint->acceleration_max >= 0)) {
        return err_set(err, STATUS_INVALID,
                       "joint %s: velocity_max %g, acceleration_max %g: expected 0 or more",
                       joint->name, joint->velocity_max, joint->acceleration_max);
    }
    return STATUS_OK;
}

status robot_check(const struct robot_description *robot, struct err *err)
{
    const struct signature *signature = &robot->environment.signature;
    const double period_s = robot_period_s(robot);
    status s = signature_check(signature, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (!(period_s > 0 && period_s <= PERIOD_MAX_S)) {
        return err_set(err, STATUS_INVALID, "control period %g s: expected above 0, at most %g",
                       period_s, PERIOD_MAX_S);
    }
    if (!(robot->deadline_s > 0 && robot->deadline_s <= period_s)) {
        return err_set(err, STATUS_INVALID,
                       "deadline %g s: expected above 0, at most the control period %g s",
                       robot->deadline_s, period_s);
    }
    if (robot->lease_ms < LEASE_MIN_MS) {
        return err_set(err, STATUS_INVALID, "lease %u ms: expected at least %u", robot->lease_ms,
                       LEASE_MIN_MS);
    }
    for (uint32_t j = 0; s == STATUS_OK && j < robot->n_joints; j++) {
        s = check_joint(&robot->joints[j], signature_observation(signature), err);
    }
    for (uint32_t a = 0; s == STATUS_OK && a < signature->A; a++) {
        if (!(robot->action_rate_max[a] >= 0)) {
            s = err_set(err, STATUS_INVALID, "action %u: rate limit %g: expected 0 or more", a,
                        robot->action_rate_max[a]);
        }
    }
    for (uint32_t k = 0; s == STATUS_OK && k < signature->K; k++) {
        if (!isfinite(robot->environment.success[k])) {
            s = err_set(err, STATUS_INVALID, "success %u: %g", k, robot->environment.success[k]);
        }
    }
    return s;
}

const char *robot_fault_text(enum robot_fault_kind kind)
{
    switch (kind) {
    case ROBOT_FAULT_LATE:
        return "late";
    case ROBOT_FAULT_SENSOR:
        return "sensor";
    case ROBOT_FAULT_LIMITS:
        return "limits";
    case ROBOT_FAULT_STOPPED:
        return "stopped";
    case ROBOT_FAULT_ROBOT:
        return "robot";
    case ROBOT_FAULT_UNKNOWN:
        break;
    }
    return "unknown";
}

status robot_fault_status(enum robot_fault_kind kind)
{
    switch (kind) {
    case ROBOT_FAULT_LATE:
        return STATUS_TIMEOUT;
    case ROBOT_FAULT_SENSOR:
        return STATUS_CORRUPT;
    case ROBOT_FAULT_LIMITS:
        return STATUS_LIMIT;
    case ROBOT_FAULT_STOPPED:
    case ROBOT_FAULT_ROBOT:
    case ROBOT_FAULT_UNKNOWN:
        break;
    }
    return STATUS_UNAVAILABLE;
}
