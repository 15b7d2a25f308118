/* The Sawyer stacking domain as a family of environments: opening, episodes in double, and the same
 * in float. What the scene, the control law, the rewards and the start states are is in sawyer/.
 *
 * An open environment belongs to one thread at a time; only the compiled model is shared. After an
 * error no step is taken until the next reset, since the state is bad. */
#include "common/environments/sawyer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/environments/environment_family.h"
#include "common/environments/model_folder.h"
#include "common/environments/sawyer/sawyer_script.h"

#define STEP_LIMIT 200
/* Blocks that left the basket's opening, or fell through its floor, end a continued scene. */
#define BASKET_X_M       0.6
#define BASKET_OPENING_M 0.46

static const char *const names[] = {"sawyer-stack", "sawyer-stack_blue", NULL};
static const char *const prefixes[] = {"sawyer-", NULL};

struct sawyer {
    struct environment environment; /* first: environment.c passes this address around */
    const struct shared_model *shared;
    struct simulation simulation;
    struct sawyer_parts parts;
    uint32_t steps; /* of this episode */
    bool sound;     /* the state is one that an episode may continue from */
};

static const struct environment_operations operations;

/* ---- Opening ---- */

/* Number of blocks of the environment of this name; 0: there is none. */
static int blocks_of(const char *name)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(name, names[i]) == 0) {
            return 2 + i;
        }
    }
    return 0;
}

static status take_model(const struct shared_model **shared, struct sawyer_parts *parts,
                         const char *name, struct err *err)
{
    char folder[1024];
    const int n_blocks = blocks_of(name);
    if (n_blocks == 0) {
        return environment_unknown(name, err);
    }
    status s = model_folder_find(folder, sizeof folder, "sawyer", "HINDCAST_SAWYER", err);
    s = s != STATUS_OK ? s
                       : shared_model_take_assembled(shared, folder, name, sawyer_scene_assemble,
                                                     &n_blocks, err);
    if (s == STATUS_NOT_FOUND) {
        s = err_context(err, s, "no models (deploy/install_dependencies fetches them)");
    }
    if (s != STATUS_OK) {
        return err_context(err, s, "environment %s", name);
    }
    s = sawyer_parts_find(parts, (*shared)->model, n_blocks, err);
    if (s != STATUS_OK) {
        shared_model_drop(*shared);
        return err_context(err, s, "environment %s", name);
    }
    return STATUS_OK;
}

static void fill_description(struct environment_description *description, const char *name,
                             const struct sawyer_parts *parts, const mjModel *model)
{
    struct signature *signature = &description->signature;
    memset(description, 0, sizeof *description);
    (void)snprintf(description->uri, sizeof description->uri, "%s", name);
    signature->n_slices = sawyer_slices(signature->slices, parts->n_blocks);
    signature->A = SAWYER_ACTIONS;
    for (int a = 0; a < SAWYER_ACTIONS; a++) {
        signature->action_min[a] = -1.0f;
        signature->action_max[a] = 1.0f;
    }
#define TASK(task, threshold)                                                                      \
    (void)snprintf(signature->rewards[SAWYER_##task], sizeof signature->rewards[0], "%s", #task);  \
    description->success[SAWYER_##task] = threshold;
    SAWYER_TASKS(TASK)
#undef TASK
    description->success_steps = SAWYER_SUCCESS_STEPS;
    description->scripted = true;
    signature->K = SAWYER_N_TASKS;
    signature->control_period_s = model->opt.timestep * SAWYER_SUB_STEPS;
    description->step_limit = STEP_LIMIT;
    description->open_max = ENVIRONMENT_OPEN_UNLIMITED;
    description->start_flags = ENVIRONMENT_START_KEEP | ENVIRONMENT_START_ADVANCED;
}

status sawyer_open(struct sawyer **sawyer, const char *name, struct err *err)
{
    struct sawyer *opened = mem_new(sizeof *opened);
    if (opened == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "environment %s: out of memory", name);
    }
    const struct shared_model *shared;
    status s = take_model(&shared, &opened->parts, name, err);
    if (s == STATUS_OK) {
        opened->shared = shared;
        s = simulation_init(&opened->simulation, shared, 0, err);
    }
    if (s != STATUS_OK) {
        sawyer_close(opened);
        return s;
    }
    fill_description(&opened->environment.description, name, &opened->parts, shared->model);
    opened->environment.operations = &operations;
    opened->environment.O = SAWYER_OBSERVATION((uint32_t)opened->parts.n_blocks);
    *sawyer = opened;
    return STATUS_OK;
}

void sawyer_close(struct sawyer *sawyer)
{
    if (sawyer == NULL) {
        return;
    }
    if (sawyer->simulation.data != NULL) {
        simulation_fini(&sawyer->simulation);
    }
    shared_model_drop(sawyer->shared);
    mem_free(sawyer);
}

struct environment *sawyer_environment(struct sawyer *sawyer)
{
    return &sawyer->environment;
}

struct simulation *sawyer_simulation(struct sawyer *sawyer)
{
    return &sawyer->simulation;
}

/* ---- Episodes, in double ---- */

/* observation(O) of the state, which must be finite: the state may be good where what is computed
 * from it is not. */
static status observe(struct sawyer *sawyer, double *observation, struct err *err)
{
    sawyer_observe(observation, &sawyer->parts, sawyer->simulation.model, sawyer->simulation.data);
    for (uint32_t i = 0; i < sawyer->environment.O; i++) {
        if (!isfinite(observation[i])) {
            return err_set(err, STATUS_CORRUPT, "observation %u is %g", i, observation[i]);
        }
    }
    return STATUS_OK;
}

/* Begins or continues an episode with the outcome of what made its state. */
static status conclude(struct sawyer *sawyer, status s, const char *what, double *observation,
                       struct err *err)
{
    s = s != STATUS_OK || observation == NULL ? s : observe(sawyer, observation, err);
    sawyer->sound = s == STATUS_OK;
    sawyer->environment.under_way = s == STATUS_OK;
    return s == STATUS_OK ? s
                          : err_context(err, s, "environment %s: %s",
                                        sawyer->environment.description.uri, what);
}

status sawyer_reset(struct sawyer *sawyer, uint64_t seed, const struct sawyer_start *start,
                    double *observation, struct err *err)
{
    struct random_state random;
    random_state_init(&random, seed);
    sawyer->steps = 0;
    status s = sawyer_start(&sawyer->simulation, &sawyer->parts, start, &random, err);
    return conclude(sawyer, s, "reset", observation, err);
}

/* The state to place, for the guarded work. */
struct placed {
    struct simulation *simulation;
    const double *qpos, *qvel, *act, *qacc_warmstart;
};

static void place(void *arg)
{
    const struct placed *placed = arg;
    const mjModel *model = placed->simulation->model;
    mjData *data = placed->simulation->data;
    mj_resetData(model, data);
    memcpy(data->qpos, placed->qpos, (size_t)model->nq * sizeof(double));
    memcpy(data->qvel, placed->qvel, (size_t)model->nv * sizeof(double));
    memcpy(data->act, placed->act, (size_t)model->na * sizeof(double));
    memcpy(data->qacc_warmstart, placed->qacc_warmstart, (size_t)model->nv * sizeof(double));
    mj_step1(model, data);
}

status sawyer_place(struct sawyer *sawyer, const double *qpos, const double *qvel,
                    const double *act, const double *qacc_warmstart, struct err *err)
{
    struct placed placed = {&sawyer->simulation, qpos, qvel, act, qacc_warmstart};
    sawyer->steps = 0;
    status s = simulation_run(&sawyer->simulation, place, &placed, err);
    return conclude(sawyer, s, "place", NULL, err);
}

/* One control step; the rewards are the caller's. */
static status advance(struct sawyer *sawyer, const double *action, double *observation, bool *last,
                      struct err *err)
{
    struct simulation *simulation = &sawyer->simulation;
    char what[32];
    (void)snprintf(what, sizeof what, "step %u", ++sawyer->steps);
    /* A late action acts in the last physics steps only. */
    const int late = environment_late_steps(&sawyer->environment, SAWYER_SUB_STEPS);
    status s = late > 0 ? simulation_step(simulation, late, err) : STATUS_OK;
    sawyer_control(action, &sawyer->parts, simulation->model, simulation->data);
    if (s == STATUS_OK && late < SAWYER_SUB_STEPS) {
        s = simulation_step(simulation, SAWYER_SUB_STEPS - late, err);
    }
    s = conclude(sawyer, s, what, observation, err);
    if (s == STATUS_OK) {
        *last = sawyer->steps >= STEP_LIMIT;
        sawyer->environment.under_way = !*last;
    }
    return s;
}

status sawyer_step(struct sawyer *sawyer, const double *action, double *observation,
                   double *rewards, bool *last, struct err *err)
{
    if (!sawyer->environment.under_way) {
        return err_set(err, STATUS_CLOSED, "environment %s: no episode under way: reset first",
                       sawyer->environment.description.uri);
    }
    status s = advance(sawyer, action, observation, last, err);
    if (s == STATUS_OK) {
        sawyer_rewards(rewards, observation);
    }
    return s;
}

/* ---- The family: the same in float ---- */

/* Rows hold floats; the simulation computes in double. */
static void to_floats(float *out, const double *in, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (float)in[i];
    }
}

/* Can an episode continue from the state as it is? */
static bool may_continue(const struct sawyer *sawyer)
{
    bool good = sawyer->sound;
    for (int i = 0; i < sawyer->parts.n_blocks && good; i++) {
        const double *block = sawyer->simulation.data->qpos + sawyer->parts.block_qpos[i];
        good = fabs(block[0] - BASKET_X_M) <= BASKET_OPENING_M &&
               fabs(block[1]) <= BASKET_OPENING_M && block[2] >= 0.0;
    }
    return good;
}

static status reset(struct environment *environment, const struct environment_start *start,
                    float *observation, struct err *err)
{
    struct sawyer *sawyer = (struct sawyer *)environment;
    double values[SAWYER_OBSERVATION_MAX];
    const bool advanced = (start->flags & ENVIRONMENT_START_ADVANCED) != 0;
    const struct sawyer_start drawn = {
        .mode = SAWYER_DRAWN, .held = advanced ? 0.5 : 0.0, .stacked = advanced ? 0.5 : 0.0};
    status s;
    if ((start->flags & ENVIRONMENT_START_KEEP) != 0 && may_continue(sawyer)) {
        sawyer->steps = 0;
        s = conclude(sawyer, STATUS_OK, "reset", values, err);
    } else {
        s = sawyer_reset(sawyer, start->seed, &drawn, values, err);
    }
    if (s == STATUS_OK) {
        to_floats(observation, values, environment->O);
    }
    return s;
}

static status step(struct environment *environment, const float *action, float *observation,
                   float *rewards, float *discount, bool *last, struct err *err)
{
    struct sawyer *sawyer = (struct sawyer *)environment;
    double wanted[SAWYER_ACTIONS], values[SAWYER_OBSERVATION_MAX], terms[SAWYER_N_TASKS];
    for (int a = 0; a < SAWYER_ACTIONS; a++) {
        wanted[a] = (double)action[a];
    }
    status s = advance(sawyer, wanted, values, last, err);
    if (s != STATUS_OK) {
        return s;
    }
    to_floats(observation, values, environment->O);
    /* Of the observation as it is stored, so that relabelled logs have the same rewards. */
    for (uint32_t i = 0; i < environment->O; i++) {
        values[i] = (double)observation[i];
    }
    sawyer_rewards(terms, values);
    to_floats(rewards, terms, SAWYER_N_TASKS);
    *discount = 1.0f;
    return STATUS_OK;
}

static void script(const struct environment *environment, uint32_t task, const float *observation,
                   float *action)
{
    const struct sawyer *sawyer = (const struct sawyer *)environment;
    double values[SAWYER_OBSERVATION_MAX], wanted[SAWYER_ACTIONS];
    for (uint32_t i = 0; i < environment->O; i++) {
        values[i] = (double)observation[i];
    }
    sawyer_script(wanted, (enum sawyer_task)task, values, sawyer->parts.n_blocks);
    to_floats(action, wanted, SAWYER_ACTIONS);
}

static void close_sawyer(struct environment *environment)
{
    sawyer_close((struct sawyer *)environment);
}

static const struct simulation *simulation_of(const struct environment *environment)
{
    return &((const struct sawyer *)environment)->simulation;
}

static const struct environment_operations operations = {
    .reset = reset,
    .step = step,
    .close = close_sawyer,
    .script = script,
    .simulation = simulation_of,
};

static const char *const *list_names(void)
{
    return names;
}

static status describe(struct environment_description *description, const char *uri,
                       struct err *err)
{
    const struct shared_model *shared;
    struct sawyer_parts parts;
    status s = take_model(&shared, &parts, uri, err);
    if (s == STATUS_OK) {
        fill_description(description, uri, &parts, shared->model);
        shared_model_drop(shared);
    }
    return s;
}

static status open_environment(struct environment **environment, const char *uri, struct err *err)
{
    struct sawyer *sawyer;
    status s = sawyer_open(&sawyer, uri, err);
    if (s == STATUS_OK) {
        *environment = &sawyer->environment;
    }
    return s;
}

extern const struct environment_family sawyer_family;
const struct environment_family sawyer_family = {
    .prefixes = prefixes,
    .names = list_names,
    .describe = describe,
    .open = open_environment,
};
