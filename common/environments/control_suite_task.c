/* What the domains share: random joints as dm_control draws them, edits of models, and terms of
 * rewards.
 *
 * The order of draws and of floating-point operations is dm_control's, so that a seed gives the
 * same start state to the last bit. A draw that is added, left out or moved changes all start
 * states of every domain that uses it, and with them the results. No state but the caller's
 * generator. */
#include "common/environments/control_suite_task.h"

#include <math.h>

#include "common/environments/numpy_sums.h"
#include "common/environments/tolerance.h"

#define DRAWS_MAX 10000

static void normalize(double *values, int n)
{
    double norm = numpy_norm(values, n);
    for (int i = 0; i < n; i++) {
        values[i] /= norm;
    }
}

void control_suite_random_direction(double *direction, int n, struct random_state *random)
{
    for (int i = 0; i < n; i++) {
        direction[i] = random_state_normal(random);
    }
    normalize(direction, n);
}

void control_suite_random_quaternion(double *quaternion, struct random_state *random)
{
    control_suite_random_direction(quaternion, 4, random);
}

/* A rotation about a random axis by less than `limit`, in radians. */
static void random_limited_quaternion(double *quaternion, struct random_state *random, double limit)
{
    double axis[3];
    control_suite_random_direction(axis, 3, random);
    mju_axisAngle2Quat(quaternion, axis, random_state_double(random) * limit);
}

/* The orientation of a free joint. dm_control draws it from rand, not randn: not uniform, and kept
 * so there because results depend on it. */
static void random_free_orientation(double *quaternion, struct random_state *random)
{
    for (int i = 0; i < 4; i++) {
        quaternion[i] = random_state_double(random);
    }
    normalize(quaternion, 4);
}

/* Writes the position of one joint: one number, a quaternion, or a position and a quaternion. How
 * many numbers are drawn depends on the type and on whether the joint has limits. */
static void randomize_joint(const mjModel *model, double *qpos, int joint,
                            struct random_state *random)
{
    double *at = &qpos[model->jnt_qposadr[joint]];
    const double *range = &model->jnt_range[2 * joint];
    bool limited = model->jnt_limited[joint];
    switch (model->jnt_type[joint]) {
    case mjJNT_HINGE:
        *at = limited ? random_state_uniform(random, range[0], range[1])
                      : random_state_uniform(random, -M_PI, M_PI);
        return;
    case mjJNT_SLIDE:
        /* A slide without limits stays where it is, and nothing is drawn for it. */
        if (limited) {
            *at = random_state_uniform(random, range[0], range[1]);
        }
        return;
    case mjJNT_BALL:
        if (limited) {
            random_limited_quaternion(at, random, range[1]);
        } else {
            control_suite_random_quaternion(at, random);
        }
        return;
    case mjJNT_FREE:
        random_free_orientation(at + 3, random); /* the position comes first and stays */
        return;
    default:
        UNREACHABLE("MuJoCo has four types of joint");
    }
}

status control_suite_randomize_joints(struct simulation *simulation, const int *at,
                                      struct random_state *random, struct err *err)
{
    (void)at;
    (void)err;
    for (int joint = 0; joint < simulation->model->njnt; joint++) {
        randomize_joint(simulation->model, simulation->data->qpos, joint, random);
    }
    return STATUS_OK;
}

/* dm_control computes everything after each draw. Contacts depend on positions alone, and forward
 * leaves nothing behind that the next one would see, so here only positions are computed. */
status control_suite_draw_apart(struct simulation *simulation, const int *at,
                                struct random_state *random, control_suite_start *draw,
                                struct err *err)
{
    for (int i = 0; i < DRAWS_MAX; i++) {
        int n_contacts = 0;
        status s = draw(simulation, at, random, err);
        s = s != STATUS_OK ? s : simulation_count_contacts(simulation, &n_contacts, err);
        if (s != STATUS_OK || n_contacts == 0) {
            return s;
        }
    }
    return err_set(err, STATUS_CORRUPT, "no start state without contacts in %d draws", DRAWS_MAX);
}

status control_suite_find(mjsElement **element, mjSpec *spec, mjtObj type, const char *name,
                          struct err *err)
{
    mjsElement *found = mjs_findElement(spec, type, name);
    if (found == NULL) {
        return err_set(err, STATUS_INVALID, "no %s named %s", mju_type2Str((int)type), name);
    }
    *element = found;
    return STATUS_OK;
}

status control_suite_remove(mjSpec *spec, mjtObj type, const char *name, struct err *err)
{
    mjsElement *element;
    status s = control_suite_find(&element, spec, type, name, err);
    if (s == STATUS_OK && mjs_delete(spec, element) != 0) {
        s = err_set(err, STATUS_INVALID, "cannot remove %s %s", mju_type2Str((int)type), name);
    }
    return s;
}

double control_suite_small_control(const struct simulation *simulation)
{
    const struct tolerance small = {0.0, 0.0, 1.0, TOLERANCE_QUADRATIC, 0.0};
    double terms[SIGNATURE_ACTIONS_MAX];
    int nu = (int)simulation->model->nu;
    ASSERT(nu <= SIGNATURE_ACTIONS_MAX);
    for (int i = 0; i < nu; i++) {
        terms[i] = tolerance(simulation->data->ctrl[i], &small);
    }
    return (numpy_mean(terms, nu) + 4.0) / 5.0;
}

double control_suite_at_least(double x, double low, double margin, double v)
{
    const struct tolerance shape = {low, (double)INFINITY, margin, TOLERANCE_LINEAR, v};
    return tolerance(x, &shape);
}
