/* Comparisons, each with a message that gives the number, its limit and the name. What was checked
 * becomes "the last one", also where it failed: the episode is over then. */
#include "common/robot/robot_limits.h"

#include <math.h>
#include <string.h>

/* Share of a limit that is rounding: actions travel as floats. */
#define SLACK 1e-5

void robot_limits_begin(struct robot_limits *limits, const struct robot_description *robot)
{
    limits->robot = robot;
    limits->acted = false;
    limits->observed = false;
}

static double period_s(const struct robot_limits *limits)
{
    return limits->robot->environment.signature.control_period_s;
}

status robot_limits_act(struct robot_limits *limits, const float *action, struct err *err)
{
    const struct signature *signature = &limits->robot->environment.signature;
    for (uint32_t a = 0; a < signature->A; a++) {
        const double low = (double)signature->action_min[a];
        const double high = (double)signature->action_max[a];
        const double value = (double)action[a];
        const double slack = SLACK * (high - low);
        /* Written so that NaN fails too. */
        if (!(value >= low - slack && value <= high + slack)) {
            return err_set(err, STATUS_LIMIT, "action %u is %g: expected within %g..%g", a, value,
                           low, high);
        }
        const double most = limits->robot->action_rate_max[a];
        const double rate = fabs(value - (double)limits->action[a]) / period_s(limits);
        if (limits->acted && most > 0 && rate > most * (1 + SLACK) + slack) {
            return err_set(err, STATUS_LIMIT,
                           "action %u changes from %g to %g in a step, %g a second: expected at "
                           "most %g",
                           a, (double)limits->action[a], value, rate, most);
        }
    }
    memcpy(limits->action, action, signature->A * sizeof *action);
    limits->acted = true;
    return STATUS_OK;
}

/* Without such a limit the index of the velocity means nothing, and was not checked. */
static bool limits_velocity(const struct robot_joint *joint)
{
    return joint->velocity_max > 0 || joint->acceleration_max > 0;
}

/* One joint against its limits; `before` is its last velocity. */
static status check_joint(const struct robot_limits *limits, const struct robot_joint *joint,
                          const float *observation, float before, struct err *err)
{
    if (joint->has_position) {
        const double q = (double)observation[joint->position];
        if (q < joint->position_min || q > joint->position_max) {
            return err_set(err, STATUS_LIMIT, "joint %s: position %g: expected within %g..%g",
                           joint->name, q, joint->position_min, joint->position_max);
        }
    }
    if (!limits_velocity(joint)) {
        return STATUS_OK;
    }
    const double v = (double)observation[joint->velocity];
    if (joint->velocity_max > 0 && fabs(v) > joint->velocity_max) {
        return err_set(err, STATUS_LIMIT, "joint %s: velocity %g: expected at most %g", joint->name,
                       v, joint->velocity_max);
    }
    const double acceleration = fabs(v - (double)before) / period_s(limits);
    if (limits->observed && joint->acceleration_max > 0 && acceleration > joint->acceleration_max) {
        return err_set(err, STATUS_LIMIT, "joint %s: acceleration %g: expected at most %g",
                       joint->name, acceleration, joint->acceleration_max);
    }
    return STATUS_OK;
}

status robot_limits_observe(struct robot_limits *limits, const float *observation, struct err *err)
{
    const struct robot_description *robot = limits->robot;
    const struct signature *signature = &robot->environment.signature;
    const uint32_t O = signature_observation(signature);
    for (uint32_t i = 0; i < O; i++) {
        if (!isfinite(observation[i])) {
            char name[SIGNATURE_NAME_SIZE + 16];
            signature_name_observation(signature, i, name, sizeof name);
            return err_set(err, STATUS_CORRUPT, "observation %s is %g", name,
                           (double)observation[i]);
        }
    }
    status s = STATUS_OK;
    for (uint32_t j = 0; s == STATUS_OK && j < robot->n_joints; j++) {
        const struct robot_joint *joint = &robot->joints[j];
        s = check_joint(limits, joint, observation, limits->velocity[j], err);
        limits->velocity[j] = limits_velocity(joint) ? observation[joint->velocity] : 0.0f;
    }
    limits->observed = true;
    return s;
}
