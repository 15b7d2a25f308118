/* What a robot is: an environment with a clock of its own, limits, and a deadline for each action.
 * Both sides of the `Robot` service (docs/robot.md) have the same description: the driver makes it,
 * clients receive it with Describe. */
#ifndef HINDCAST_ROBOT_ROBOT_H
#define HINDCAST_ROBOT_ROBOT_H

#include "common/environments/environment.h"

#define ROBOT_JOINTS_MAX 64

/* Limits of one joint, axis or wheel, in units of the observation. */
struct robot_joint {
    char name[SIGNATURE_NAME_SIZE];
    uint32_t position, velocity; /* elements of the observation */
    bool has_position;           /* position_min .. position_max are checked */
    double position_min, position_max;
    double velocity_max;     /* of |velocity|; 0: not checked */
    double acceleration_max; /* of |change of velocity| / period; 0: not checked */
};

/* Plain data, copied by assignment; about 20 KiB. */
struct robot_description {
    char name[ENVIRONMENT_URI_SIZE];
    struct environment_description environment; /* open_max 1, real_time */
    uint32_t n_joints;
    struct robot_joint joints[ROBOT_JOINTS_MAX];
    double action_rate_max[SIGNATURE_ACTIONS_MAX]; /* physical, per second; 0: not checked */
    double deadline_s;  /* the action must be there this long after its observation */
    uint32_t lease_ms;  /* a session in which nothing comes for this long is over */
    double slow_motion; /* seconds of the robot's clock for one second of control time, >= 1e-3 */
};

/* From one observation to the next, by the clock. */
static inline double robot_period_s(const struct robot_description *robot)
{
    return robot->environment.signature.control_period_s * robot->slow_motion;
}

/* Is it one that can be acted with? Names, sizes, indices, numbers finite, the deadline within the
 * period. Every description from outside is checked here. INVALID names what is wrong. */
status robot_check(const struct robot_description *robot, struct err *err) MUST_CHECK;

/* Where an episode begins. */
struct robot_start {
    uint64_t episode; /* chosen by the client, rising */
    uint64_t seed;
    uint32_t task;
    uint32_t flags; /* enum environment_start_flags */
};

/* One observation, and what the step that led to it was worth. The arrays are borrowed. */
struct robot_frame {
    uint64_t episode;
    uint64_t step;            /* 0: the first of the episode */
    const float *observation; /* (O) */
    const float *rewards;     /* (K); not read in frame 0 */
    float discount;
    bool last;
    uint64_t observed_ns; /* by the driver's clock */
};

/* Why an episode ended before its time: the numbers of RobotResponse.Fault.Kind. */
enum robot_fault_kind {
    ROBOT_FAULT_UNKNOWN = 0,
    ROBOT_FAULT_LATE = 1,
    ROBOT_FAULT_SENSOR = 2,
    ROBOT_FAULT_LIMITS = 3,
    ROBOT_FAULT_STOPPED = 4,
    ROBOT_FAULT_ROBOT = 5,
};
/* "late", "sensor", ..; for metrics and marks. */
const char *robot_fault_text(enum robot_fault_kind kind);
/* What environment_step returns for it: TIMEOUT, CORRUPT, LIMIT, or UNAVAILABLE. */
status robot_fault_status(enum robot_fault_kind kind);

#endif
