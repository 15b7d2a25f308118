/* ball_plate-centre and ball_plate-reach: two motors tilt a plate, on which a ball is to be brought to
 * the middle, or to a target that is elsewhere in each episode. An episode ends when the ball falls.
 *
 * The example of docs/own_task.md. Both tasks have two rewards, of which logs and learners see
 * both: one for the ball, one for a level plate. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/tolerance.h"

#define NEAR_M   0.02 /* from the target: reward 1 */
#define MARGIN_M 0.2  /* further off: reward 0.1 */
#define REACH_M  0.12 /* balls and targets start within this distance of the middle, along x and y */
#define FALLEN_M 0.0  /* height above the plate's middle below which the ball has left it */
#define TILTS    2    /* coordinates of the plate; those of the ball follow */

/* The parts that are looked up, as indices of `at`. */
enum { BALL, BALL_VELOCITY, TARGET, TARGET_SITE };
static const struct control_suite_part parts[] = {
    [BALL] = {mjOBJ_SENSOR, "ball"},
    [BALL_VELOCITY] = {mjOBJ_SENSOR, "ball_velocity"},
    [TARGET] = {mjOBJ_SENSOR, "target"},
    [TARGET_SITE] = {mjOBJ_SITE, "target"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"tilt", TILTS},          /* of the plate about x and y, rad */
    {"tilt_velocity", TILTS}, /* rad/s */
    {"ball", 2},              /* on the plate, x y, m */
    {"ball_velocity", 2},     /* m/s */
    {"target", 2},            /* on the plate, x y, m */
    {"", 0},
};

/* ---- Start states ---- */

static double draw_place(struct random_state *random)
{
    return random_state_uniform(random, -REACH_M, REACH_M);
}

/* The plate level, the ball at rest somewhere on it. */
static status start_centre(struct simulation *simulation, const int *at,
                           struct random_state *random, struct err *err)
{
    (void)at;
    (void)err;
    double *ball = &simulation->data->qpos[TILTS];
    ball[0] = draw_place(random);
    ball[1] = draw_place(random);
    return STATUS_OK;
}

/* And the target elsewhere. It is a part of the model, so the domain lists SITE_POS in `varies`. */
static status start_reach(struct simulation *simulation, const int *at, struct random_state *random,
                          struct err *err)
{
    status s = start_centre(simulation, at, random, err);
    double *target = varied_model_at(simulation->varied, VARIED_SITE_POS, at[TARGET_SITE]);
    target[0] = draw_place(random);
    target[1] = draw_place(random);
    return s;
}

/* ---- Observation, rewards, end ---- */

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    double *next = control_suite_put(observation, data->qpos, TILTS);
    next = control_suite_put(next, data->qvel, TILTS);
    next = control_suite_put(next, &data->sensordata[at[BALL]], 2);
    next = control_suite_put(next, &data->sensordata[at[BALL_VELOCITY]], 2);
    (void)control_suite_put(next, &data->sensordata[at[TARGET]], 2);
}

/* rewards(2): the ball near the target, the plate level. */
static void evaluate(const struct simulation *simulation, const int *at, double goal,
                     double *rewards)
{
    const mjData *data = simulation->data;
    const double *ball = &data->sensordata[at[BALL]], *target = &data->sensordata[at[TARGET]];
    const struct tolerance near = {0.0, goal, MARGIN_M, TOLERANCE_GAUSSIAN, 0.1};
    const struct tolerance level = {0.0, 0.0, 0.2, TOLERANCE_QUADRATIC, 0.0};
    rewards[0] = tolerance(hypot(ball[0] - target[0], ball[1] - target[1]), &near);
    rewards[1] = tolerance(data->qpos[0], &level) * tolerance(data->qpos[1], &level);
}

static bool has_fallen(const struct simulation *simulation, const int *at)
{
    return simulation->data->sensordata[at[BALL] + 2] < FALLEN_M;
}

/* ---- Declarations ---- */

static const struct control_suite_task tasks[] = {
    {.name = "ball_plate-centre",
     .rewards = {"centre", "level"},
     .goal = NEAR_M,
     .evaluate = evaluate,
     .terminated = has_fallen},
    {.name = "ball_plate-reach",
     .rewards = {"reach", "level"},
     .goal = NEAR_M,
     .evaluate = evaluate,
     .terminated = has_fallen,
     .start = start_reach},
    {0},
};

extern const struct control_suite_domain ball_plate_domain; /* for the list that CMake makes */
const struct control_suite_domain ball_plate_domain = {
    .folder = "tasks",
    .file = "ball_plate/ball_plate.xml",
    .time_limit_s = 10.0,
    .n_sub_steps = 4, /* of 5 ms: the control period is 20 ms */
    .nq = TILTS + 7,
    .nv = TILTS + 6,
    .nu = 2,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .varies = VARIES(SITE_POS),
    .start = start_centre,
    .observe = observe,
};
