/* finger-spin, finger-turn_easy and finger-turn_hard: a finger of two links is to keep a body spinning,
 * or to turn its tip to a target, large or small. Source: dm_control.suite.finger. */
#include <math.h>
#include <string.h>

#include "common/environments/control_suite_task.h"
#include "common/environments/numpy_sums.h"

#define LARGE_M    0.07 /* radius of the target */
#define SMALL_M    0.03
#define SPIN_SPEED 15.0 /* rad/s, clockwise */
#define SPIN_DAMPING                                                                               \
    0.03 /* of the body's hinge: less than in the model, so that it keeps spinning */

/* The parts that are looked up, as indices of `at`: sensors, then what the target is placed by. */
enum {
    PROXIMAL,
    DISTAL,
    PROXIMAL_VELOCITY,
    DISTAL_VELOCITY,
    HINGE_VELOCITY,
    TIP_POSITION,
    TARGET_POSITION,
    SPINNER_POSITION,
    TOUCH_TOP,
    TOUCH_BOTTOM,
    TARGET,
    HINGE,
    CAP
};
static const struct control_suite_part parts[] = {
    [PROXIMAL] = {mjOBJ_SENSOR, "proximal"},
    [DISTAL] = {mjOBJ_SENSOR, "distal"},
    [PROXIMAL_VELOCITY] = {mjOBJ_SENSOR, "proximal_velocity"},
    [DISTAL_VELOCITY] = {mjOBJ_SENSOR, "distal_velocity"},
    [HINGE_VELOCITY] = {mjOBJ_SENSOR, "hinge_velocity"},
    [TIP_POSITION] = {mjOBJ_SENSOR, "tip"},
    [TARGET_POSITION] = {mjOBJ_SENSOR, "target"},
    [SPINNER_POSITION] = {mjOBJ_SENSOR, "spinner"},
    [TOUCH_TOP] = {mjOBJ_SENSOR, "touchtop"},
    [TOUCH_BOTTOM] = {mjOBJ_SENSOR, "touchbottom"},
    [TARGET] = {mjOBJ_SITE, "target"},
    [HINGE] = {mjOBJ_JOINT, "hinge"},
    [CAP] = {mjOBJ_GEOM, "cap1"},
    {0, NULL},
};

/* The observation, in the order in which observe writes it. Positions are x z, and relative to the
 * body's hinge. */
#define COMMON_SLICES                                                                              \
    {"position", 4},     /* angles of the finger's joints, the body's tip */                       \
        {"velocity", 3}, /* of the finger's joints and the body's hinge */                         \
    {                                                                                              \
        "touch", 2                                                                                 \
    }
static const struct signature_slice slices[] = {
    COMMON_SLICES,
    {"", 0},
};
static const struct signature_slice turn_slices[] = {
    COMMON_SLICES,
    {"target_position", 2},
    {"dist_to_target", 1}, /* from the tip to the target's surface */
    {"", 0},
};

/* Less damping for spinning, or the target's radius. */
static status edit(mjSpec *spec, const void *arg, struct err *err)
{
    const struct control_suite_task *task = arg;
    mjsElement *hinge, *target;
    status s = control_suite_find(&hinge, spec, mjOBJ_JOINT, "hinge", err);
    s = s != STATUS_OK ? s : control_suite_find(&target, spec, mjOBJ_SITE, "target", err);
    if (s != STATUS_OK) {
        return s;
    }
    if (task->slices == NULL) {
        mjs_asJoint(hinge)->damping[0] = SPIN_DAMPING;
    } else {
        mjs_asSite(target)->size[0] = task->goal;
    }
    return STATUS_OK;
}

static status start(struct simulation *simulation, const int *at, struct random_state *random,
                    struct err *err)
{
    return control_suite_draw_apart(simulation, at, random, control_suite_randomize_joints, err);
}

/* A target on the circle that the body's tip moves on, then as for spinning. */
static status start_turn(struct simulation *simulation, const int *at, struct random_state *random,
                         struct err *err)
{
    double angle = random_state_uniform(random, -M_PI, M_PI);
    const double *hinge = &simulation->data->xanchor[3 * at[HINGE]];
    const double *size = &simulation->model->geom_size[3 * at[CAP]];
    double radius = size[0] + size[1] + size[2];
    double *target = varied_model_at(simulation->varied, VARIED_SITE_POS, at[TARGET]);
    target[0] = hinge[0] + radius * sin(angle);
    target[2] = hinge[2] + radius * cos(angle);
    return start(simulation, at, random, err);
}

/* xz(2): position of a sensor relative to the body's hinge. */
static void find_relative(const struct simulation *simulation, const int *at, int part, double *xz)
{
    const double *position = &simulation->data->sensordata[at[part]];
    const double *spinner = &simulation->data->sensordata[at[SPINNER_POSITION]];
    xz[0] = position[0] - spinner[0];
    xz[1] = position[2] - spinner[2];
}

/* From the body's tip to the target's surface; negative within. */
static double distance_to_target(const struct simulation *simulation, const int *at)
{
    double tip[2], target[2];
    find_relative(simulation, at, TIP_POSITION, tip);
    find_relative(simulation, at, TARGET_POSITION, target);
    const double to_target[2] = {target[0] - tip[0], target[1] - tip[1]};
    return numpy_norm(to_target, 2) - simulation->model->site_size[3 * at[TARGET]];
}

static void observe(const struct simulation *simulation, const int *at, double *observation)
{
    const double *sensors = simulation->data->sensordata;
    observation[0] = sensors[at[PROXIMAL]];
    observation[1] = sensors[at[DISTAL]];
    find_relative(simulation, at, TIP_POSITION, &observation[2]);
    for (int i = 0; i < 3; i++) {
        observation[4 + i] = sensors[at[PROXIMAL_VELOCITY + i]];
    }
    /* The logarithm keeps forces in range. */
    observation[7] = log1p(sensors[at[TOUCH_TOP]]);
    observation[8] = log1p(sensors[at[TOUCH_BOTTOM]]);
}

static void observe_turn(const struct simulation *simulation, const int *at, double *observation)
{
    observe(simulation, at, observation);
    find_relative(simulation, at, TARGET_POSITION, &observation[9]);
    observation[11] = distance_to_target(simulation, at);
}

/* 1 while the body spins fast enough, else 0. */
static void spin(const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    rewards[0] = simulation->data->sensordata[at[HINGE_VELOCITY]] <= -goal ? 1.0 : 0.0;
}

/* 1 while the body's tip is within the target, else 0. */
static void turn(const struct simulation *simulation, const int *at, double goal, double *rewards)
{
    (void)goal;
    rewards[0] = distance_to_target(simulation, at) <= 0.0 ? 1.0 : 0.0;
}

/* The tasks of this domain. */
static const struct control_suite_task tasks[] = {
    {.name = "finger-spin", .rewards = {"spin"}, .goal = SPIN_SPEED, .evaluate = spin},
    {.name = "finger-turn_easy",
     .rewards = {"turn_easy"},
     .goal = LARGE_M,
     .evaluate = turn,
     .slices = turn_slices,
     .start = start_turn,
     .observe = observe_turn},
    {.name = "finger-turn_hard",
     .rewards = {"turn_hard"},
     .goal = SMALL_M,
     .evaluate = turn,
     .slices = turn_slices,
     .start = start_turn,
     .observe = observe_turn},
    {0},
};

extern const struct control_suite_domain finger_domain; /* for control_suite.c */
const struct control_suite_domain finger_domain = {
    .file = "finger.xml",
    .time_limit_s = 20.0,
    .n_sub_steps = 2,
    .nq = 3,
    .nv = 3,
    .nu = 2,
    .slices = slices,
    .parts = parts,
    .tasks = tasks,
    .edit = edit,
    .varies = VARIES(SITE_POS),
    .start = start,
    .observe = observe,
};
