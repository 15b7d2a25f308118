/* fish-upright and fish-swim: a fish in weightless water is to right itself, or to bring its mouth to
 * a target. Source: dm_control.suite.fish. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/numpy_sums.h"
#include "common/environments/tolerance.h"

#define ROOT_QPOS 7 /* the free joint's position and quaternion */
#define JOINTS    7 /* tail 3, right fin 2, left fin 2: in order of id */

/* The parts that are looked up, as indices of `at`. */
enum { TORSO, MOUTH, TARGET };
static const struct control_suite_part parts[] = {
    [TORSO] = {mjOBJ_BODY, "torso"},
    [MOUTH] = {mjOBJ_GEOM, "mouth"},
    [TARGET] = {mjOBJ_GEOM, "target"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"joint_angles", JOINTS},
    {"upright", 1},
    {"velocity", 13}, /* of the root 6 and the joints */
    {"", 0},
};
static const struct signature_slice swim_slices[] = {
    {"joint_angles", JOINTS}, {"upright", 1}, {"target", 3}, /* from the mouth, in its frame */
    {"velocity", 13},         {"", 0},
};

/* Any orientation, joints near their middle. */
static status start(struct simulation *simulation, const int *at, struct random_state *random,
                    struct err *err)
{
    (void)at;
    (void)err;
    double *qpos = simulation->data->qpos;
    control_suite_random_quaternion(&qpos[3], random);
    for (int i = 0; i < JOINTS; i++) {
        qpos[ROOT_QPOS + i] = random_state_uniform(random, -0.2, 0.2);
    }
    return STATUS_OK;
}

static status start_swim(struct simulation *simulation, const int *at, struct random_state *random,
                         struct err *err)
{
    status s = start(simulation, at, random, err);
    double *target = varied_model_at(simulation->varied, VARIED_GEOM_POS, at[TARGET]);
    target[0] = random_state_uniform(random, -0.4, 0.4);
    target[1] = random_state_uniform(random, -0.4, 0.4);
    target[2] = random_state_uniform(random, 0.1, 0.3);
    return s;
}

static double upright(const struct simulation *simulation, const int *at)
{
    return simulation->data->xmat[9 * at[TORSO] + 8];
}

/* to_target(3): from the mouth, in its frame. */
static void find_target(const struct simulation *simulation, const int *at, double *to_target)
{
    const mjData *data = simulation->data;
    double global[3];
    mju_sub3(global, &data->geom_xpos[3 * at[TARGET]], &data->geom_xpos[3 * at[MOUTH]]);
    mju_mulMatTVec3(to_target, &data->geom_xmat[9 * at[MOUTH]], global);
}

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    double *next = control_suite_put(observation, &data->qpos[ROOT_QPOS], JOINTS);
    *next++ = upright(simulation, at);
    (void)control_suite_put(next, data->qvel, (int)simulation->model->nv);
}

static void observe_swim(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    double *next = control_suite_put(observation, &data->qpos[ROOT_QPOS], JOINTS);
    *next++ = upright(simulation, at);
    find_target(simulation, at, next);
    (void)control_suite_put(next + 3, data->qvel, (int)simulation->model->nv);
}

static void right_itself(const struct simulation *simulation, const int *at, double goal,
                         double *rewards)
{
    const struct tolerance shape = {goal, goal, 1.0, TOLERANCE_GAUSSIAN, 0.1};
    rewards[0] = tolerance(upright(simulation, at), &shape);
}

/* The mouth at the target (7 parts) and upright (1 part). */
static void swim(const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    (void)goal;
    double to_target[3];
    find_target(simulation, at, to_target);
    const double *sizes = simulation->model->geom_size;
    double radii = sizes[3 * at[MOUTH]] + sizes[3 * at[TARGET]];
    const struct tolerance within = {0.0, radii, 2.0 * radii, TOLERANCE_GAUSSIAN, 0.1};
    double in_target = tolerance(numpy_norm(to_target, 3), &within);
    double is_upright = 0.5 * (upright(simulation, at) + 1.0);
    rewards[0] = (7.0 * in_target + is_upright) / 8.0;
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "fish-upright", .rewards = {"upright"}, .goal = 1.0, .evaluate = right_itself},
    {.name = "fish-swim",
     .rewards = {"swim"},
     .evaluate = swim,
     .slices = swim_slices,
     .start = start_swim,
     .observe = observe_swim},
    {0},
};

extern const struct control_suite_domain fish_domain; /* for control_suite.c */
const struct control_suite_domain fish_domain = {
    .file = "fish.xml",
    .time_limit_s = 40.0,
    .n_sub_steps = 10,
    .nq = ROOT_QPOS + JOINTS,
    .nv = 6 + JOINTS,
    .nu = 5,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .varies = VARIES(GEOM_POS),
    .start = start,
    .observe = observe,
};
