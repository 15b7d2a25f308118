/* The Sawyer scene as a plant: the control law that turns five numbers into the commands of eight
 * servos, and the observation.
 *
 * Action(5), each in [-1, 1], clipped: velocity of the tool along x, y, z (0.07 m/s at 1), rotation
 * about the vertical (1 rad/s), fingers (+1 opens, 255 ticks/s of 255). The tool keeps pointing down
 * and within its workspace. Operational-space velocity control by damped least squares with a
 * null-space pull towards a home pose:
 *
 *     y = (J J' + 1e-4 I)^-1 (twist - J p),   dq = J' y + p,   p = 0.3 (home - q)
 *
 * scaled down where a joint would exceed its speed; servo references stay close to their joints, so
 * that they do not run away where the arm is blocked.
 *
 * Observation(26 + 16 blocks), of sawyer_slices: joints, fingers, tool, then per block its pose,
 * velocity and position from the tool; world axes.
 *
 * The order of floating-point operations is the recordings' (tests/golden/sawyer). One thread; the
 * state is in mjData alone. Ours, but for speeds and workspace (sawyer_scene.h). */
#ifndef HINDCAST_ENVIRONMENTS_SAWYER_PLANT_H
#define HINDCAST_ENVIRONMENTS_SAWYER_PLANT_H

#include <mujoco/mujoco.h>

#include "common/environments/sawyer/sawyer_scene.h"
#include "common/trajectory/signature.h"

#define SAWYER_LINEAR_M_S      0.07 /* speed of the tool at action 1 */
#define SAWYER_ANGULAR_RAD_S   1.0
#define SAWYER_ACTIONS         5
#define SAWYER_OBSERVATION(n)  (26 + 16 * (n)) /* with n blocks */
#define SAWYER_OBSERVATION_MAX SAWYER_OBSERVATION(SAWYER_BLOCKS_MAX)

/* Where things are in an observation. */
enum {
    SAWYER_OPENING = 14, /* of the fingers: 0 closed .. 1 */
    SAWYER_GRASP = 16,   /* 1: both pads touch the same block */
    SAWYER_TOOL = 17,    /* x y z */
    SAWYER_TOOL_YAW = 20 /* sin cos */
};
/* Position x y z of block i; its quaternion follows. */
#define SAWYER_BLOCK(i) (26 + 16 * (i))

/* Ids and addresses in the model. */
struct sawyer_parts {
    int n_blocks;
    int tool;                    /* site */
    int finger_qpos, finger_dof; /* of gripper/left_driver_joint */
    int tips[2];                 /* geoms */
    int block_geom[SAWYER_BLOCKS_MAX];
    int block_qpos[SAWYER_BLOCKS_MAX]; /* of its 7 numbers */
    int block_dof[SAWYER_BLOCKS_MAX];  /* of its 6 */
};

/* INVALID: the model is not that of sawyer_scene_assemble with n_blocks. */
status sawyer_parts_find(struct sawyer_parts *parts, const mjModel *model, int n_blocks,
                         struct err *err) MUST_CHECK;

/* The slices of an observation with n blocks, into slices(n_slices). Returns their number. */
uint32_t sawyer_slices(struct signature_slice *slices, int n_blocks);

/* dq(7): joint velocities whose tool moves with `twist` (linear 3, angular 3; world axes), nearest to
 * pull(7). At the pose in `data`, whose kinematics are up to date. */
void sawyer_solve(double *dq, const double *twist, const double *pull,
                  const struct sawyer_parts *parts, const mjModel *model, const mjData *data);

/* Writes data->ctrl for one control step, and keeps data->act close to the joints. */
void sawyer_control(const double *action, const struct sawyer_parts *parts, const mjModel *model,
                    mjData *data);

/* observation(26 + 16 n_blocks) of the state after mj_step1. */
void sawyer_observe(double *observation, const struct sawyer_parts *parts, const mjModel *model,
                    const mjData *data);

/* The angle of the tool about the vertical. */
double sawyer_yaw(const double *tool_rotation);
/* Puts block i, at rest, at x y z, turned by yaw about the vertical. */
void sawyer_put_block(mjData *data, const struct sawyer_parts *parts, int i, double x, double y,
                      double z, double yaw);

/* The pose of the arm that its null space is pulled to, and that start states begin from. */
extern const double sawyer_home[SAWYER_ARM_JOINTS];

#endif
