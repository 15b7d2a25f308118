/* walker-stand, walker-walk and walker-run: a planar biped, from a random pose. Source:
 * dm_control.suite.walker. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/tolerance.h"

#define STAND_HEIGHT_M 1.2 /* of the torso */
#define WALK_SPEED     1.0 /* m/s */
#define RUN_SPEED      8.0

/* The parts that are looked up, as indices of `at`. */
enum { TORSO, TORSO_VELOCITY };
static const struct control_suite_part parts[] = {
    [TORSO] = {mjOBJ_BODY, "torso"},
    [TORSO_VELOCITY] = {mjOBJ_SENSOR, "torso_subtreelinvel"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"orientations", 14}, /* cosine and sine of the pitch of each of 7 bodies */
    {"height", 1},
    {"velocity", 9},
    {"", 0},
};

/* Orientation of each body, height of the torso, all velocities. */
static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    double *next = observation;
    /* Body 0 is the world. */
    for (int body = 1; body < simulation->model->nbody; body++) {
        *next++ = data->xmat[9 * body];
        *next++ = data->xmat[9 * body + 2];
    }
    *next++ = data->xpos[3 * at[TORSO] + 2];
    (void)control_suite_put(next, data->qvel, 9);
}

/* Torso high (weight 3) and upright (weight 1). */
static double standing_upright(const struct simulation *simulation, const int *at)
{
    const mjData *data = simulation->data;
    const struct tolerance high = {STAND_HEIGHT_M, (double)INFINITY, STAND_HEIGHT_M / 2.0,
                                   TOLERANCE_GAUSSIAN, 0.1};
    double standing = tolerance(data->xpos[3 * at[TORSO] + 2], &high);
    double upright = (1.0 + data->xmat[9 * at[TORSO] + 8]) / 2.0;
    return (3.0 * standing + upright) / 4.0;
}

/* For standing alone; the speed is not used. */
static void stand(const struct simulation *simulation, const int *at, double speed, double *rewards)
{
    (void)speed;
    rewards[0] = standing_upright(simulation, at);
}

/* Standing, times speed (5 parts) and a constant (1 part). */
static void move(const struct simulation *simulation, const int *at, double speed, double *rewards)
{
    double moving = control_suite_at_least(simulation->data->sensordata[at[TORSO_VELOCITY]], speed,
                                           speed / 2.0, 0.5);
    rewards[0] = standing_upright(simulation, at) * (5.0 * moving + 1.0) / 6.0;
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "walker-stand", .rewards = {"stand"}, .evaluate = stand},
    {.name = "walker-walk", .rewards = {"walk"}, .goal = WALK_SPEED, .evaluate = move},
    {.name = "walker-run", .rewards = {"run"}, .goal = RUN_SPEED, .evaluate = move},
    {0},
};

extern const struct control_suite_domain walker_domain; /* for control_suite.c */
const struct control_suite_domain walker_domain = {
    .file = "walker.xml",
    .time_limit_s = 25.0,
    .n_sub_steps = 10,
    .nq = 9,
    .nv = 9,
    .nu = 6,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .start = control_suite_randomize_joints,
    .observe = observe,
};
