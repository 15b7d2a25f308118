/* cheetah-run: a planar half-cheetah runs forward, as fast as 10 m/s. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/tolerance.h"

#define SETTLE_STEPS 200 /* physics steps in which the dropped cheetah comes to rest */

enum { TORSO_VELOCITY };
static const struct control_suite_part parts[] = {
    [TORSO_VELOCITY] = {mjOBJ_SENSOR, "torso_subtreelinvel"},
    {0, NULL},
};

static const struct signature_slice slices[] = {
    {"position", 8}, /* all but the way covered */
    {"velocity", 9},
    {"", 0},
};

/* Random joint angles, then free fall and rest. The velocities and the solver's warm start that
 * this leaves belong to the start state. */
static status start(struct simulation *simulation, struct random_state *random, struct err *err)
{
    const mjModel *model = simulation->model;
    mjData *data = simulation->data;
    for (int joint = 0; joint < model->njnt; joint++) {
        if (model->jnt_limited[joint]) {
            const double *range = &model->jnt_range[2 * joint];
            data->qpos[model->jnt_qposadr[joint]] =
                random_state_uniform(random, range[0], range[1]);
        }
    }
    /* Deliberately no forward before: the first half step uses the default pose's derived
     * quantities, as the suite does. */
    status s = simulation_step(simulation, SETTLE_STEPS, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "settling");
    }
    data->time = 0.0;
    return STATUS_OK;
}

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    (void)at;
    const mjData *data = simulation->data;
    double *next = control_suite_put(observation, &data->qpos[1], 8);
    (void)control_suite_put(next, data->qvel, 9);
}

static double run(const struct simulation *simulation, const int *at, double speed)
{
    const struct tolerance fast = {speed, (double)INFINITY, speed, TOLERANCE_LINEAR, 0.0};
    return tolerance(simulation->data->sensordata[at[TORSO_VELOCITY]], &fast);
}

static const struct control_suite_domain cheetah = {
    .file = "cheetah.xml",
    .time_limit_s = 10.0,
    .n_sub_steps = 1,
    .nq = 9,
    .nv = 9,
    .nu = 6,
    .slices = slices,
    .parts = parts,
    .start = start,
    .observe = observe,
};

const struct control_suite_task cheetah_run = {"cheetah-run", "run", &cheetah, 10.0, run};
