/* quadruped-walk and quadruped-run: a four-legged body in three dimensions, dropped at a random
 * orientation. Source: dm_control.suite.quadruped. */
#include <math.h>
#include <string.h>

#include "common/environments/control_suite_task.h"

#define WALK_SPEED  0.5 /* m/s */
#define RUN_SPEED   5.0
#define FLOOR_TIME  20.0 /* s: the floor extends as far as the wanted speed leads in this time */
#define DROP_STEP_M 0.01
#define DROPS_MAX   10000
#define ROOT_QPOS   7 /* the free joint's position and quaternion */
#define ROOT_QVEL   6
#define HINGES      16 /* yaw, pitch, knee, ankle of four legs */
#define TOES        4  /* front left, front right, back right, back left */

/* The parts that are looked up, as indices of `at`. The toes are in the same order in both
 * groups. */
enum { TORSO, VELOCIMETER, ACCELEROMETER, GYRO, FORCE, TORQUE = FORCE + TOES };
static const struct control_suite_part parts[] = {
    [TORSO] = {mjOBJ_BODY, "torso"},
    [VELOCIMETER] = {mjOBJ_SENSOR, "velocimeter"},
    [ACCELEROMETER] = {mjOBJ_SENSOR, "imu_accel"},
    [GYRO] = {mjOBJ_SENSOR, "imu_gyro"},
    [FORCE] = {mjOBJ_SENSOR, "force_toe_front_left"},
    [FORCE + 1] = {mjOBJ_SENSOR, "force_toe_front_right"},
    [FORCE + 2] = {mjOBJ_SENSOR, "force_toe_back_right"},
    [FORCE + 3] = {mjOBJ_SENSOR, "force_toe_back_left"},
    [TORQUE] = {mjOBJ_SENSOR, "torque_toe_front_left"},
    [TORQUE + 1] = {mjOBJ_SENSOR, "torque_toe_front_right"},
    [TORQUE + 2] = {mjOBJ_SENSOR, "torque_toe_back_right"},
    [TORQUE + 3] = {mjOBJ_SENSOR, "torque_toe_back_left"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"egocentric_state", 44}, /* hinge angles 16, hinge velocities 16, activations 12 */
    {"torso_velocity", 3},
    {"torso_upright", 1},
    {"imu", 6},
    {"force_torque", 24}, /* asinh of the forces (4 x 3), then of the torques (4 x 3) */
    {"", 0},
};

/* Removes what only the suite's fetch and escape tasks need: the range finders over the height
 * field would make a step fourteen times slower. Sizes the floor for the wanted speed. */
static status edit(mjSpec *spec, const void *arg, struct err *err)
{
    static const struct {
        mjtObj type;
        const char *name;
    } unused[] = {
        {mjOBJ_GEOM, "wall_px"}, {mjOBJ_GEOM, "wall_py"}, {mjOBJ_GEOM, "wall_nx"},
        {mjOBJ_GEOM, "wall_ny"}, {mjOBJ_BODY, "ball"},    {mjOBJ_SITE, "target"},
        {mjOBJ_GEOM, "terrain"},
    };
    const struct control_suite_task *task = arg;
    for (size_t i = 0; i < sizeof unused / sizeof unused[0]; i++) {
        status s = control_suite_remove(spec, unused[i].type, unused[i].name, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    /* The next sensor is looked up before this one is deleted. */
    mjsElement *sensor = mjs_firstElement(spec, mjOBJ_SENSOR);
    while (sensor != NULL) {
        mjsElement *next = mjs_nextElement(spec, sensor);
        if (mjs_asSensor(sensor)->type == mjSENS_RANGEFINDER && mjs_delete(spec, sensor) != 0) {
            return err_set(err, STATUS_INVALID, "cannot remove a range finder");
        }
        sensor = next;
    }
    /* A floor too small would end under a running body; one too large costs precision. */
    mjsElement *floor;
    status s = control_suite_find(&floor, spec, mjOBJ_GEOM, "floor", err);
    if (s != STATUS_OK) {
        return s;
    }
    mjsGeom *geom = mjs_asGeom(floor);
    geom->size[0] = task->goal * FLOOR_TIME;
    geom->size[1] = task->goal * FLOOR_TIME;
    geom->size[2] = 0.5;
    return STATUS_OK;
}

/* Position and orientation of the free joint. */
static void set_pose(double *qpos, double height, const double *quaternion)
{
    qpos[0] = 0.0;
    qpos[1] = 0.0;
    qpos[2] = height;
    memcpy(&qpos[3], quaternion, 4 * sizeof *quaternion);
}

/* The default state at this height and orientation, with all derived quantities. */
static status place(struct simulation *simulation, double height, const double *quaternion,
                    struct err *err)
{
    status s = simulation_reset(simulation, err);
    if (s == STATUS_OK) {
        set_pose(simulation->data->qpos, height, quaternion);
        s = simulation_forward(simulation, err);
    }
    return s;
}

/* Draws an orientation, and places the body at the lowest height, in steps of 1 cm, without
 * contacts. dm_control computes everything at each height; contacts depend on positions alone, so
 * here only those are computed until a height is found. */
static status start(struct simulation *simulation, const int *at, struct random_state *random,
                    struct err *err)
{
    (void)at;
    double quaternion[4];
    control_suite_random_quaternion(quaternion, random);
    /* Raise the body until nothing touches, then compute everything once. */
    double *qpos = simulation->data->qpos;
    /* The search starts inside the floor, where there are contacts. */
    set_pose(qpos, 0.0, quaternion);
    for (int drop = 0; drop < DROPS_MAX; drop++) {
        int n_contacts;
        status s = simulation_count_contacts(simulation, &n_contacts, err);
        if (s != STATUS_OK) {
            return s;
        }
        if (n_contacts == 0) {
            return place(simulation, qpos[2], quaternion, err);
        }
        qpos[2] += DROP_STEP_M;
    }
    return err_set(err, STATUS_CORRUPT, "no start height without contacts below %.0f m", qpos[2]);
}

/* Joint state in the body's frame, then what its sensors measure. */
static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    const double *sensors = data->sensordata;
    /* The joints' own state; the free joint of the root is left out, since the reward does not
     * depend on where the body is. */
    double *next = control_suite_put(observation, &data->qpos[ROOT_QPOS], HINGES);
    next = control_suite_put(next, &data->qvel[ROOT_QVEL], HINGES);
    next = control_suite_put(next, data->act, (int)simulation->model->na);
    next = control_suite_put(next, &sensors[at[VELOCIMETER]], 3);
    *next++ = data->xmat[9 * at[TORSO] + 8];
    next = control_suite_put(next, &sensors[at[ACCELEROMETER]], 3);
    next = control_suite_put(next, &sensors[at[GYRO]], 3);
    /* Forces and torques span decades; asinh keeps their sign. */
    for (int i = FORCE; i < TORQUE + TOES; i++) {
        for (int axis = 0; axis < 3; axis++) {
            *next++ = asinh(sensors[at[i] + axis]);
        }
    }
}

/* Upright, times forward speed in the torso's own frame. */
static void move(const struct simulation *simulation, const int *at, double speed, double *rewards)
{
    const mjData *data = simulation->data;
    rewards[0] = control_suite_at_least(data->xmat[9 * at[TORSO] + 8], 1.0, 2.0, 0.0) *
                 control_suite_at_least(data->sensordata[at[VELOCIMETER]], speed, speed, 0.5);
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "quadruped-walk", .rewards = {"walk"}, .goal = WALK_SPEED, .evaluate = move},
    {.name = "quadruped-run", .rewards = {"run"}, .goal = RUN_SPEED, .evaluate = move},
    {0},
};

extern const struct control_suite_domain quadruped_domain; /* for control_suite.c */
const struct control_suite_domain quadruped_domain = {
    .file = "quadruped.xml",
    .time_limit_s = 20.0,
    .n_sub_steps = 4,
    .nq = ROOT_QPOS + HINGES,
    .nv = ROOT_QVEL + HINGES,
    .na = 12,
    .nu = 12,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .edit = edit,
    .start = start,
    .observe = observe,
};
