/* A family that hands everything on to the environment within. */
#include "tests/lib/spoiled_environment.h"

#include <pthread.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/environments/environment_family.h"
#include "common/environments/simulation.h"

#define PREFIX "spoiled:"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint32_t step, times;
    double value;
} plan; /* guarded by `lock` */

struct spoiled {
    struct environment environment; /* first */
    struct environment *within;
    uint32_t steps;
};

static struct environment *within(const struct environment *environment)
{
    return ((const struct spoiled *)environment)->within;
}

static status reset(struct environment *environment, const struct environment_start *start,
                    float *observation, struct err *err)
{
    ((struct spoiled *)environment)->steps = 0;
    return environment_reset(within(environment), start, observation, err);
}

static status step(struct environment *environment, const float *action, float *observation,
                   float *rewards, float *discount, bool *last, struct err *err)
{
    struct spoiled *spoiled = (struct spoiled *)environment;
    const struct simulation *simulation = environment_simulation(spoiled->within);
    spoiled->steps++;
    (void)pthread_mutex_lock(&lock);
    if (plan.times > 0 && spoiled->steps == plan.step) {
        plan.times--;
        simulation->data->qvel[simulation->model->nv - 1] = plan.value;
    }
    (void)pthread_mutex_unlock(&lock);
    return environment_step(spoiled->within, action, observation, rewards, discount, last, err);
}

static void close_spoiled(struct environment *environment)
{
    environment_close(within(environment));
    mem_free(environment);
}

static void script(const struct environment *environment, uint32_t task, const float *observation,
                   float *action)
{
    environment_script(within(environment), task, observation, action);
}

static const struct environment_operations plain = {
    .reset = reset, .step = step, .close = close_spoiled};
static const struct environment_operations scripted = {
    .reset = reset, .step = step, .close = close_spoiled, .script = script};

static const char *const prefixes[] = {PREFIX, NULL};

static const char *const *list_names(void)
{
    return prefixes;
}

static status describe(struct environment_description *description, const char *uri,
                       struct err *err)
{
    status s = environment_describe(description, uri + strlen(PREFIX), err);
    strcpy(description->uri, uri);
    return s;
}

static status open_spoiled(struct environment **environment, const char *uri, struct err *err)
{
    struct spoiled *spoiled = mem_new(sizeof *spoiled);
    ASSERT(spoiled != NULL);
    status s = environment_open(&spoiled->within, uri + strlen(PREFIX), err);
    if (s != STATUS_OK) {
        mem_free(spoiled);
        return s;
    }
    spoiled->environment.description = *environment_description(spoiled->within);
    spoiled->environment.operations =
        spoiled->environment.description.scripted ? &scripted : &plain;
    strcpy(spoiled->environment.description.uri, uri);
    spoiled->environment.O = spoiled->within->O;
    *environment = &spoiled->environment;
    return STATUS_OK;
}

static const struct environment_family family = {
    .prefixes = prefixes, .names = list_names, .describe = describe, .open = open_spoiled};

void spoiled_environment_install(void)
{
    static bool installed;
    if (!installed) {
        environment_add_family(&family);
        installed = true;
    }
    spoiled_environment_plan(0, 0.0, 0);
}

void spoiled_environment_plan(uint32_t step_number, double value, uint32_t times)
{
    (void)pthread_mutex_lock(&lock);
    plan.step = step_number;
    plan.value = value;
    plan.times = times;
    (void)pthread_mutex_unlock(&lock);
}
