/* pendulum-swingup: a pendulum whose motor is too weak to lift it at once, from a random angle.
 * Source: dm_control.suite.pendulum. */
#include "common/environments/control_suite_task.h"
#include "common/environments/tolerance.h"

#define UPRIGHT_COSINE 0.9902680687415704 /* of 8 degrees from upright, on either side */

/* The parts that are looked up, as indices of `at`. */
enum { POLE };
static const struct control_suite_part parts[] = {
    [POLE] = {mjOBJ_BODY, "pole"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"orientation", 2}, /* cosine and sine of the angle from upright */
    {"velocity", 1},
    {"", 0},
};

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const double *frame = &simulation->data->xmat[9 * at[POLE]];
    observation[0] = frame[8];
    observation[1] = frame[2];
    observation[2] = simulation->data->qvel[0];
}

/* 1 while upright, else 0. */
static void swing_up(const struct simulation *simulation, const int *at, double goal,
                     double *rewards)
{
    const struct tolerance upright = {goal, 1.0, 0.0, TOLERANCE_GAUSSIAN, 0.1};
    rewards[0] = tolerance(simulation->data->xmat[9 * at[POLE] + 8], &upright);
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "pendulum-swingup",
     .rewards = {"swingup"},
     .goal = UPRIGHT_COSINE,
     .evaluate = swing_up},
    {0},
};

extern const struct control_suite_domain pendulum_domain; /* for control_suite.c */
const struct control_suite_domain pendulum_domain = {
    .file = "pendulum.xml",
    .time_limit_s = 20.0,
    .n_sub_steps = 1,
    .nq = 1,
    .nv = 1,
    .nu = 1,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .start = control_suite_randomize_joints,
    .observe = observe,
};
