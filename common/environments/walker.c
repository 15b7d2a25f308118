/* walker-stand, walker-walk and walker-run: a planar biped, from a random pose. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/tolerance.h"

#define STAND_HEIGHT_M 1.2 /* of the torso */
#define WALK_SPEED     1.0 /* m/s */
#define RUN_SPEED      8.0

enum { TORSO, TORSO_VELOCITY };
static const struct control_suite_part parts[] = {
    [TORSO] = {mjOBJ_BODY, "torso"},
    [TORSO_VELOCITY] = {mjOBJ_SENSOR, "torso_subtreelinvel"},
    {0, NULL},
};

static const struct signature_slice slices[] = {
    {"orientations", 14}, /* cosine and sine of the pitch of each of 7 bodies */
    {"height", 1},
    {"velocity", 9},
    {"", 0},
};

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    double *next = observation;
    for (int body = 1; body < simulation->model->nbody; body++) {
        *next++ = data->xmat[9 * body];
        *next++ = data->xmat[9 * body + 2];
    }
    *next++ = data->xpos[3 * at[TORSO] + 2];
    (void)control_suite_put(next, data->qvel, 9);
}

/* Torso high (weight 3) and upright (weight 1). */
static double stand(const struct simulation *simulation, const int *at, double speed)
{
    (void)speed;
    const mjData *data = simulation->data;
    const struct tolerance high = {STAND_HEIGHT_M, (double)INFINITY, STAND_HEIGHT_M / 2.0,
                                   TOLERANCE_GAUSSIAN, 0.1};
    double standing = tolerance(data->xpos[3 * at[TORSO] + 2], &high);
    double upright = (1.0 + data->xmat[9 * at[TORSO] + 8]) / 2.0;
    return (3.0 * standing + upright) / 4.0;
}

/* Standing, times speed (5 parts) and a constant (1 part). */
static double move(const struct simulation *simulation, const int *at, double speed)
{
    const struct tolerance fast = {speed, (double)INFINITY, speed / 2.0, TOLERANCE_LINEAR, 0.5};
    double moving = tolerance(simulation->data->sensordata[at[TORSO_VELOCITY]], &fast);
    return stand(simulation, at, speed) * (5.0 * moving + 1.0) / 6.0;
}

static const struct control_suite_domain walker = {
    .file = "walker.xml",
    .time_limit_s = 25.0,
    .n_sub_steps = 10,
    .nq = 9,
    .nv = 9,
    .nu = 6,
    .slices = slices,
    .parts = parts,
    .start = control_suite_randomize_joints,
    .observe = observe,
};

const struct control_suite_task walker_stand = {"walker-stand", "stand", &walker, 0.0, stand};
const struct control_suite_task walker_walk = {"walker-walk", "walk", &walker, WALK_SPEED, move};
const struct control_suite_task walker_run = {"walker-run", "run", &walker, RUN_SPEED, move};
