/* The toy family: the observation sums up the actions, and opens and resets are counted. Workers
 * open and step environments in several threads, so one mutex guards the counters and the planned
 * failures. */
#include "tests/lib/toy_environment.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/environments/environment_family.h"

struct toy {
    struct environment environment; /* first */
    float drawn;
    float sum;
    uint32_t steps;
    uint32_t task;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the variables below */
static struct toy_counts counts;
static uint32_t fail_step, fail_times;
static status fail_with;

static void fill(struct environment_description *description, const char *uri)
{
    memset(description, 0, sizeof *description);
    (void)snprintf(description->uri, sizeof description->uri, "%s", uri);
    struct signature *signature = &description->signature;
    signature->n_slices = 1;
    signature->slices[0] = (struct signature_slice){"walk", 3};
    signature->A = 1;
    signature->action_min[0] = -2.0f;
    signature->action_max[0] = 2.0f;
    signature->K = strcmp(uri, "toy:unrewarded") == 0 ? 0 : 2;
    for (uint32_t k = 0; k < signature->K; k++) {
        (void)snprintf(signature->rewards[k], sizeof signature->rewards[k],
                       k == 0 ? "high" : "low");
    }
    signature->control_period_s = 0.05;
    description->step_limit = TOY_STEPS;
    description->open_max = strcmp(uri, "toy:single") == 0 ? 1 : ENVIRONMENT_OPEN_UNLIMITED;
    description->start_flags = ENVIRONMENT_START_KEEP;
}

static void observe(const struct toy *toy, float *observation)
{
    observation[0] = toy->drawn;
    observation[1] = (float)toy->steps;
    observation[2] = toy->sum;
}

static status reset(struct environment *environment, const struct environment_start *start,
                    float *observation, struct err *err)
{
    (void)err;
    struct toy *toy = (struct toy *)environment;
    struct rng rng;
    rng_init(&rng, start->seed, "toy", start->task);
    toy->drawn = (float)rng_uniform(&rng);
    toy->steps = 0;
    toy->task = start->task;
    if ((start->flags & ENVIRONMENT_START_KEEP) == 0) {
        toy->sum = 0.0f;
    }
    observe(toy, observation);
    (void)pthread_mutex_lock(&lock);
    counts.resets++;
    (void)pthread_mutex_unlock(&lock);
    return STATUS_OK;
}

static status step(struct environment *environment, const float *action, float *observation,
                   float *rewards, float *discount, bool *last, struct err *err)
{
    struct toy *toy = (struct toy *)environment;
    status failure = STATUS_OK;
    toy->steps++;

    /* A failure ordered by toy_environment_fail. */
    (void)pthread_mutex_lock(&lock);
    if (fail_times > 0 && toy->steps == fail_step) {
        fail_times--;
        failure = fail_with;
    }
    (void)pthread_mutex_unlock(&lock);
    if (failure != STATUS_OK) {
        return err_set(err, failure, "environment toy: step %u: made to fail", toy->steps);
    }

    toy->sum += action[0];
    observe(toy, observation);
    for (uint32_t k = 0; k < environment->description.signature.K; k++) {
        rewards[k] = k == 0 ? toy->sum : -toy->sum;
    }
    bool terminated = action[0] > 0.9f;
    *discount = terminated ? 0.0f : 1.0f;
    *last = terminated || toy->steps == TOY_STEPS;
    return STATUS_OK;
}

static void close_toy(struct environment *environment)
{
    (void)pthread_mutex_lock(&lock);
    counts.open--;
    (void)pthread_mutex_unlock(&lock);
    mem_free(environment);
}

static const struct environment_operations operations = {
    .reset = reset, .step = step, .close = close_toy};

static const char *const names[] = {"toy:walk", "toy:single", "toy:unrewarded", NULL};

static const char *const *list_names(void)
{
    return names;
}

static status describe(struct environment_description *description, const char *uri,
                       struct err *err)
{
    for (const char *const *name = names; *name != NULL; name++) {
        if (strcmp(*name, uri) == 0) {
            fill(description, uri);
            return STATUS_OK;
        }
    }
    return environment_unknown(uri, err);
}

static status open_toy(struct environment **environment, const char *uri, struct err *err)
{
    struct toy *toy = mem_new(sizeof *toy);
    if (toy == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "environment %s: out of memory", uri);
    }
    status s = describe(&toy->environment.description, uri, err);

    /* The limit is checked and the environment counted under one lock, so two threads cannot both
     * open the last one. */
    (void)pthread_mutex_lock(&lock);
    if (s == STATUS_OK && counts.open >= toy->environment.description.open_max) {
        s = err_set(err, STATUS_LIMIT, "environment %s: %u are open already", uri, counts.open);
    }
    if (s == STATUS_OK) {
        counts.opened++;
        counts.open++;
        counts.most_open = counts.open > counts.most_open ? counts.open : counts.most_open;
    }
    (void)pthread_mutex_unlock(&lock);
    if (s != STATUS_OK) {
        mem_free(toy);
        return s;
    }
    toy->environment.operations = &operations;
    toy->environment.O = 3;
    *environment = &toy->environment;
    return STATUS_OK;
}

static const char *const prefixes[] = {"toy:", NULL};
static const struct environment_family family = {prefixes, list_names, describe, open_toy};

void toy_environment_install(void)
{
    static bool installed;
    if (!installed) {
        environment_add_family(&family);
        installed = true;
    }
    (void)pthread_mutex_lock(&lock);
    counts = (struct toy_counts){0};
    fail_times = 0;
    (void)pthread_mutex_unlock(&lock);
}

struct toy_counts toy_environment_counts(void)
{
    (void)pthread_mutex_lock(&lock);
    struct toy_counts now = counts;
    (void)pthread_mutex_unlock(&lock);
    return now;
}

void toy_environment_fail(uint32_t at_step, status failure, uint32_t times)
{
    (void)pthread_mutex_lock(&lock);
    fail_step = at_step;
    fail_with = failure;
    fail_times = times;
    (void)pthread_mutex_unlock(&lock);
}
