/* Finds who implements a name, and checks arguments and order of calls once for all of them. */
#include "common/environments/environment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/environments/environment_operations.h"

#define ACTION_SLACK 1e-5f /* a float's rounding; as episode_check allows */
#define NAMES_MAX    64

static const struct environment_family *const families[] = {&control_suite_family};
#define N_FAMILIES (sizeof families / sizeof families[0])

const char *const *environment_names(void)
{
    static _Thread_local const char *all[NAMES_MAX + 1];
    size_t n = 0;
    for (size_t f = 0; f < N_FAMILIES; f++) {
        for (const char *const *name = families[f]->names; *name != NULL; name++) {
            ASSERT(n < NAMES_MAX);
            all[n++] = *name;
        }
    }
    all[n] = NULL;
    return all;
}

static const struct environment_family *find_family(const char *name)
{
    for (size_t f = 0; f < N_FAMILIES; f++) {
        for (const char *const *known = families[f]->names; *known != NULL; known++) {
            if (strcmp(*known, name) == 0) {
                return families[f];
            }
        }
    }
    return NULL;
}

static status unknown_name(const char *name, struct err *err)
{
    char list[640] = "";
    size_t used = 0;
    for (const char *const *known = environment_names(); *known != NULL; known++) {
        int n = snprintf(list + used, sizeof list - used, "%s%s", used == 0 ? "" : ", ", *known);
        if (n < 0 || (size_t)n >= sizeof list - used) {
            break;
        }
        used += (size_t)n;
    }
    return err_set(err, STATUS_NOT_FOUND, "environment %s: unknown; there are %s", name, list);
}

status environment_open(struct environment **environment, const char *name, uint64_t seed,
                        struct err *err)
{
    const struct environment_family *family = find_family(name);
    if (family == NULL) {
        return unknown_name(name, err);
    }
    status s = family->open(environment, name, seed, err);
    if (s == STATUS_OK) {
        ASSERT((*environment)->O == signature_observation(&(*environment)->signature));
    }
    return s;
}

void environment_close(struct environment *environment)
{
    if (environment != NULL) {
        environment->operations->close(environment);
    }
}

const struct signature *environment_signature(const struct environment *environment)
{
    return &environment->signature;
}

const char *environment_name(const struct environment *environment)
{
    return environment->name;
}

uint32_t environment_step_limit(const struct environment *environment)
{
    return environment->step_limit;
}

status environment_reset(struct environment *environment, float *observation, struct err *err)
{
    environment->under_way = false;
    status s = environment->operations->reset(environment, observation, err);
    environment->under_way = s == STATUS_OK;
    return s;
}

status environment_step(struct environment *environment, const float *action, float *observation,
                        float *rewards, float *discount, bool *last, struct err *err)
{
    if (!environment->under_way) {
        return err_set(err, STATUS_CLOSED, "environment %s: no episode under way: reset first",
                       environment->name);
    }
    float clipped[SIGNATURE_ACTIONS_MAX];
    for (uint32_t a = 0; a < environment->signature.A; a++) {
        /* Written so that NaN fails too. */
        if (!(fabsf(action[a]) <= 1.0f + ACTION_SLACK)) {
            return err_set(err, STATUS_INVALID,
                           "environment %s: action %u is %g: expected within -1..1",
                           environment->name, a, (double)action[a]);
        }
        clipped[a] = fminf(fmaxf(action[a], -1.0f), 1.0f);
    }
    bool ended = true;
    status s = environment->operations->step(environment, clipped, observation, rewards, discount,
                                             &ended, err);
    environment->under_way = s == STATUS_OK && !ended;
    if (s == STATUS_OK) {
        *last = ended;
    }
    return s;
}
