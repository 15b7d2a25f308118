/* The machinery all tasks of the control suite share: opening, episodes, doubles and floats. */
#include "common/environments/control_suite.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/environments/control_suite_task.h"
#include "common/environments/environment_operations.h"

#define TASKS(X)                                                                                   \
    X("cheetah-run", cheetah_run)                                                                  \
    X("hopper-hop", hopper_hop)                                                                    \
    X("hopper-stand", hopper_stand)                                                                \
    X("walker-stand", walker_stand)                                                                \
    X("walker-walk", walker_walk)                                                                  \
    X("walker-run", walker_run)                                                                    \
    X("quadruped-walk", quadruped_walk)                                                            \
    X("quadruped-run", quadruped_run)

#define TASK_NAME(name, task)    name,
#define TASK_ADDRESS(name, task) &task,
static const char *const names[] = {TASKS(TASK_NAME) NULL};
static const struct control_suite_task *const tasks[] = {TASKS(TASK_ADDRESS)};
#define N_TASKS (sizeof tasks / sizeof tasks[0])

struct control_suite {
    struct environment environment; /* first: environment.c hands this address around */
    const struct control_suite_task *task;
    const struct shared_model *shared;
    struct simulation simulation;
    struct random_state random;
    int at[CONTROL_SUITE_PARTS_MAX];
    uint32_t steps;      /* of this episode */
    double *observation; /* (O), for the float side */
    double *action;      /* (A), physical */
};

status control_suite_randomize_joints(struct simulation *simulation, struct random_state *random,
                                      struct err *err)
{
    const mjModel *model = simulation->model;
    for (int joint = 0; joint < model->njnt; joint++) {
        int type = model->jnt_type[joint];
        if (type != mjJNT_HINGE && type != mjJNT_SLIDE) {
            return err_set(err, STATUS_INVALID, "joint %d: expected a hinge or slide", joint);
        }
        double *angle = &simulation->data->qpos[model->jnt_qposadr[joint]];
        if (model->jnt_limited[joint]) {
            const double *range = &model->jnt_range[2 * joint];
            *angle = random_state_uniform(random, range[0], range[1]);
        } else if (type == mjJNT_HINGE) {
            *angle = random_state_uniform(random, -M_PI, M_PI);
        }
    }
    return STATUS_OK;
}

double *control_suite_put(double *out, const double *values, int n)
{
    memcpy(out, values, (size_t)n * sizeof *values);
    return out + n;
}

/* ---- opening ---- */

static const struct control_suite_task *find_task(const char *name)
{
    for (size_t i = 0; i < N_TASKS; i++) {
        if (strcmp(names[i], name) == 0) {
            return tasks[i];
        }
    }
    return NULL;
}

/* The models' folder and the domain's file in it. */
static status model_path(char *path, size_t size, const char *file, struct err *err)
{
    const char *folder = getenv("HINDCAST_CONTROL_SUITE");
    if (folder == NULL || folder[0] == '\0') {
        folder = HINDCAST_CONTROL_SUITE_DIR;
    }
    int n = snprintf(path, size, "%s/%s", folder, file);
    if (n < 0 || (size_t)n >= size) {
        return err_set(err, STATUS_INVALID, "HINDCAST_CONTROL_SUITE: path longer than %zu bytes",
                       size);
    }
    return STATUS_OK;
}

/* Is this the model the domain was written for? Its functions index into it without looking again.
 */
static status check_model(const struct control_suite_domain *domain, const mjModel *model,
                          struct err *err)
{
    if (model->nq != domain->nq || model->nv != domain->nv || model->na != domain->na ||
        model->nu != domain->nu) {
        return err_set(err, STATUS_INVALID,
                       "%s: nq %d, nv %d, na %d, nu %d: expected %d, %d, %d, %d", domain->file,
                       (int)model->nq, (int)model->nv, (int)model->na, (int)model->nu, domain->nq,
                       domain->nv, domain->na, domain->nu);
    }
    return STATUS_OK;
}

static status find_parts(int *at, const struct control_suite_domain *domain, const mjModel *model,
                         struct err *err)
{
    for (int i = 0; domain->parts[i].name != NULL; i++) {
        ASSERT(i < CONTROL_SUITE_PARTS_MAX);
        const struct control_suite_part *part = &domain->parts[i];
        int id = mj_name2id(model, part->type, part->name);
        if (id < 0) {
            return err_set(err, STATUS_INVALID, "%s: no %s named %s", domain->file,
                           mju_type2Str(part->type), part->name);
        }
        at[i] = part->type == mjOBJ_SENSOR ? model->sensor_adr[id] : id;
    }
    return STATUS_OK;
}

static void fill_signature(struct signature *signature, const struct control_suite_task *task,
                           const mjModel *model)
{
    const struct control_suite_domain *domain = task->domain;
    memset(signature, 0, sizeof *signature);
    for (uint32_t i = 0; domain->slices[i].size != 0; i++) {
        signature->slices[i] = domain->slices[i];
        signature->n_slices = i + 1;
    }
    signature->A = (uint32_t)model->nu;
    for (uint32_t a = 0; a < signature->A; a++) {
        signature->action_min[a] = (float)model->actuator_ctrlrange[2 * a];
        signature->action_max[a] = (float)model->actuator_ctrlrange[2 * a + 1];
    }
    signature->K = 1;
    (void)snprintf(signature->rewards[0], sizeof signature->rewards[0], "%s", task->reward);
    signature->control_period_s = model->opt.timestep * domain->n_sub_steps;
}

static const struct environment_operations operations;

static void fill_environment(struct control_suite *suite)
{
    const struct control_suite_task *task = suite->task;
    struct environment *environment = &suite->environment;
    fill_signature(&environment->signature, task, suite->shared->model);
    environment->operations = &operations;
    (void)snprintf(environment->name, sizeof environment->name, "%s", task->name);
    environment->O = signature_observation(&environment->signature);
    /* Steps taken when time_limit / period is reached, as dm_control.rl.control counts them. */
    environment->step_limit =
        (uint32_t)ceil(task->domain->time_limit_s / environment->signature.control_period_s);
}

static status open_parts(struct control_suite *suite, struct err *err)
{
    const struct control_suite_domain *domain = suite->task->domain;
    char path[1024];
    status s = model_path(path, sizeof path, domain->file, err);
    if (s == STATUS_OK) {
        /* Only an edited model differs between the tasks of a domain. */
        const char *key = domain->edit == NULL ? domain->file : suite->task->name;
        s = shared_model_take(&suite->shared, path, key, domain->edit, suite->task, err);
    }
    if (s == STATUS_NOT_FOUND) {
        return err_set(err, s,
                       "no model %s: run deploy/install_dependencies, or set "
                       "HINDCAST_CONTROL_SUITE to the folder that holds it",
                       path);
    }
    if (s == STATUS_OK) {
        s = check_model(domain, suite->shared->model, err);
    }
    if (s == STATUS_OK) {
        s = find_parts(suite->at, domain, suite->shared->model, err);
    }
    if (s == STATUS_OK) {
        s = simulation_init(&suite->simulation, suite->shared, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    fill_environment(suite);
    suite->observation = mem_array(suite->environment.O, sizeof *suite->observation);
    suite->action = mem_array(suite->environment.signature.A, sizeof *suite->action);
    if (suite->observation == NULL || suite->action == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", suite->task->name);
    }
    return STATUS_OK;
}

status control_suite_open(struct control_suite **suite, const char *name, uint64_t seed,
                          struct err *err)
{
    const struct control_suite_task *task = find_task(name);
    if (task == NULL) {
        return err_set(err, STATUS_NOT_FOUND, "environment %s: no such control suite task", name);
    }
    struct control_suite *opened = mem_new(sizeof *opened);
    if (opened == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "environment %s: out of memory", name);
    }
    opened->task = task;
    random_state_init(&opened->random, seed);
    status s = open_parts(opened, err);
    if (s != STATUS_OK) {
        control_suite_close(opened);
        return err_context(err, s, "environment %s", name);
    }
    *suite = opened;
    return STATUS_OK;
}

void control_suite_close(struct control_suite *suite)
{
    if (suite == NULL) {
        return;
    }
    if (suite->simulation.data != NULL) {
        simulation_fini(&suite->simulation);
    }
    shared_model_drop(suite->shared);
    mem_free(suite->observation);
    mem_free(suite->action);
    mem_free(suite);
}

const char *const *control_suite_names(void)
{
    return names;
}

struct environment *control_suite_environment(struct control_suite *suite)
{
    return &suite->environment;
}

struct simulation *control_suite_simulation(struct control_suite *suite)
{
    return &suite->simulation;
}

int control_suite_sub_steps(const struct control_suite *suite)
{
    return suite->task->domain->n_sub_steps;
}

/* ---- episodes, in double ---- */

void control_suite_observe(const struct control_suite *suite, double *observation)
{
    suite->task->domain->observe(&suite->simulation, suite->at, observation);
}

double control_suite_reward(const struct control_suite *suite)
{
    return suite->task->evaluate(&suite->simulation, suite->at, suite->task->speed);
}

/* The state may be finite where what is computed from it is not. */
static status check_finite(const struct control_suite *suite, const double *observation,
                           double reward, struct err *err)
{
    for (uint32_t i = 0; i < suite->environment.O; i++) {
        if (!isfinite(observation[i])) {
            return err_set(err, STATUS_CORRUPT, "step %u: observation %u is %g", suite->steps, i,
                           observation[i]);
        }
    }
    if (!isfinite(reward)) {
        return err_set(err, STATUS_CORRUPT, "step %u: reward is %g", suite->steps, reward);
    }
    return STATUS_OK;
}

static status draw_start(struct control_suite *suite, struct err *err)
{
    struct simulation *simulation = &suite->simulation;
    status s = simulation_reset(simulation, err);
    if (s == STATUS_OK) {
        s = suite->task->domain->start(simulation, &suite->random, err);
    }
    return s == STATUS_OK ? simulation_forward(simulation, err) : s;
}

status control_suite_reset(struct control_suite *suite, double *observation, struct err *err)
{
    suite->environment.under_way = false;
    suite->steps = 0;
    status s = draw_start(suite, err);
    if (s == STATUS_OK) {
        control_suite_observe(suite, observation);
        s = check_finite(suite, observation, 0.0, err);
    }
    if (s != STATUS_OK) {
        return err_context(err, s, "environment %s: reset", suite->task->name);
    }
    suite->environment.under_way = true;
    return STATUS_OK;
}

status control_suite_place(struct control_suite *suite, const double *qpos, const double *qvel,
                           const double *act, const double *qacc_warmstart, struct err *err)
{
    const mjModel *model = suite->simulation.model;
    mjData *data = suite->simulation.data;
    suite->environment.under_way = false;
    suite->steps = 0;
    mj_resetData(model, data);
    (void)control_suite_put(data->qpos, qpos, (int)model->nq);
    (void)control_suite_put(data->qvel, qvel, (int)model->nv);
    if (model->na > 0) {
        (void)control_suite_put(data->act, act, (int)model->na);
    }
    if (qacc_warmstart != NULL) {
        (void)control_suite_put(data->qacc_warmstart, qacc_warmstart, (int)model->nv);
    }
    status s = simulation_forward(&suite->simulation, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "environment %s: place", suite->task->name);
    }
    suite->environment.under_way = true;
    return STATUS_OK;
}

status control_suite_step(struct control_suite *suite, const double *action, double *observation,
                          double *reward, bool *last, struct err *err)
{
    struct environment *environment = &suite->environment;
    if (!environment->under_way) {
        return err_set(err, STATUS_CLOSED, "environment %s: no episode under way: reset first",
                       environment->name);
    }
    (void)control_suite_put(suite->simulation.data->ctrl, action, (int)environment->signature.A);
    status s = simulation_step(&suite->simulation, suite->task->domain->n_sub_steps, err);
    suite->steps++;
    double value = 0.0;
    if (s == STATUS_OK) {
        control_suite_observe(suite, observation);
        value = control_suite_reward(suite);
        s = check_finite(suite, observation, value, err);
    }
    if (s != STATUS_OK) {
        environment->under_way = false;
        return err_context(err, s, "environment %s: step %u", environment->name, suite->steps);
    }
    *reward = value;
    *last = suite->steps >= environment->step_limit;
    environment->under_way = !*last;
    return STATUS_OK;
}

/* ---- the same as a struct environment, in float ---- */

static void to_floats(float *out, const double *in, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (float)in[i];
    }
}

static status reset(struct environment *environment, float *observation, struct err *err)
{
    struct control_suite *suite = (struct control_suite *)environment;
    status s = control_suite_reset(suite, suite->observation, err);
    if (s == STATUS_OK) {
        to_floats(observation, suite->observation, environment->O);
    }
    return s;
}

static status step(struct environment *environment, const float *action, float *observation,
                   float *rewards, float *discount, bool *last, struct err *err)
{
    struct control_suite *suite = (struct control_suite *)environment;
    /* In float, as a log file holds it: replaying logged actions gives the logged episode. */
    float physical[SIGNATURE_ACTIONS_MAX];
    signature_to_physical(&environment->signature, physical, action);
    for (uint32_t a = 0; a < environment->signature.A; a++) {
        suite->action[a] = (double)physical[a];
    }
    double reward = 0.0;
    status s = control_suite_step(suite, suite->action, suite->observation, &reward, last, err);
    if (s != STATUS_OK) {
        return s;
    }
    to_floats(observation, suite->observation, environment->O);
    rewards[0] = (float)reward;
    *discount = 1.0f; /* no task of the suite terminates; a time limit is no termination */
    return STATUS_OK;
}

static void close_suite(struct environment *environment)
{
    control_suite_close((struct control_suite *)environment);
}

static const struct environment_operations operations = {
    .reset = reset,
    .step = step,
    .close = close_suite,
};

static status open_family(struct environment **environment, const char *name, uint64_t seed,
                          struct err *err)
{
    struct control_suite *suite;
    status s = control_suite_open(&suite, name, seed, err);
    if (s == STATUS_OK) {
        *environment = &suite->environment;
    }
    return s;
}

const struct environment_family control_suite_family = {.names = names, .open = open_family};
