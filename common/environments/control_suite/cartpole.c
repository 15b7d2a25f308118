/* cartpole-balance, cartpole-swingup and their sparse forms: a pole on a cart on a rail, near upright
 * or hanging. Source: dm_control.suite.cartpole. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/tolerance.h"

/* The parts that are looked up, as indices of `at`. */
enum { POLE };
static const struct control_suite_part parts[] = {
    [POLE] = {mjOBJ_BODY, "pole_1"},
    {0, NULL},
};

/* The coordinates: the cart's position on the rail and the pole's angle from upright. */
enum { SLIDER, HINGE };

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"position", 3}, /* of the cart; cosine and sine of the pole's angle */
    {"velocity", 2},
    {"", 0},
};

/* A little velocity, so that no two episodes are alike. */
static void draw_velocity(struct simulation *simulation, struct random_state *random)
{
    for (int i = 0; i < simulation->model->nv; i++) {
        simulation->data->qvel[i] = 0.01 * random_state_normal(random);
    }
}

static status start_upright(struct simulation *simulation, const int *at,
                            struct random_state *random, struct err *err)
{
    (void)at;
    (void)err;
    simulation->data->qpos[SLIDER] = random_state_uniform(random, -0.1, 0.1);
    simulation->data->qpos[HINGE] = random_state_uniform(random, -0.034, 0.034);
    draw_velocity(simulation, random);
    return STATUS_OK;
}

static status start_hanging(struct simulation *simulation, const int *at,
                            struct random_state *random, struct err *err)
{
    (void)at;
    (void)err;
    simulation->data->qpos[SLIDER] = 0.01 * random_state_normal(random);
    simulation->data->qpos[HINGE] = M_PI + 0.01 * random_state_normal(random);
    draw_velocity(simulation, random);
    return STATUS_OK;
}

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    const double *frame = &data->xmat[9 * at[POLE]];
    observation[0] = data->qpos[SLIDER];
    observation[1] = frame[8];
    observation[2] = frame[2];
    (void)control_suite_put(&observation[3], data->qvel, 2);
}

/* Upright, times small control, slow pole and cart near the middle, each with a floor above 0. */
static void smooth(const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    (void)goal;
    const mjData *data = simulation->data;
    const struct tolerance centre = {0.0, 0.0, 2.0, TOLERANCE_GAUSSIAN, 0.1};
    const struct tolerance slow = {0.0, 0.0, 5.0, TOLERANCE_GAUSSIAN, 0.1};
    double upright = (data->xmat[9 * at[POLE] + 8] + 1.0) / 2.0;
    double centred = (1.0 + tolerance(data->qpos[SLIDER], &centre)) / 2.0;
    double small_velocity = (1.0 + tolerance(data->qvel[HINGE], &slow)) / 2.0;
    rewards[0] = upright * control_suite_small_control(simulation) * small_velocity * centred;
}

/* 1 while the cart is within 25 cm of the middle and the pole within 5.7 degrees of upright. */
static void sparse(const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    (void)goal;
    const mjData *data = simulation->data;
    const struct tolerance middle = {-0.25, 0.25, 0.0, TOLERANCE_GAUSSIAN, 0.1};
    const struct tolerance upright = {0.995, 1.0, 0.0, TOLERANCE_GAUSSIAN, 0.1};
    rewards[0] =
        tolerance(data->qpos[SLIDER], &middle) * tolerance(data->xmat[9 * at[POLE] + 8], &upright);
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "cartpole-balance", .rewards = {"balance"}, .evaluate = smooth},
    {.name = "cartpole-balance_sparse", .rewards = {"balance_sparse"}, .evaluate = sparse},
    {.name = "cartpole-swingup",
     .rewards = {"swingup"},
     .evaluate = smooth,
     .start = start_hanging},
    {.name = "cartpole-swingup_sparse",
     .rewards = {"swingup_sparse"},
     .evaluate = sparse,
     .start = start_hanging},
    {0},
};

extern const struct control_suite_domain cartpole_domain; /* for control_suite.c */
const struct control_suite_domain cartpole_domain = {
    .file = "cartpole.xml",
    .time_limit_s = 10.0,
    .n_sub_steps = 1,
    .nq = 2,
    .nv = 2,
    .nu = 1,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .start = start_upright,
    .observe = observe,
};
