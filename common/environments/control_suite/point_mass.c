/* point_mass-easy and point_mass-hard: a mass in the plane is to go to the middle; in the hard task
 * each episode has other directions in which its two motors pull. Source:
 * dm_control.suite.point_mass. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/numpy_sums.h"
#include "common/environments/tolerance.h"

#define PARALLEL 0.9 /* cosine of the angle between the motors' directions that is too small */

/* The parts that are looked up, as indices of `at`. */
enum { MASS, TARGET };
static const struct control_suite_part parts[] = {
    [MASS] = {mjOBJ_GEOM, "pointmass"},
    [TARGET] = {mjOBJ_GEOM, "target"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"position", 2},
    {"velocity", 2},
    {"", 0},
};

/* A motor pulls a tendon, which is a weighted sum of the two coordinates: its weights are the
 * direction. */
static void set_direction(struct simulation *simulation, int motor, const double *direction)
{
    for (int axis = 0; axis < 2; axis++) {
        *varied_model_at(simulation->varied, VARIED_WRAP_PARAMETER, 2 * motor + axis) =
            direction[axis];
    }
}

static status start_hard(struct simulation *simulation, const int *at, struct random_state *random,
                         struct err *err)
{
    double first[2], second[2];
    status s = control_suite_randomize_joints(simulation, at, random, err);
    control_suite_random_direction(first, 2, random);
    do {
        control_suite_random_direction(second, 2, random);
    } while (fabs(numpy_dot(first, second, 2)) > PARALLEL);
    set_direction(simulation, 0, first);
    set_direction(simulation, 1, second);
    return s;
}

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    (void)at;
    double *next = control_suite_put(observation, simulation->data->qpos, 2);
    (void)control_suite_put(next, simulation->data->qvel, 2);
}

/* Near the target, and more of it with small controls. */
static void stay(const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    (void)goal;
    double to_target[3];
    mju_sub3(to_target, &simulation->data->geom_xpos[3 * at[TARGET]],
             &simulation->data->geom_xpos[3 * at[MASS]]);
    double size = simulation->model->geom_size[3 * at[TARGET]];
    const struct tolerance near = {0.0, size, size, TOLERANCE_GAUSSIAN, 0.1};
    rewards[0] =
        tolerance(numpy_norm(to_target, 3), &near) * control_suite_small_control(simulation);
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "point_mass-easy", .rewards = {"easy"}, .evaluate = stay},
    {.name = "point_mass-hard", .rewards = {"hard"}, .evaluate = stay, .start = start_hard},
    {0},
};

extern const struct control_suite_domain point_mass_domain; /* for control_suite.c */
const struct control_suite_domain point_mass_domain = {
    .file = "point_mass.xml",
    .time_limit_s = 20.0,
    .n_sub_steps = 1,
    .nq = 2,
    .nv = 2,
    .nu = 2,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .varies = VARIES(WRAP_PARAMETER),
    .start = control_suite_randomize_joints,
    .observe = observe,
};
