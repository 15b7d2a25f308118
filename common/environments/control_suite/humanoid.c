/* humanoid-stand, humanoid-walk and humanoid-run: a body of 21 joints, from a random pose in the air.
 * Source: dm_control.suite.humanoid. */
#include <math.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/numpy_sums.h"
#include "common/environments/tolerance.h"

#define STAND_HEIGHT_M 1.4 /* of the head */
#define WALK_SPEED     1.0 /* m/s */
#define RUN_SPEED      10.0
#define ROOT_QPOS      7 /* the free joint's position and quaternion */
#define JOINTS         21
#define LIMBS          4

/* The parts that are looked up, as indices of `at`. */
enum { TORSO, HEAD, VELOCITY, LIMB };
static const struct control_suite_part parts[] = {
    [TORSO] = {mjOBJ_BODY, "torso"},
    [HEAD] = {mjOBJ_BODY, "head"},
    [VELOCITY] = {mjOBJ_SENSOR, "torso_subtreelinvel"},
    [LIMB] = {mjOBJ_BODY, "left_hand"},
    [LIMB + 1] = {mjOBJ_BODY, "left_foot"},
    [LIMB + 2] = {mjOBJ_BODY, "right_hand"},
    [LIMB + 3] = {mjOBJ_BODY, "right_foot"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. */
static const struct signature_slice slices[] = {
    {"joint_angles", JOINTS},   {"head_height", 1},
    {"extremities", 3 * LIMBS}, /* from the torso, in its frame */
    {"torso_vertical", 3},      /* the world's vertical in the torso's frame */
    {"com_velocity", 3},        /* of the centre of mass */
    {"velocity", 6 + JOINTS},   {"", 0},
};

static status start(struct simulation *simulation, const int *at, struct random_state *random,
                    struct err *err)
{
    return control_suite_draw_apart(simulation, at, random, control_suite_randomize_joints, err);
}

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const mjData *data = simulation->data;
    const double *frame = &data->xmat[9 * at[TORSO]];
    double *next = control_suite_put(observation, &data->qpos[ROOT_QPOS], JOINTS);
    *next++ = data->xpos[3 * at[HEAD] + 2];
    for (int i = 0; i < LIMBS; i++) {
        double to_limb[3];
        mju_sub3(to_limb, &data->xpos[3 * at[LIMB + i]], &data->xpos[3 * at[TORSO]]);
        mju_mulMatTVec3(next, frame, to_limb);
        next += 3;
    }
    next = control_suite_put(next, &frame[6], 3);
    next = control_suite_put(next, &data->sensordata[at[VELOCITY]], 3);
    (void)control_suite_put(next, data->qvel, 6 + JOINTS);
}

/* Head high, times torso upright, times small control. */
static double standing(const struct simulation *simulation, const int *at)
{
    const mjData *data = simulation->data;
    const struct tolerance high = {STAND_HEIGHT_M, (double)INFINITY, STAND_HEIGHT_M / 4.0,
                                   TOLERANCE_GAUSSIAN, 0.1};
    double upright = control_suite_at_least(data->xmat[9 * at[TORSO] + 8], 0.9, 1.9, 0.0);
    double stand = tolerance(data->xpos[3 * at[HEAD] + 2], &high) * upright;
    return control_suite_small_control(simulation) * stand;
}

/* Standing, without moving sideways. */
static void stand(const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    (void)goal;
    const double *velocity = &simulation->data->sensordata[at[VELOCITY]];
    const struct tolerance still = {0.0, 0.0, 2.0, TOLERANCE_GAUSSIAN, 0.1};
    const double terms[2] = {tolerance(velocity[0], &still), tolerance(velocity[1], &still)};
    rewards[0] = standing(simulation, at) * numpy_mean(terms, 2);
}

/* Standing, times horizontal speed in any direction (5 parts) and a constant (1 part). */
static void move(const struct simulation *simulation, const int *at, double speed, double *rewards)
{
    double reached = numpy_norm(&simulation->data->sensordata[at[VELOCITY]], 2);
    double moving = control_suite_at_least(reached, speed, speed, 0.0);
    rewards[0] = standing(simulation, at) * ((5.0 * moving + 1.0) / 6.0);
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "humanoid-stand", .rewards = {"stand"}, .evaluate = stand},
    {.name = "humanoid-walk", .rewards = {"walk"}, .goal = WALK_SPEED, .evaluate = move},
    {.name = "humanoid-run", .rewards = {"run"}, .goal = RUN_SPEED, .evaluate = move},
    {0},
};

extern const struct control_suite_domain humanoid_domain; /* for control_suite.c */
const struct control_suite_domain humanoid_domain = {
    .file = "humanoid.xml",
    .time_limit_s = 25.0,
    .n_sub_steps = 5,
    .nq = ROOT_QPOS + JOINTS,
    .nv = 6 + JOINTS,
    .nu = 21,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .start = start,
    .observe = observe,
};
