/* ball_in_cup-catch: a ball on a string is to be swung into a cup. Source:
 * dm_control.suite.ball_in_cup. */
#include <math.h>

#include "common/environments/control_suite_task.h"

/* The parts that are looked up, as indices of `at`. */
enum { BALL, BALL_GEOM, TARGET, BALL_X, BALL_Z };
static const struct control_suite_part parts[] = {
    [BALL] = {mjOBJ_BODY, "ball"},      [BALL_GEOM] = {mjOBJ_GEOM, "ball"},
    [TARGET] = {mjOBJ_SITE, "target"},  [BALL_X] = {mjOBJ_JOINT, "ball_x"},
    [BALL_Z] = {mjOBJ_JOINT, "ball_z"}, {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"position", 4}, /* cup x z, ball x z */
    {"velocity", 4},
    {"", 0},
};

/* The ball anywhere in a rectangle around the cup. */
static status draw(struct simulation *simulation, const int *at, struct random_state *random,
                   struct err *err)
{
    (void)err;
    double *qpos = simulation->data->qpos;
    const int *address = simulation->model->jnt_qposadr;
    qpos[address[at[BALL_X]]] = random_state_uniform(random, -0.2, 0.2);
    qpos[address[at[BALL_Z]]] = random_state_uniform(random, 0.2, 0.5);
    return STATUS_OK;
}

static status start(struct simulation *simulation, const int *at, struct random_state *random,
                    struct err *err)
{
    return control_suite_draw_apart(simulation, at, random, draw, err);
}

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    (void)at;
    double *next = control_suite_put(observation, simulation->data->qpos, 4);
    (void)control_suite_put(next, simulation->data->qvel, 4);
}

/* 1 while all of the ball is within the target, a box in the cup, else 0. */
static void catch (const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    (void)goal;
    const mjModel *model = simulation->model;
    const double *ball = &simulation->data->xpos[3 * at[BALL]];
    const double *target = &simulation->data->site_xpos[3 * at[TARGET]];
    const double *size = &model->site_size[3 * at[TARGET]];
    double radius = model->geom_size[3 * at[BALL_GEOM]];
    bool inside = fabs(target[0] - ball[0]) < size[0] - radius &&
                  fabs(target[2] - ball[2]) < size[2] - radius;
    rewards[0] = inside ? 1.0 : 0.0;
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "ball_in_cup-catch", .rewards = {"catch"}, .evaluate = catch},
    {0},
};

extern const struct control_suite_domain ball_in_cup_domain; /* for control_suite.c */
const struct control_suite_domain ball_in_cup_domain = {
    .file = "ball_in_cup.xml",
    .time_limit_s = 20.0,
    .n_sub_steps = 10,
    .nq = 4,
    .nv = 4,
    .nu = 2,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .start = start,
    .observe = observe,
};
