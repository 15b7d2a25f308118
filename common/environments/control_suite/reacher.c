/* reacher-easy and reacher-hard: a planar arm of two links is to touch a target, large or small.
 * Source: dm_control.suite.reacher. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/numpy_sums.h"
#include "common/environments/tolerance.h"

#define LARGE_M 0.05 /* radius of the target */
#define SMALL_M 0.015

/* The parts that are looked up, as indices of `at`. */
enum { FINGER, TARGET };
static const struct control_suite_part parts[] = {
    [FINGER] = {mjOBJ_GEOM, "finger"},
    [TARGET] = {mjOBJ_GEOM, "target"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"position", 2},
    {"to_target", 2}, /* from the finger, x y */
    {"velocity", 2},
    {"", 0},
};

/* The radius of the target, which nothing in the physics sees. */
static status edit(mjSpec *spec, const void *arg, struct err *err)
{
    const struct control_suite_task *task = arg;
    mjsElement *target;
    status s = control_suite_find(&target, spec, mjOBJ_GEOM, "target", err);
    if (s == STATUS_OK) {
        mjs_asGeom(target)->size[0] = task->goal;
    }
    return s;
}

/* Random joints, and a target within reach. */
static status start(struct simulation *simulation, const int *at, struct random_state *random,
                    struct err *err)
{
    status s = control_suite_randomize_joints(simulation, at, random, err);
    double angle = random_state_uniform(random, 0.0, 2.0 * M_PI);
    double radius = random_state_uniform(random, 0.05, 0.20);
    double *target = varied_model_at(simulation->varied, VARIED_GEOM_POS, at[TARGET]);
    target[0] = radius * sin(angle);
    target[1] = radius * cos(angle);
    return s;
}

/* to_target(2), in the plane. */
static void find_target(const struct simulation *simulation, const int *at, double *to_target)
{
    const double *finger = &simulation->data->geom_xpos[3 * at[FINGER]];
    const double *target = &simulation->data->geom_xpos[3 * at[TARGET]];
    to_target[0] = target[0] - finger[0];
    to_target[1] = target[1] - finger[1];
}

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    double *next = control_suite_put(observation, simulation->data->qpos, 2);
    find_target(simulation, at, next);
    (void)control_suite_put(next + 2, simulation->data->qvel, 2);
}

/* 1 while finger and target touch, else 0. */
static void reach(const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    double to_target[2];
    find_target(simulation, at, to_target);
    double radii = goal + simulation->model->geom_size[3 * at[FINGER]];
    const struct tolerance touching = {0.0, radii, 0.0, TOLERANCE_GAUSSIAN, 0.1};
    rewards[0] = tolerance(numpy_norm(to_target, 2), &touching);
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "reacher-easy", .rewards = {"easy"}, .goal = LARGE_M, .evaluate = reach},
    {.name = "reacher-hard", .rewards = {"hard"}, .goal = SMALL_M, .evaluate = reach},
    {0},
};

extern const struct control_suite_domain reacher_domain; /* for control_suite.c */
const struct control_suite_domain reacher_domain = {
    .file = "reacher.xml",
    .time_limit_s = 20.0,
    .n_sub_steps = 1,
    .nq = 2,
    .nv = 2,
    .nu = 2,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .edit = edit,
    .varies = VARIES(GEOM_POS),
    .start = start,
    .observe = observe,
};
