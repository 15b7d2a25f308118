/* What the domains share: random joints as dm_control draws them, and observations put together.
 *
 * The order of draws and of floating-point operations is dm_control's, so that a seed gives the
 * same start state to the last bit. A draw that is added, left out or moved changes all start
 * states of every domain that uses it, and with them the results. No state but the caller's
 * generator. */
#include "common/environments/control_suite_task.h"

#include <math.h>
#include <string.h>

/* values(n) / |values|. numpy's norm sums as here with OpenBLAS's Haswell and Zen kernels; the
 * AVX-512 ones fuse the multiply and add, and one start in nine or so then differs in the last
 * bit. */
static void normalize(double *values, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        sum += values[i] * values[i];
    }
    double norm = sqrt(sum);
    for (int i = 0; i < n; i++) {
        values[i] /= norm;
    }
}

void control_suite_random_quaternion(double *quaternion, struct random_state *random)
{
    for (int i = 0; i < 4; i++) {
        quaternion[i] = random_state_normal(random);
    }
    normalize(quaternion, 4);
}

/* A rotation about a random axis by less than `limit`, in radians. */
static void random_limited_quaternion(double *quaternion, struct random_state *random, double limit)
{
    double axis[3];
    for (int i = 0; i < 3; i++) {
        axis[i] = random_state_normal(random);
    }
    normalize(axis, 3);
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

status control_suite_randomize_joints(struct simulation *simulation, struct random_state *random,
                                      struct err *err)
{
    (void)err;
    for (int joint = 0; joint < simulation->model->njnt; joint++) {
        randomize_joint(simulation->model, simulation->data->qpos, joint, random);
    }
    return STATUS_OK;
}

double *control_suite_put(double *out, const double *values, int n)
{
    memcpy(out, values, (size_t)n * sizeof *values);
    return out + n;
}
