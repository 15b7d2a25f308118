/* manipulator-bring_ball, -bring_peg, -insert_ball and -insert_peg: a planar arm with a hand is to bring
 * a ball or a peg to a target, in the open or within a cup or a slot. Source:
 * dm_control.suite.manipulator. */
#include <math.h>
#include <string.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/numpy_sums.h"
#include "common/environments/tolerance.h"

#define CLOSE_M     0.01
#define P_IN_HAND   0.1 /* of the start states; dm_control draws from numpy's choice() */
#define P_IN_TARGET 0.1
#define ARM_JOINTS  8
#define TOUCHES     5
#define AXES        3 /* of the object: x, z, and its angle about y */

/* The parts that are looked up, as indices of `at`. Which object and which sites depends on the
 * task; the receptacle comes last, since only insert tasks have one. */
enum {
    ARM,
    FINGER = ARM + 4,
    THUMB = ARM + 6,
    TOUCH = ARM + ARM_JOINTS,
    HAND = TOUCH + TOUCHES,
    GRASP,
    PINCH,
    OBJECT,
    AXIS,
    TARGET = AXIS + AXES,
    SITE,
    TARGET_SITE,
    BALL_PARTS,
    TIP = BALL_PARTS,
    TARGET_TIP,
    OBJECT_GRASP,
    OBJECT_PINCH,
    PEG_PARTS
};

/* The arm's parts, then those of the object; each list ends by an entry without a name. */
#define ARM_PARTS                                                                                  \
    [ARM] = {mjOBJ_JOINT, "arm_root"}, [ARM + 1] = {mjOBJ_JOINT, "arm_shoulder"},                  \
    [ARM + 2] = {mjOBJ_JOINT, "arm_elbow"},                                                        \
    [ARM + 3] = {mjOBJ_JOINT, "arm_wrist"}, [FINGER] = {mjOBJ_JOINT, "finger"},                    \
    [FINGER + 1] = {mjOBJ_JOINT, "fingertip"}, [THUMB] = {mjOBJ_JOINT, "thumb"},                   \
    [THUMB + 1] = {mjOBJ_JOINT, "thumbtip"}, [TOUCH] = {mjOBJ_SENSOR, "palm_touch"},               \
    [TOUCH + 1] = {mjOBJ_SENSOR, "finger_touch"}, [TOUCH + 2] = {mjOBJ_SENSOR, "thumb_touch"},     \
    [TOUCH + 3] = {mjOBJ_SENSOR, "fingertip_touch"},                                               \
    [TOUCH + 4] = {mjOBJ_SENSOR, "thumbtip_touch"}, [HAND] = {mjOBJ_BODY, "hand"},                 \
    [GRASP] = {mjOBJ_SITE, "grasp"}, [PINCH] = {mjOBJ_SITE, "pinch"}
#define OBJECT_PARTS(name)                                                                         \
    [OBJECT] = {mjOBJ_BODY, name}, [AXIS] = {mjOBJ_JOINT, name "_x"},                              \
    [AXIS + 1] = {mjOBJ_JOINT, name "_z"},                                                         \
    [AXIS + 2] = {mjOBJ_JOINT, name "_y"}, [TARGET] = {mjOBJ_BODY, "target_" name},                \
    [SITE] = {mjOBJ_SITE, name}, [TARGET_SITE] = {mjOBJ_SITE, "target_" name}
#define PEG_SITES                                                                                  \
    [TIP] = {mjOBJ_SITE, "peg_tip"}, [TARGET_TIP] = {mjOBJ_SITE, "target_peg_tip"},                \
    [OBJECT_GRASP] = {mjOBJ_SITE, "peg_grasp"}, [OBJECT_PINCH] = {mjOBJ_SITE, "peg_pinch"}

static const struct control_suite_part ball_parts[BALL_PARTS + 1] = {
    ARM_PARTS,
    OBJECT_PARTS("ball"),
};
static const struct control_suite_part cup_parts[BALL_PARTS + 2] = {
    ARM_PARTS,
    OBJECT_PARTS("ball"),
    [BALL_PARTS] = {mjOBJ_BODY, "cup"},
};
static const struct control_suite_part peg_parts[PEG_PARTS + 1] = {
    ARM_PARTS,
    OBJECT_PARTS("peg"),
    PEG_SITES,
};
static const struct control_suite_part slot_parts[PEG_PARTS + 2] = {
    ARM_PARTS,
    OBJECT_PARTS("peg"),
    PEG_SITES,
    [PEG_PARTS] = {mjOBJ_BODY, "slot"},
};

/* The observation, in the order in which observe writes it. A pose is x z, and w y of the
 * quaternion. */
static const struct signature_slice slices[] = {
    {"arm_pos", 2 * ARM_JOINTS}, /* sine and cosine of each joint */
    {"arm_vel", ARM_JOINTS},     {"touch", TOUCHES}, {"hand_pos", 4}, {"object_pos", 4},
    {"object_vel", AXES},        {"target_pos", 4},  {"", 0},
};

/* Removes what only the other tasks need. */
static status edit(mjSpec *spec, const void *arg, struct err *err)
{
    static const char *const props[] = {"ball", "target_ball", "cup", "peg", "target_peg", "slot"};
    const struct control_suite_task *task = arg;
    status s = STATUS_OK;
    for (size_t i = 0; i < sizeof props / sizeof props[0] && s == STATUS_OK; i++) {
        bool used = false;
        for (const struct control_suite_part *part = task->parts; part->name != NULL; part++) {
            used = used || (part->type == mjOBJ_BODY && strcmp(part->name, props[i]) == 0);
        }
        s = used ? STATUS_OK : control_suite_remove(spec, mjOBJ_BODY, props[i], err);
    }
    return s;
}

/* ---- Start states ---- */

/* Where something is put, in the plane. */
struct pose {
    double x, z, angle;
};

static double *coordinate(struct simulation *simulation, const int *at, int joint)
{
    return &simulation->data->qpos[simulation->model->jnt_qposadr[at[joint]]];
}

/* The arm anywhere, with both sides of the hand equally open. */
static void draw_arm(struct simulation *simulation, const int *at, struct random_state *random)
{
    const mjModel *model = simulation->model;
    for (int i = 0; i < ARM_JOINTS; i++) {
        int joint = at[ARM + i];
        bool limited = model->jnt_limited[joint];
        const double *range = &model->jnt_range[2 * joint];
        *coordinate(simulation, at, ARM + i) =
            random_state_uniform(random, limited ? range[0] : -M_PI, limited ? range[1] : M_PI);
    }
    *coordinate(simulation, at, FINGER) = *coordinate(simulation, at, THUMB);
}

/* Moves a body that is fixed to the world. */
static void put_body(struct simulation *simulation, int body, const struct pose *pose)
{
    double *position = varied_model_at(simulation->varied, VARIED_BODY_POS, body);
    double *quaternion = varied_model_at(simulation->varied, VARIED_BODY_QUAT, body);
    position[0] = pose->x;
    position[2] = pose->z;
    quaternion[0] = cos(pose->angle / 2.0);
    quaternion[2] = sin(pose->angle / 2.0);
}

/* The pose in which the hand holds the object: that of its grasp site, for the arm as drawn. */
static status pose_in_hand(struct pose *pose, struct simulation *simulation, const int *at,
                           struct err *err)
{
    int n_contacts;
    status s = simulation_count_contacts(simulation, &n_contacts, err);
    if (s != STATUS_OK) {
        return s;
    }
    const double *position = &simulation->data->site_xpos[3 * at[GRASP]];
    const double *frame = &simulation->data->site_xmat[9 * at[GRASP]];
    *pose = (struct pose){position[0], position[2], M_PI - atan2(frame[6], frame[0])};
    return STATUS_OK;
}

/* The object in the hand, at the target, or anywhere and thrown sideways. The velocity of an earlier
 * draw that was rejected stays, as in dm_control. */
static status draw_object(struct simulation *simulation, const int *at, const struct pose *target,
                          struct random_state *random, struct err *err)
{
    struct pose pose = *target;
    status s = STATUS_OK;
    double choice = random_state_double(random);
    if (choice < P_IN_HAND) {
        s = pose_in_hand(&pose, simulation, at, err);
    } else if (choice >= P_IN_HAND + P_IN_TARGET) {
        pose.x = random_state_uniform(random, -0.5, 0.5);
        pose.z = random_state_uniform(random, 0.0, 0.7);
        pose.angle = random_state_uniform(random, 0.0, 2.0 * M_PI);
        simulation->data->qvel[simulation->model->jnt_dofadr[at[AXIS]]] =
            random_state_uniform(random, -5.0, 5.0);
    }
    *coordinate(simulation, at, AXIS) = pose.x;
    *coordinate(simulation, at, AXIS + 1) = pose.z;
    *coordinate(simulation, at, AXIS + 2) = pose.angle;
    return s;
}

/* Arm, target and object. `receptacle` is its body, or -1: then the target may have any angle. */
static status draw(struct simulation *simulation, const int *at, int receptacle,
                   struct random_state *random, struct err *err)
{
    struct pose target;
    draw_arm(simulation, at, random);
    target.x = random_state_uniform(random, -0.4, 0.4);
    target.z = random_state_uniform(random, 0.1, 0.4);
    if (receptacle >= 0) {
        target.angle = random_state_uniform(random, -M_PI / 3.0, M_PI / 3.0);
        put_body(simulation, receptacle, &target);
    } else {
        target.angle = random_state_uniform(random, -M_PI, M_PI);
    }
    put_body(simulation, at[TARGET], &target);
    return draw_object(simulation, at, &target, random, err);
}

static status draw_open(struct simulation *simulation, const int *at, struct random_state *random,
                        struct err *err)
{
    return draw(simulation, at, -1, random, err);
}

static status draw_cup(struct simulation *simulation, const int *at, struct random_state *random,
                       struct err *err)
{
    return draw(simulation, at, at[BALL_PARTS], random, err);
}

static status draw_slot(struct simulation *simulation, const int *at, struct random_state *random,
                        struct err *err)
{
    return draw(simulation, at, at[PEG_PARTS], random, err);
}

static status start_bring(struct simulation *simulation, const int *at, struct random_state *random,
                          struct err *err)
{
    return control_suite_draw_apart(simulation, at, random, draw_open, err);
}

static status start_cup(struct simulation *simulation, const int *at, struct random_state *random,
                        struct err *err)
{
    return control_suite_draw_apart(simulation, at, random, draw_cup, err);
}

static status start_slot(struct simulation *simulation, const int *at, struct random_state *random,
                         struct err *err)
{
    return control_suite_draw_apart(simulation, at, random, draw_slot, err);
}

/* ---- Observation and rewards ---- */

/* Appends the pose of a body in the plane. */
static double *put_pose(double *out, const mjData *data, int body)
{
    out[0] = data->xpos[3 * body];
    out[1] = data->xpos[3 * body + 2];
    out[2] = data->xquat[4 * body];
    out[3] = data->xquat[4 * body + 2];
    return out + 4;
}

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjModel *model = simulation->model;
    const mjData *data = simulation->data;
    double *next = observation;
    for (int i = 0; i < ARM_JOINTS; i++) {
        double angle = data->qpos[model->jnt_qposadr[at[ARM + i]]];
        *next++ = sin(angle);
        *next++ = cos(angle);
    }
    for (int i = 0; i < ARM_JOINTS; i++) {
        *next++ = data->qvel[model->jnt_dofadr[at[ARM + i]]];
    }
    for (int i = 0; i < TOUCHES; i++) {
        *next++ = log1p(data->sensordata[at[TOUCH + i]]);
    }
    next = put_pose(next, data, at[HAND]);
    next = put_pose(next, data, at[OBJECT]);
    for (int i = 0; i < AXES; i++) {
        *next++ = data->qvel[model->jnt_dofadr[at[AXIS + i]]];
    }
    (void)put_pose(next, data, at[TARGET]);
}

/* 1 while two sites are within 1 cm of each other, falling off over 2 cm. */
static double closeness(const struct simulation *simulation, int site, int other)
{
    double between[3];
    const double *positions = simulation->data->site_xpos;
    const struct tolerance near = {0.0, CLOSE_M, 2.0 * CLOSE_M, TOLERANCE_GAUSSIAN, 0.1};
    mju_sub3(between, &positions[3 * site], &positions[3 * other]);
    return tolerance(numpy_norm(between, 3), &near);
}

static void bring_ball(const struct simulation *simulation, const int *at, double goal,
                       double *rewards)
{
    (void)goal;
    rewards[0] = closeness(simulation, at[SITE], at[TARGET_SITE]);
}

/* Both the peg's middle and its tip at the target, or a third for holding the peg. */
static void bring_peg(const struct simulation *simulation, const int *at, double goal,
                      double *rewards)
{
    (void)goal;
    double grasp = closeness(simulation, at[OBJECT_GRASP], at[GRASP]);
    double pinch = closeness(simulation, at[OBJECT_PINCH], at[PINCH]);
    double bring = closeness(simulation, at[SITE], at[TARGET_SITE]);
    double bring_tip = closeness(simulation, at[TARGET_TIP], at[TIP]);
    double grasping = (grasp + pinch) / 2.0;
    double bringing = (bring + bring_tip) / 2.0;
    rewards[0] = fmax(bringing, grasping / 3.0);
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "manipulator-bring_ball",
     .rewards = {"bring_ball"},
     .evaluate = bring_ball,
     .parts = ball_parts},
    {.name = "manipulator-bring_peg",
     .rewards = {"bring_peg"},
     .evaluate = bring_peg,
     .parts = peg_parts},
    {.name = "manipulator-insert_ball",
     .rewards = {"insert_ball"},
     .evaluate = bring_ball,
     .parts = cup_parts,
     .start = start_cup},
    {.name = "manipulator-insert_peg",
     .rewards = {"insert_peg"},
     .evaluate = bring_peg,
     .parts = slot_parts,
     .start = start_slot},
    {0},
};

extern const struct control_suite_domain manipulator_domain; /* for control_suite.c */
const struct control_suite_domain manipulator_domain = {
    .file = "manipulator.xml",
    .time_limit_s = 10.0,
    .n_sub_steps = 10,
    .nq = ARM_JOINTS + AXES,
    .nv = ARM_JOINTS + AXES,
    .nu = 5,
    .slices = slices,
    .parts = ball_parts,
    .tasks = tasks,
    .edit = edit,
    .varies = VARIES(BODY_POS) | VARIES(BODY_QUAT),
    .start = start_bring,
    .observe = observe,
};
