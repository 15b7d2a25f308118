/* acrobot-swingup and acrobot-swingup_sparse: a double pendulum with a motor at the elbow only is to
 * hold its tip at the top. Source: dm_control.suite.acrobot. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/numpy_sums.h"
#include "common/environments/tolerance.h"

/* The parts that are looked up, as indices of `at`. */
enum { UPPER_ARM, LOWER_ARM, TIP, TARGET };
static const struct control_suite_part parts[] = {
    [UPPER_ARM] = {mjOBJ_BODY, "upper_arm"},
    [LOWER_ARM] = {mjOBJ_BODY, "lower_arm"},
    [TIP] = {mjOBJ_SITE, "tip"},
    [TARGET] = {mjOBJ_SITE, "target"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"orientations", 4}, /* sines of upper and lower arm's angle from upright, then cosines */
    {"velocity", 2},
    {"", 0},
};

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    const double *upper = &data->xmat[9 * at[UPPER_ARM]];
    const double *lower = &data->xmat[9 * at[LOWER_ARM]];
    observation[0] = upper[2];
    observation[1] = lower[2];
    observation[2] = upper[8];
    observation[3] = lower[8];
    (void)control_suite_put(&observation[4], data->qvel, 2);
}

/* 1 while the tip is within the target, falling off over `margin`, in m. */
static void swing_up(const struct simulation *simulation, const int *at, double margin,
                     double *rewards)
{
    double to_target[3];
    mju_sub3(to_target, &simulation->data->site_xpos[3 * at[TARGET]],
             &simulation->data->site_xpos[3 * at[TIP]]);
    double radius = simulation->model->site_size[3 * at[TARGET]];
    const struct tolerance within = {0.0, radius, margin, TOLERANCE_GAUSSIAN, 0.1};
    rewards[0] = tolerance(numpy_norm(to_target, 3), &within);
}

/* The tasks of this domain. Both joints are unlimited hinges: uniform in (-pi, pi). */
static const struct control_suite_task tasks[] = {
    {.name = "acrobot-swingup", .rewards = {"swingup"}, .goal = 1.0, .evaluate = swing_up},
    {.name = "acrobot-swingup_sparse",
     .rewards = {"swingup_sparse"},
     .goal = 0.0,
     .evaluate = swing_up},
    {0},
};

extern const struct control_suite_domain acrobot_domain; /* for control_suite.c */
const struct control_suite_domain acrobot_domain = {
    .file = "acrobot.xml",
    .time_limit_s = 10.0,
    .n_sub_steps = 1,
    .nq = 2,
    .nv = 2,
    .nu = 1,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .start = control_suite_randomize_joints,
    .observe = observe,
};
