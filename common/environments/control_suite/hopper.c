/* hopper-hop and hopper-stand: a planar one-legged hopper, from a random pose. Source:
 * dm_control.suite.hopper. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/tolerance.h"

#define STAND_HEIGHT_M 0.6 /* of the torso above the foot */
#define HOP_SPEED      2.0 /* m/s */

/* The parts that are looked up, as indices of `at`. */
enum { TORSO, FOOT, TORSO_VELOCITY, TOUCH_TOE, TOUCH_HEEL };
static const struct control_suite_part parts[] = {
    [TORSO] = {mjOBJ_BODY, "torso"},
    [FOOT] = {mjOBJ_BODY, "foot"},
    [TORSO_VELOCITY] = {mjOBJ_SENSOR, "torso_subtreelinvel"},
    [TOUCH_TOE] = {mjOBJ_SENSOR, "touch_toe"},
    [TOUCH_HEEL] = {mjOBJ_SENSOR, "touch_heel"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"position", 6}, /* all of qpos but the distance covered */
    {"velocity", 7},
    {"touch", 2},
    {"", 0},
};

/* Joint state, and the logarithm of the contact forces at toe and heel. */
static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    double *next = control_suite_put(observation, &data->qpos[1], 6);
    next = control_suite_put(next, data->qvel, 7);
    /* Forces reach thousands of newtons: the logarithm keeps them in range. */
    next[0] = log1p(data->sensordata[at[TOUCH_TOE]]);
    next[1] = log1p(data->sensordata[at[TOUCH_HEEL]]);
}

/* 1 while the torso is at standing height above the foot, less outside. Heights are those of the
 * bodies' inertial frames. */
static double standing(const struct simulation *simulation, const int *at)
{
    const mjData *data = simulation->data;
    const struct tolerance upright = {STAND_HEIGHT_M, 2.0, 0.0, TOLERANCE_GAUSSIAN, 0.1};
    return tolerance(data->xipos[3 * at[TORSO] + 2] - data->xipos[3 * at[FOOT] + 2], &upright);
}

/* Standing, times forward speed: half the reward at half the wanted speed. */
static void hop(const struct simulation *simulation, const int *at, double speed, double *rewards)
{
    rewards[0] = standing(simulation, at) *
                 control_suite_at_least(simulation->data->sensordata[at[TORSO_VELOCITY]], speed,
                                        speed / 2.0, 0.5);
}

/* Standing, and more of it with small controls (those of the step just taken, not clamped). */
static void stand(const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    (void)goal;
    rewards[0] = standing(simulation, at) * control_suite_small_control(simulation);
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "hopper-hop", .rewards = {"hop"}, .goal = HOP_SPEED, .evaluate = hop},
    {.name = "hopper-stand", .rewards = {"stand"}, .evaluate = stand},
    {0},
};

extern const struct control_suite_domain hopper_domain; /* for control_suite.c */
const struct control_suite_domain hopper_domain = {
    .file = "hopper.xml",
    .time_limit_s = 20.0,
    .n_sub_steps = 4,
    .nq = 7,
    .nv = 7,
    .nu = 4,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .start = control_suite_randomize_joints,
    .observe = observe,
};
