/* MuJoCo called in the control suite's order, each call guarded and followed by a look at the
 * warning counters.
 *
 * What an episode is does not belong here. The work that is guarded must not hold locks or memory
 * of its own: after an error of MuJoCo it is left by a longjmp. One thread per simulation. */
#include "common/environments/simulation.h"

#include <string.h>

#include "common/environments/mujoco_guard.h"

/* Does a sensor read where a camera is? */
static bool senses_cameras(const mjModel *model)
{
    for (int i = 0; i < model->nsensor; i++) {
        if (model->sensor_objtype[i] == mjOBJ_CAMERA || model->sensor_reftype[i] == mjOBJ_CAMERA) {
            return true;
        }
    }
    return false;
}

/* Turns off what this model has not, so that a step need not look for it. One kinematic tree is one
 * constraint island: solving it as one gives the same bits as solving all at once, which takes no
 * copies. */
static void disable_absent(mjModel *model)
{
    int *disabled = &model->opt.disableflags;
    const int njnt = (int)model->njnt, ntendon = (int)model->ntendon;
    if (mju_isZero(model->dof_frictionloss, (int)model->nv) &&
        mju_isZero(model->tendon_frictionloss, ntendon)) {
        *disabled |= mjDSBL_FRICTIONLOSS;
    }
    if (mju_isZero(model->jnt_stiffness, njnt) &&
        mju_isZero(model->jnt_stiffnesspoly, njnt * mjNPOLY) &&
        mju_isZero(model->tendon_stiffness, ntendon) &&
        mju_isZero(model->tendon_stiffnesspoly, ntendon * mjNPOLY) && model->nflex == 0) {
        *disabled |= mjDSBL_SPRING;
    }
    if (model->nsensor == 0) {
        *disabled |= mjDSBL_SENSOR;
    }
    if (model->ntree <= 1 && (model->opt.enableflags & mjENBL_SLEEP) == 0) {
        *disabled |= mjDSBL_ISLAND;
    }
}

status simulation_init(struct simulation *simulation, const struct shared_model *shared,
                       unsigned varies, struct err *err)
{
    struct varied_model *varied = NULL;
    status s = varies == 0 ? STATUS_OK : varied_model_new(&varied, shared, varies, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Made with the shared model; the others have the same sizes, so this serves for all. */
    mjData *data = mj_makeData(shared->model);
    if (data == NULL) {
        varied_model_free(varied);
        return err_set(err, STATUS_NO_MEMORY, "simulation state: out of memory");
    }
    /* Borrowed: whoever took the model drops it after simulation_fini. */
    simulation->model = varied == NULL ? shared->model : varied_model_model(varied);
    simulation->passive = varied == NULL ? shared->passive : varied_model_passive(varied);
    simulation->stepped = *simulation->model;
    if (!senses_cameras(simulation->model)) {
        simulation->stepped.ncam = simulation->stepped.nlight = 0;
    }
    disable_absent(&simulation->stepped);
    simulation->between = simulation->stepped;
    if (simulation->model->nhistory == 0) {
        simulation->between.opt.disableflags |= mjDSBL_SENSOR;
    }
    simulation->varied = varied;
    simulation->data = data;
    return STATUS_OK;
}

void simulation_fini(struct simulation *simulation)
{
    mj_deleteData(simulation->data);
    varied_model_free(simulation->varied);
    simulation->data = NULL;
    simulation->varied = NULL;
}

void simulation_restore_model(struct simulation *simulation)
{
    if (simulation->varied != NULL) {
        varied_model_restore(simulation->varied);
    }
}

/* With automatic reset disabled, these counters are the only sign that a state went bad. */
static status check_warnings(const mjData *data, struct err *err)
{
    for (int i = 0; i < mjNWARNING; i++) {
        if (data->warning[i].number != 0) {
            return err_set(err, STATUS_CORRUPT, "simulation at %.4f s: %s", data->time,
                           mju_warningText(i, (size_t)data->warning[i].lastinfo));
        }
    }
    return STATUS_OK;
}

/* Runs `work` within the guard, then looks for warnings. */
status simulation_run(struct simulation *simulation, void (*work)(void *arg), void *arg,
                      struct err *err)
{
    /* INTERNAL from the guard comes first: the counters mean nothing then. */
    status s = mujoco_guard_run(work, arg, err);
    return s == STATUS_OK ? check_warnings(simulation->data, err) : s;
}

/* The work of each public function, in the form that the guard calls. */
static void do_reset(void *arg)
{
    struct simulation *simulation = arg;
    mj_resetData(simulation->model, simulation->data);
    mj_forward(simulation->passive, simulation->data);
}

static void do_forward(void *arg)
{
    struct simulation *simulation = arg;
    mj_forward(simulation->passive, simulation->data);
}

/* The arguments of simulation_step, since the guard passes one pointer only. */
struct step_work {
    struct simulation *simulation;
    int n;
};

/* mj_step where mj_step1 was called for this state already: all of it but the position and velocity
 * stages, which would compute the same again. Equal to mj_step to the last bit, and the mj_step1 after
 * the last physics step then costs nothing. mj_step2 is for other integrators. */
static void finish_runge_kutta(const mjModel *model, mjData *data)
{
    mj_checkPos(model, data);
    mj_checkVel(model, data);
    mj_forwardSkip(model, data, mjSTAGE_VEL, 0);
    mj_checkAcc(model, data);
    mj_RungeKutta(model, data, 4);
}

void simulation_sub_steps(struct simulation *simulation, int n_sub_steps)
{
    mjData *data = simulation->data;
    for (int i = 0; i < n_sub_steps; i++) {
        const mjModel *model = i + 1 < n_sub_steps ? &simulation->between : &simulation->stepped;
        /* The first physics step follows the mj_step1 that ended the control step before. */
        if (i > 0) {
            mj_step1(&simulation->between, data);
        }
        if (model->opt.integrator == mjINT_RK4) {
            finish_runge_kutta(model, data);
        } else {
            mj_step2(model, data);
        }
    }
    /* Positions, velocities and their sensors of the new state. */
    mj_step1(&simulation->stepped, data);
    simulation->n_steps += (uint64_t)n_sub_steps;
}

static void do_step(void *arg)
{
    const struct step_work *work = arg;
    simulation_sub_steps(work->simulation, work->n);
}

/* Earlier warnings are forgotten, so that the caller sees those of this call only. */
static void do_positions(void *arg)
{
    struct simulation *simulation = arg;
    memset(simulation->data->warning, 0, sizeof simulation->data->warning);
    mj_fwdPosition(simulation->model, simulation->data);
}

status simulation_count_contacts(struct simulation *simulation, int *n_contacts, struct err *err)
{
    status s = simulation_run(simulation, do_positions, simulation, err);
    if (s != STATUS_OK && s != STATUS_CORRUPT) {
        return s;
    }
    /* A warning means that the contact buffer overflowed: there is a contact for certain. */
    *n_contacts = simulation->data->ncon + (s == STATUS_CORRUPT);
    return STATUS_OK;
}

status simulation_reset(struct simulation *simulation, struct err *err)
{
    return simulation_run(simulation, do_reset, simulation, err);
}

status simulation_forward(struct simulation *simulation, struct err *err)
{
    return simulation_run(simulation, do_forward, simulation, err);
}

status simulation_step(struct simulation *simulation, int n_sub_steps, struct err *err)
{
    struct step_work work = {.simulation = simulation, .n = n_sub_steps};
    return simulation_run(simulation, do_step, &work, err);
}
