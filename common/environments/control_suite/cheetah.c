/* cheetah-run: a planar half-cheetah runs forward, at up to 10 m/s. Source: dm_control.suite.cheetah. */
#include <math.h>

#include "common/environments/control_suite_task.h"

#define SETTLE_STEPS 200 /* physics steps in which the dropped cheetah comes to rest */

/* The parts that are looked up, as indices of `at`. */
enum { TORSO_VELOCITY };
static const struct control_suite_part parts[] = {
    [TORSO_VELOCITY] = {mjOBJ_SENSOR, "torso_subtreelinvel"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"position", 8}, /* all of qpos but the distance covered */
    {"velocity", 9},
    {"", 0},
};

/* Random joint angles, then a fall onto the floor. The velocities and the solver's warm start that
 * this leaves are part of the start state. */
static status start(struct simulation *simulation, const int *at, struct random_state *random,
                    struct err *err)
{
    (void)at;
    const mjModel *model = simulation->model;
    mjData *data = simulation->data;
    /* Only limited joints are drawn: the root stays where it is. */
    for (int joint = 0; joint < model->njnt; joint++) {
        if (model->jnt_limited[joint]) {
            const double *range = &model->jnt_range[2 * joint];
            data->qpos[model->jnt_qposadr[joint]] =
                random_state_uniform(random, range[0], range[1]);
        }
    }
    /* No forward before stepping, on purpose: dm_control's first half step, too, uses quantities
     * derived from the default pose. */
    status s = simulation_step(simulation, SETTLE_STEPS, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "settling");
    }
    /* The settling time does not count. */
    data->time = 0.0;
    return STATUS_OK;
}

/* All of the state but the distance covered, which the reward does not depend on. */
static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    (void)at;
    const mjData *data = simulation->data;
    double *next = control_suite_put(observation, &data->qpos[1], 8);
    (void)control_suite_put(next, data->qvel, 9);
}

/* Speed of the whole body's centre of mass, linear up to the wanted speed. */
static void run(const struct simulation *simulation, const int *at, double speed, double *rewards)
{
    rewards[0] =
        control_suite_at_least(simulation->data->sensordata[at[TORSO_VELOCITY]], speed, speed, 0.0);
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "cheetah-run", .rewards = {"run"}, .goal = 10.0, .evaluate = run},
    {0},
};

extern const struct control_suite_domain cheetah_domain; /* for control_suite.c */
const struct control_suite_domain cheetah_domain = {
    .file = "cheetah.xml",
    .time_limit_s = 10.0,
    .n_sub_steps = 1,
    .nq = 9,
    .nv = 9,
    .nu = 6,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .start = start,
    .observe = observe,
};
