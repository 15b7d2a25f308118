/* The machinery that all tasks of the control suite share: the table of domains, opening, episodes
 * in double, and the same as a family of environments in float.
 *
 * What a domain observes, rewards and starts from is in its file in control_suite/; how MuJoCo is
 * stepped is in simulation.c.
 *
 * An open task belongs to one thread at a time; only the compiled model is shared, and nobody
 * writes to it. After an error no step is taken until the next reset, since the state is bad. */
#include "common/environments/control_suite.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/environments/control_suite_task.h"
#include "common/environments/environment_family.h"
#include "common/environments/model_folder.h"

/* One line per domain: NAME_domain is defined in control_suite/NAME.c, its tasks are NAME-... */
#define DOMAINS(X)                                                                                 \
    X(acrobot)                                                                                     \
    X(ball_in_cup)                                                                                 \
    X(cartpole)                                                                                    \
    X(cheetah)                                                                                     \
    X(finger)                                                                                      \
    X(fish)                                                                                        \
    X(hopper)                                                                                      \
    X(humanoid)                                                                                    \
    X(manipulator)                                                                                 \
    X(pendulum)                                                                                    \
    X(point_mass)                                                                                  \
    X(quadruped)                                                                                   \
    X(reacher)                                                                                     \
    X(walker)

/* Each domain file defines a constant struct, which is all that this file knows of it. */
#define DECLARE(name) extern const struct control_suite_domain name##_domain;
#define ADDRESS(name) &name##_domain,
#define PREFIX(name)  #name "-",

DOMAINS(DECLARE)

static const struct control_suite_domain *const domains[] = {DOMAINS(ADDRESS) NULL};
static const char *const prefixes[] = {DOMAINS(PREFIX) NULL};

/* Tasks of all domains together; list_names checks it. */
#define NAMES_MAX 64

/* An open task. The model is shared; the simulation, the generator and the buffers are its own. */
struct control_suite {
    struct environment environment; /* first: environment.c passes this address around */
    const struct control_suite_domain *domain;
    const struct control_suite_task *task;
    const struct shared_model *shared;
    struct simulation simulation;
    struct random_state random;
    /* Where the parts are: at[i] belongs to parts_of(..)[i], see find_parts. */
    int at[CONTROL_SUITE_PARTS_MAX];
    uint32_t steps;      /* of this episode */
    double *observation; /* (O), for the float side */
    double *action;      /* (A), physical */
};

/* ---- The table ---- */

/* The names of the tasks of some domains; ends with NULL, as it is zero from the start. */
struct names {
    const char *list[NAMES_MAX + 1];
};

static struct names suite_names, own_names;

/* Collects names, and checks that each begins as its domain's must. */
static void list_names(struct names *names, const struct control_suite_domain *const *list,
                       const char *const *prefix)
{
    size_t n = 0;
    for (; *list != NULL; list++, prefix++) {
        for (const struct control_suite_task *task = (*list)->tasks; task->name != NULL; task++) {
            ASSERT(n < NAMES_MAX);
            ASSERT(strncmp(task->name, *prefix, strlen(*prefix)) == 0);
            names->list[n++] = task->name;
        }
    }
}

/* Run once per process: the tables do not change. */
static void list_all(void)
{
    list_names(&suite_names, domains, prefixes);
    list_names(&own_names, control_suite_own_domains, control_suite_own_prefixes);
}

/* Any thread: the lists are made once and never change. */
static const char *const *names_of(const struct names *names)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, list_all);
    return names->list;
}

const char *const *control_suite_names(void)
{
    return names_of(&suite_names);
}

static const char *const *list_own(void)
{
    return names_of(&own_names);
}

/* The task of this name in a list of domains. A linear search, since there are few tasks and this is
 * done when an environment is opened. */
static bool find_in(const struct control_suite_domain *const *list,
                    const struct control_suite_domain **domain,
                    const struct control_suite_task **task, const char *name)
{
    for (; *list != NULL; list++) {
        for (const struct control_suite_task *t = (*list)->tasks; t->name != NULL; t++) {
            if (strcmp(t->name, name) == 0) {
                *domain = *list;
                *task = t;
                return true;
            }
        }
    }
    return false;
}

/* The task of this name and its domain, or an error that lists what is known. */
static status find_task(const struct control_suite_domain **domain,
                        const struct control_suite_task **task, const char *name, struct err *err)
{
    bool found = find_in(domains, domain, task, name) ||
                 find_in(control_suite_own_domains, domain, task, name);
    return found ? STATUS_OK : environment_unknown(name, err);
}

/* ---- Models ---- */

/* The path of a domain's file: in the models' folder, unless it is absolute. */
static status model_path(char *path, size_t size, const struct control_suite_domain *domain,
                         struct err *err)
{
    char folder[1024] = "";
    bool absolute = domain->file[0] == '/';
    bool suite = domain->folder == NULL;
    status s = absolute ? STATUS_OK
                        : model_folder_find(folder, sizeof folder,
                                            suite ? "control_suite" : domain->folder,
                                            suite ? "HINDCAST_CONTROL_SUITE" : NULL, err);
    if (s != STATUS_OK) {
        return s;
    }
    int n = snprintf(path, size, "%s%s%s", folder, absolute ? "" : "/", domain->file);
    if (n < 0 || (size_t)n >= size) {
        return err_set(err, STATUS_INVALID, "model %s: path longer than %zu bytes", domain->file,
                       size);
    }
    return STATUS_OK;
}

/* Is this the model that the domain was written for? Its functions index into it unchecked. */
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

/* What holds for a task: its own, or else its domain's. */
static const struct control_suite_part *parts_of(const struct control_suite_domain *domain,
                                                 const struct control_suite_task *task)
{
    return task->parts != NULL ? task->parts : domain->parts;
}

static const struct signature_slice *slices_of(const struct control_suite_domain *domain,
                                               const struct control_suite_task *task)
{
    return task->slices != NULL ? task->slices : domain->slices;
}

/* Looks up the parts: at[i] for parts[i]. */
static status find_parts(int *at, const struct control_suite_domain *domain,
                         const struct control_suite_part *parts, const mjModel *model,
                         struct err *err)
{
    for (int i = 0; parts[i].name != NULL; i++) {
        ASSERT(i < CONTROL_SUITE_PARTS_MAX);
        const struct control_suite_part *part = &parts[i];
        /* A sensor is used by its place in sensordata, anything else by its id. */
        int id = mj_name2id(model, part->type, part->name);
        if (id < 0) {
            return err_set(err, STATUS_INVALID, "%s: no %s named %s", domain->file,
                           mju_type2Str(part->type), part->name);
        }
        at[i] = part->type == mjOBJ_SENSOR ? model->sensor_adr[id] : id;
    }
    return STATUS_OK;
}

/* Takes the compiled model and looks up its parts. On error nothing is taken. */
static status take_model(const struct shared_model **shared, int *at,
                         const struct control_suite_domain *domain,
                         const struct control_suite_task *task, struct err *err)
{
    char path[2048];
    /* A domain without an edit has one model for all its tasks. */
    status s = model_path(path, sizeof path, domain, err);
    if (s == STATUS_OK) {
        /* Only an edited model differs between the tasks of a domain. */
        const char *key = domain->edit == NULL ? domain->file : task->name;
        s = shared_model_take(shared, path, key, domain->edit, task, err);
    }
    /* An absent file is the usual case on a new machine, so the message says what to do. */
    if (s == STATUS_NOT_FOUND) {
        return err_set(err, s,
                       "no model %s: run deploy/install_dependencies, or set "
                       "HINDCAST_CONTROL_SUITE to the folder that holds it",
                       path);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* From here on the model is taken, and is dropped if it does not fit. */
    s = check_model(domain, (*shared)->model, err);
    s = s != STATUS_OK ? s : find_parts(at, domain, parts_of(domain, task), (*shared)->model, err);
    if (s != STATUS_OK) {
        shared_model_drop(*shared);
    }
    return s;
}

/* What a row of this task means, from the domain's declarations and the compiled model. */
static void fill_signature(struct signature *signature, const struct control_suite_domain *domain,
                           const struct control_suite_task *task, const mjModel *model)
{
    /* The slices keep their order, which is the order in which the domain writes its
     * observation. */
    const struct signature_slice *slices = slices_of(domain, task);
    for (uint32_t i = 0; slices[i].size != 0; i++) {
        signature->slices[i] = slices[i];
        signature->n_slices = i + 1;
    }
    /* Action limits are those of the actuators: physical units. */
    signature->A = (uint32_t)model->nu;
    for (uint32_t a = 0; a < signature->A; a++) {
        signature->action_min[a] = (float)model->actuator_ctrlrange[2 * a];
        signature->action_max[a] = (float)model->actuator_ctrlrange[2 * a + 1];
    }
    /* One reward per name. */
    for (uint32_t k = 0; k < CONTROL_SUITE_REWARDS_MAX && task->rewards[k] != NULL; k++) {
        (void)snprintf(signature->rewards[k], sizeof signature->rewards[k], "%s", task->rewards[k]);
        signature->K = k + 1;
    }
    signature->control_period_s = model->opt.timestep * domain->n_sub_steps;
}

/* What users see of the task: its name, its signature and its limits. */
static void fill_description(struct environment_description *description,
                             const struct control_suite_domain *domain,
                             const struct control_suite_task *task, const mjModel *model)
{
    /* Zeroed as a whole: descriptions are compared byte by byte. */
    memset(description, 0, sizeof *description);
    (void)snprintf(description->uri, sizeof description->uri, "%s", task->name);
    fill_signature(&description->signature, domain, task, model);
    /* Steps taken when time_limit / period is reached, as dm_control.rl.control counts them. */
    description->step_limit =
        (uint32_t)ceil(domain->time_limit_s / description->signature.control_period_s);
    description->open_max = ENVIRONMENT_OPEN_UNLIMITED;
}

/* ---- Opening ---- */

/* Defined below; an open environment points to it. */
static const struct environment_operations operations;

/* Fills `suite`, whose domain and task are set. After an error control_suite_close frees what was
 * made. */
static status open_parts(struct control_suite *suite, struct err *err)
{
    struct environment *environment = &suite->environment;
    const struct shared_model *shared;
    /* Set in the suite only when it is taken: on failure there is nothing to drop. */
    status s = take_model(&shared, suite->at, suite->domain, suite->task, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Owned by the suite from here on, so that control_suite_close drops it. */
    suite->shared = shared;
    /* Each suite has an mjData of its own, so that threads do not meet in one. */
    s = simulation_init(&suite->simulation, suite->shared, suite->domain->varies, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The sizes of the buffers come from the description, so it is filled first. */
    fill_description(&environment->description, suite->domain, suite->task, shared->model);
    environment->operations = &operations;
    environment->O = signature_observation(&environment->description.signature);
    suite->observation = mem_array(environment->O, sizeof *suite->observation);
    suite->action = mem_array((size_t)suite->domain->nu, sizeof *suite->action);
    if (suite->observation == NULL || suite->action == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "out of memory");
    }
    return STATUS_OK;
}

status control_suite_open_task(struct control_suite **suite,
                               const struct control_suite_domain *domain,
                               const struct control_suite_task *task, struct err *err)
{
    ASSERT(domain->n_sub_steps >= 1);
    ASSERT(task->evaluate != NULL);
    struct control_suite *opened = mem_new(sizeof *opened);
    if (opened == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "environment %s: out of memory", task->name);
    }
    /* Both live as long as the suite: they are constants of the program, or the caller's. */
    opened->domain = domain;
    opened->task = task;
    random_state_init(&opened->random, 0);
    status s = open_parts(opened, err);
    if (s != STATUS_OK) {
        control_suite_close(opened);
        return err_context(err, s, "environment %s", task->name);
    }
    *suite = opened;
    return STATUS_OK;
}

status control_suite_open(struct control_suite **suite, const char *name, struct err *err)
{
    const struct control_suite_domain *domain = NULL;
    const struct control_suite_task *task = NULL;
    status s = find_task(&domain, &task, name, err);
    return s == STATUS_OK ? control_suite_open_task(suite, domain, task, err) : s;
}

void control_suite_close(struct control_suite *suite)
{
    if (suite == NULL) {
        return;
    }
    /* The simulation refers to the model, so it ends before the model is dropped. */
    if (suite->simulation.data != NULL) {
        simulation_fini(&suite->simulation);
    }
    shared_model_drop(suite->shared);
    mem_free(suite->observation);
    mem_free(suite->action);
    mem_free(suite);
}

struct environment *control_suite_environment(struct control_suite *suite)
{
    return &suite->environment;
}

/* For tests and for tools that compare states with dm_control. */
struct simulation *control_suite_simulation(struct control_suite *suite)
{
    return &suite->simulation;
}

int control_suite_sub_steps(const struct control_suite *suite)
{
    return suite->domain->n_sub_steps;
}

/* ---- Episodes, in double ---- */

void control_suite_seed(struct control_suite *suite, uint64_t seed)
{
    random_state_init(&suite->random, seed);
}

void control_suite_observe(const struct control_suite *suite, double *observation)
{
    control_suite_observer *observe =
        suite->task->observe != NULL ? suite->task->observe : suite->domain->observe;
    observe(&suite->simulation, suite->at, observation);
}

void control_suite_rewards(const struct control_suite *suite, double *rewards)
{
    suite->task->evaluate(&suite->simulation, suite->at, suite->task->goal, rewards);
}

/* Refuses numbers that are not finite: the state may be finite where what is computed from it is
 * not. */
static status check_finite(const struct control_suite *suite, const double *values, uint32_t n,
                           const char *what, struct err *err)
{
    /* The first bad number is named, which is usually enough to find the cause. */
    for (uint32_t i = 0; i < n; i++) {
        if (!isfinite(values[i])) {
            return err_set(err, STATUS_CORRUPT, "step %u: %s %u is %g", suite->steps, what, i,
                           values[i]);
        }
    }
    return STATUS_OK;
}

/* The default state of the model as compiled, changed by the start, with all derived quantities
 * recomputed. */
static status draw_start(struct control_suite *suite, struct err *err)
{
    struct simulation *simulation = &suite->simulation;
    control_suite_start *start =
        suite->task->start != NULL ? suite->task->start : suite->domain->start;
    simulation_restore_model(simulation);
    status s = simulation_reset(simulation, err);
    if (s == STATUS_OK) {
        s = start(simulation, suite->at, &suite->random, err);
    }
    return s == STATUS_OK ? simulation_forward(simulation, err) : s;
}

status control_suite_reset(struct control_suite *suite, double *observation, struct err *err)
{
    /* Until the state is complete no step may be taken, whatever fails in between. */
    suite->environment.under_way = false;
    suite->steps = 0;
    status s = draw_start(suite, err);
    if (s == STATUS_OK) {
        control_suite_observe(suite, observation);
        s = check_finite(suite, observation, suite->environment.O, "observation", err);
    }
    if (s != STATUS_OK) {
        return err_context(err, s, "environment %s: reset", suite->task->name);
    }
    suite->environment.under_way = true;
    return STATUS_OK;
}

/* Begins an episode in a given state, for comparisons with dm_control; nothing is drawn. */
status control_suite_place(struct control_suite *suite, const double *qpos, const double *qvel,
                           const double *act, const double *qacc_warmstart, struct err *err)
{
    const mjModel *model = suite->simulation.model;
    mjData *data = suite->simulation.data;
    suite->environment.under_way = false;
    suite->steps = 0;
    /* Everything that mjData holds is set to its default before the given parts are written. */
    mj_resetData(model, data);
    (void)control_suite_put(data->qpos, qpos, (int)model->nq);
    (void)control_suite_put(data->qvel, qvel, (int)model->nv);
    if (model->na > 0) {
        (void)control_suite_put(data->act, act, (int)model->na);
    }
    /* The solver starts from these accelerations, and its last bits depend on them. */
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

/* The physics of a control step. A late action acts in the last physics steps only. */
static status advance(struct control_suite *suite, const double *action, struct err *err)
{
    const int n = suite->domain->n_sub_steps;
    const int late = environment_late_steps(&suite->environment, n);
    status s = late > 0 ? simulation_step(&suite->simulation, late, err) : STATUS_OK;
    /* The action is not clipped here: MuJoCo clamps it where it computes forces. */
    (void)control_suite_put(suite->simulation.data->ctrl, action, suite->domain->nu);
    return s == STATUS_OK && late < n ? simulation_step(&suite->simulation, n - late, err) : s;
}

status control_suite_step(struct control_suite *suite, const double *action, double *observation,
                          double *rewards, double *discount, bool *last, struct err *err)
{
    struct environment *environment = &suite->environment;
    const uint32_t K = environment->description.signature.K;
    /* For K rewards; a domain may not have more. */
    double values[CONTROL_SUITE_REWARDS_MAX];
    if (!environment->under_way) {
        return err_set(err, STATUS_CLOSED, "environment %s: no episode under way: reset first",
                       suite->task->name);
    }
    status s = advance(suite, action, err);
    /* Counted whether or not the step succeeds: messages give the number of the step that
     * failed. */
    suite->steps++;
    if (s == STATUS_OK) {
        control_suite_observe(suite, observation);
        s = check_finite(suite, observation, environment->O, "observation", err);
    }
    if (s == STATUS_OK) {
        /* Rewards go to a buffer first: after an error the caller's are untouched. */
        control_suite_rewards(suite, values);
        s = check_finite(suite, values, K, "reward", err);
    }
    if (s != STATUS_OK) {
        environment->under_way = false;
        return err_context(err, s, "environment %s: step %u", suite->task->name, suite->steps);
    }
    (void)control_suite_put(rewards, values, (int)K);
    bool terminated =
        suite->task->terminated != NULL && suite->task->terminated(&suite->simulation, suite->at);
    /* A time limit is no termination: its discount stays 1. */
    *discount = terminated ? 0.0 : 1.0;
    *last = terminated || suite->steps >= environment->description.step_limit;
    environment->under_way = !*last;
    return STATUS_OK;
}

/* ---- The family: the same in float ---- */

/* Rows hold floats; the simulation computes in double. */
static void to_floats(float *out, const double *in, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        out[i] = (float)in[i];
    }
}

/* The operations below are called by environment.c, which has checked the arguments and the
 * order. */
static status reset(struct environment *environment, const struct environment_start *start,
                    float *observation, struct err *err)
{
    /* The environment is the first field of the suite, so the addresses are the same. */
    struct control_suite *suite = (struct control_suite *)environment;
    /* The generator is seeded anew, so that nothing of earlier episodes is left in it. */
    control_suite_seed(suite, start->seed);
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
    const struct signature *signature = &environment->description.signature;
    /* In float, as a log file holds it: replaying logged actions gives the logged episode. */
    float physical[SIGNATURE_ACTIONS_MAX];
    signature_to_physical(signature, physical, action);
    for (uint32_t a = 0; a < signature->A; a++) {
        suite->action[a] = (double)physical[a];
    }
    double values[CONTROL_SUITE_REWARDS_MAX], factor = 1.0;
    status s =
        control_suite_step(suite, suite->action, suite->observation, values, &factor, last, err);
    if (s != STATUS_OK) {
        return s;
    }
    to_floats(observation, suite->observation, environment->O);
    to_floats(rewards, values, signature->K);
    *discount = (float)factor;
    return STATUS_OK;
}

static void close_suite(struct environment *environment)
{
    control_suite_close((struct control_suite *)environment);
}

static const struct simulation *simulation_of(const struct environment *environment)
{
    return &((const struct control_suite *)environment)->simulation;
}

static const struct environment_operations operations = {
    .reset = reset,
    .step = step,
    .close = close_suite,
    .simulation = simulation_of,
};

/* Compiles the model, for what only it knows (limits, period), and lets it go again. */
static status describe(struct environment_description *description, const char *uri,
                       struct err *err)
{
    const struct control_suite_domain *domain = NULL;
    const struct control_suite_task *task = NULL;
    const struct shared_model *shared;
    int at[CONTROL_SUITE_PARTS_MAX];
    /* The name is looked up first: an unknown one must not start the compiler. */
    status s = find_task(&domain, &task, uri, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = take_model(&shared, at, domain, task, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "environment %s", uri);
    }
    fill_description(description, domain, task, shared->model);
    shared_model_drop(shared);
    return STATUS_OK;
}

/* Opens a suite, and shows it as an environment. */
static status open_environment(struct environment **environment, const char *uri, struct err *err)
{
    struct control_suite *suite;
    status s = control_suite_open(&suite, uri, err);
    if (s == STATUS_OK) {
        *environment = &suite->environment;
    }
    return s;
}

/* For families.c: the same machinery for the suite's domains and for those of HINDCAST_TASKS. */
extern const struct environment_family control_suite_family, own_tasks_family;
const struct environment_family control_suite_family = {
    .prefixes = prefixes,
    .names = control_suite_names,
    .describe = describe,
    .open = open_environment,
};
const struct environment_family own_tasks_family = {
    .prefixes = control_suite_own_prefixes,
    .names = list_own,
    .describe = describe,
    .open = open_environment,
};
