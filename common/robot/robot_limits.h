/* The limits of a robot, checked step by step: on both sides of the service, so that neither relies
 * on the other.
 *
 *     action        min <= a <= max,  |a_t - a_(t-1)| / period <= action_rate_max
 *     observation   finite;  position_min <= q <= position_max,  |v| <= velocity_max,
 *                   |v_t - v_(t-1)| / period <= acceleration_max
 *
 * Pure; one thread. */
#ifndef HINDCAST_ROBOT_ROBOT_LIMITS_H
#define HINDCAST_ROBOT_ROBOT_LIMITS_H

#include "common/robot/robot.h"

struct robot_limits {
    const struct robot_description *robot; /* borrowed */
    bool acted, observed;                  /* in this episode */
    float action[SIGNATURE_ACTIONS_MAX];   /* the last one */
    float velocity[ROBOT_JOINTS_MAX];      /* the last ones */
};

/* A new episode: nothing has been observed or done. */
void robot_limits_begin(struct robot_limits *limits, const struct robot_description *robot);

/* action(A), physical: the next one. LIMIT names the action and its limit. */
status robot_limits_act(struct robot_limits *limits, const float *action,
                        struct err *err) MUST_CHECK;
/* observation(O): the next one. CORRUPT: not finite; LIMIT. */
status robot_limits_observe(struct robot_limits *limits, const float *observation,
                            struct err *err) MUST_CHECK;

#endif
