/* The control law and the observation. Both read MuJoCo's derived quantities, which mj_step1 has
 * brought up to date; nothing here steps the physics. */
#include "common/environments/sawyer/sawyer_plant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define JOINTS      SAWYER_ARM_JOINTS
#define FINGER_RAD  0.8 /* of the driver joint from open to closed */
#define TICKS       255.0
#define YAW_MAX_RAD (M_PI / 2.0)
#define WALL_GAIN   4.0 /* 1/s: how fast the tool returns into its workspace */
#define ALIGN_GAIN  4.0 /* 1/s: how fast it turns down */
#define NULL_GAIN   0.3
#define DAMPING     1e-4
#define GRIP_LEAD   25.0 /* ticks that the fingers' reference may lead them */

const double sawyer_home[JOINTS] = {-.243, -1.157, 0., 1.667, 0., 1.061, -.086};

/* The tool's workspace. */
static const double workspace_low[3] = {.475, -.125, .02}, workspace_high[3] = {.725, .125, .22};
/* Limits of joint velocities in rad/s, and how far a servo's reference may lead its joint in rad. */
static const double velocity_max[JOINTS] = {1.74, 1.328, 1.957, 1.957, 3.485, 3.485, 4.545};
static const double reference_lead[JOINTS] = {.05, .05, .05, .05, .05, .05, .15};

/* ---- Names ---- */

static status find(int *id, const mjModel *model, mjtObj type, const char *name, struct err *err)
{
    *id = mj_name2id(model, (int)type, name);
    return *id >= 0 ? STATUS_OK
                    : err_set(err, STATUS_INVALID, "no %s named %s", mju_type2Str((int)type), name);
}

static status find_block(struct sawyer_parts *parts, int i, const mjModel *model, struct err *err)
{
    const char *name = sawyer_block_names[i];
    int joint = 0;
    status s = find(&joint, model, mjOBJ_JOINT, name, err);
    s = s != STATUS_OK ? s : find(&parts->block_geom[i], model, mjOBJ_GEOM, name, err);
    if (s == STATUS_OK) {
        parts->block_qpos[i] = model->jnt_qposadr[joint];
        parts->block_dof[i] = model->jnt_dofadr[joint];
    }
    return s;
}

status sawyer_parts_find(struct sawyer_parts *parts, const mjModel *model, int n_blocks,
                         struct err *err)
{
    int finger = 0;
    /* Arm joints are indexed 0 .. 6 below, and four finger joints come before the left driver. */
    if (model->nq != 15 + 7 * n_blocks || model->na != JOINTS + 1 || model->nu != JOINTS + 1) {
        return err_set(err, STATUS_INVALID, "nq %d, na %d, nu %d: expected %d, 8, 8",
                       (int)model->nq, (int)model->na, (int)model->nu, 15 + 7 * n_blocks);
    }
    parts->n_blocks = n_blocks;
    status s = find(&parts->tool, model, mjOBJ_SITE, "gripper/pinch_site", err);
    s = s != STATUS_OK ? s : find(&finger, model, mjOBJ_JOINT, "gripper/left_driver_joint", err);
    s = s != STATUS_OK ? s : find(&parts->tips[0], model, mjOBJ_GEOM, "right_tip", err);
    s = s != STATUS_OK ? s : find(&parts->tips[1], model, mjOBJ_GEOM, "left_tip", err);
    for (int i = 0; i < n_blocks && s == STATUS_OK; i++) {
        s = find_block(parts, i, model, err);
    }
    if (s == STATUS_OK) {
        parts->finger_qpos = model->jnt_qposadr[finger];
        parts->finger_dof = model->jnt_dofadr[finger];
    }
    return s;
}

uint32_t sawyer_slices(struct signature_slice *slices, int n_blocks)
{
    static const struct signature_slice robot[] = {
        {"joint_pos", 7},   {"joint_vel", 7}, {"gripper_opening", 1},
        {"gripper_vel", 1}, {"grasp", 1},     {"tool_pos", 3},
        {"tool_yaw", 2},    {"tool_vel", 3},  {"tool_yaw_rate", 1},
    };
    static const struct signature_slice block[] = {
        {"pos", 3}, {"quat", 4}, {"vel", 3}, {"angular_vel", 3}, {"from_tool", 3},
    };
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof robot / sizeof robot[0]; i++) {
        slices[n++] = robot[i];
    }
    for (int b = 0; b < n_blocks; b++) {
        for (size_t i = 0; i < sizeof block / sizeof block[0]; i++) {
            struct signature_slice *slice = &slices[n++];
            (void)snprintf(slice->name, sizeof slice->name, "%.20s_%.20s", sawyer_block_names[b],
                           block[i].name);
            slice->size = block[i].size;
        }
    }
    return n;
}

/* ---- Control ---- */

static double clip(double x, double low, double high)
{
    return fmin(high, fmax(low, x));
}

double sawyer_yaw(const double *tool_rotation)
{
    return atan2(tool_rotation[3], tool_rotation[0]);
}

void sawyer_solve(double *dq, const double *twist, const double *pull,
                  const struct sawyer_parts *parts, const mjModel *model, const mjData *data)
{
    /* Seven joints of the arm, eight of the fingers, and six numbers per block. */
    enum { NV_MAX = 15 + 6 * SAWYER_BLOCKS_MAX };
    double all[6 * NV_MAX], jacobian[6 * JOINTS], square[36], rest[6], y[6];
    const size_t nv = (size_t)model->nv;
    ASSERT(nv <= NV_MAX);
    /* mj_jacSite writes 3 rows of nv numbers each. */
    double *linear = all, *angular = all + 3 * nv;
    mj_jacSite(model, data, linear, angular, parts->tool);
    for (size_t row = 0; row < 6; row++) {
        memcpy(jacobian + row * JOINTS, all + row * nv, JOINTS * sizeof(double));
    }
    mju_mulMatMatT(square, jacobian, jacobian, 6, JOINTS, 6);
    for (int i = 0; i < 6; i++) {
        square[7 * i] += DAMPING;
    }
    mju_mulMatVec(rest, jacobian, pull, 6, JOINTS);
    for (int i = 0; i < 6; i++) {
        rest[i] = twist[i] - rest[i];
    }
    (void)mju_cholFactor(square, 6, 0.0);
    mju_cholSolve(y, square, rest, 6);
    mju_mulMatTVec(dq, jacobian, y, 6, JOINTS);
    for (int i = 0; i < JOINTS; i++) {
        dq[i] = dq[i] + pull[i];
    }
}

/* twist(6) of the tool that the action asks for, within the workspace and pointing down. */
static void twist_of(double *twist, const double *action, const double *tool,
                     const double *rotation)
{
    for (int i = 0; i < 3; i++) {
        twist[i] =
            fmin(WALL_GAIN * (workspace_high[i] - tool[i]),
                 fmax(WALL_GAIN * (workspace_low[i] - tool[i]), SAWYER_LINEAR_M_S * action[i]));
    }
    /* The cross product of the tool's axis and the downward vertical. */
    double yaw = sawyer_yaw(rotation);
    twist[3] = ALIGN_GAIN * -rotation[5];
    twist[4] = ALIGN_GAIN * rotation[2];
    twist[5] = fmin(WALL_GAIN * (YAW_MAX_RAD - yaw),
                    fmax(WALL_GAIN * (-YAW_MAX_RAD - yaw), SAWYER_ANGULAR_RAD_S * action[3]));
}

void sawyer_control(const double *action, const struct sawyer_parts *parts, const mjModel *model,
                    mjData *data)
{
    const double *q = data->qpos;
    double a[SAWYER_ACTIONS], twist[6], pull[JOINTS], dq[JOINTS], scale = 1.0;
    for (int i = 0; i < SAWYER_ACTIONS; i++) {
        a[i] = clip(action[i], -1.0, 1.0);
    }
    twist_of(twist, a, data->site_xpos + 3 * parts->tool, data->site_xmat + 9 * parts->tool);
    for (int i = 0; i < JOINTS; i++) {
        pull[i] = NULL_GAIN * (sawyer_home[i] - q[i]);
    }
    sawyer_solve(dq, twist, pull, parts, model, data);
    /* All joints slow down together, so that the direction of the tool stays. */
    for (int i = 0; i < JOINTS; i++) {
        scale = fmax(scale, fabs(dq[i]) / velocity_max[i]);
    }
    for (int i = 0; i < JOINTS; i++) {
        data->ctrl[i] = dq[i] / scale;
        data->act[i] = clip(data->act[i], q[i] - reference_lead[i], q[i] + reference_lead[i]);
    }
    double at = q[parts->finger_qpos] / FINGER_RAD * TICKS;
    data->act[JOINTS] = clip(data->act[JOINTS], at - GRIP_LEAD, at + GRIP_LEAD);
    data->ctrl[JOINTS] = -TICKS * a[4];
}

/* ---- Observation ---- */

/* Do both pads press on one block? */
static bool grasps(const struct sawyer_parts *parts, const mjData *data)
{
    bool touch[SAWYER_BLOCKS_MAX][2] = {{false}};
    for (int i = 0; i < data->ncon; i++) {
        const mjContact *contact = &data->contact[i];
        for (int b = 0; b < parts->n_blocks && contact->dist < 0.0; b++) {
            for (int t = 0; t < 2; t++) {
                const int block = parts->block_geom[b], tip = parts->tips[t];
                touch[b][t] = touch[b][t] ||
                              (contact->geom[0] == block && contact->geom[1] == tip) ||
                              (contact->geom[0] == tip && contact->geom[1] == block);
            }
        }
    }
    bool grasp = false;
    for (int b = 0; b < parts->n_blocks; b++) {
        grasp = grasp || (touch[b][0] && touch[b][1]);
    }
    return grasp;
}

void sawyer_observe(double *observation, const struct sawyer_parts *parts, const mjModel *model,
                    const mjData *data)
{
    const double *tool = data->site_xpos + 3 * parts->tool;
    const double yaw = sawyer_yaw(data->site_xmat + 9 * parts->tool);
    double velocity[6]; /* angular, linear */
    double *o = observation;
    mj_objectVelocity(model, data, mjOBJ_SITE, parts->tool, velocity, 0);
    memcpy(o, data->qpos, JOINTS * sizeof *o);
    memcpy(o + 7, data->qvel, JOINTS * sizeof *o);
    o[SAWYER_OPENING] = 1.0 - data->qpos[parts->finger_qpos] / FINGER_RAD;
    o[15] = -data->qvel[parts->finger_dof] / FINGER_RAD;
    o[SAWYER_GRASP] = grasps(parts, data) ? 1.0 : 0.0;
    memcpy(o + SAWYER_TOOL, tool, 3 * sizeof *o);
    o[SAWYER_TOOL_YAW] = sin(yaw);
    o[SAWYER_TOOL_YAW + 1] = cos(yaw);
    memcpy(o + 22, velocity + 3, 3 * sizeof *o);
    o[25] = velocity[2];
    for (int i = 0; i < parts->n_blocks; i++) {
        const double *pose = data->qpos + parts->block_qpos[i];
        const double *rates = data->qvel + parts->block_dof[i];
        double *block = o + SAWYER_BLOCK(i);
        memcpy(block, pose, 7 * sizeof *o);
        memcpy(block + 7, rates, 3 * sizeof *o);
        /* A free joint's angular velocity is in the body's axes. */
        mju_rotVecQuat(block + 10, rates + 3, pose + 3);
        for (int k = 0; k < 3; k++) {
            block[13 + k] = pose[k] - tool[k];
        }
    }
}

void sawyer_put_block(mjData *data, const struct sawyer_parts *parts, int i, double x, double y,
                      double z, double yaw)
{
    const double pose[7] = {x, y, z, cos(yaw / 2.0), 0.0, 0.0, sin(yaw / 2.0)};
    memcpy(data->qpos + parts->block_qpos[i], pose, sizeof pose);
    memset(data->qvel + parts->block_dof[i], 0, 6 * sizeof(double));
}
