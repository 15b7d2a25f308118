/* The registry of families, and what all environments have in common.
 *
 * A URI's prefix selects its family. Arguments and the order of calls (reset before step, no step
 * after the last) are checked here once, so that no family repeats it. What an episode is made of
 * does not belong here.
 *
 * Families are added before other threads use environments; after that the registry is only read,
 * without a lock. An environment belongs to one thread at a time. */
#include "common/environments/environment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/environments/environment_family.h"

#define ACTION_SLACK 1e-5f /* a float's rounding; episode_check allows the same */
/* Names of all families together; environment_names checks it. */
#define NAMES_MAX 128

/* ---- The registry ---- */

static const struct environment_family *added[ENVIRONMENT_FAMILIES_ADDED_MAX];
static size_t n_added;

/* No lock: before any other thread uses environments. */
void environment_add_family(const struct environment_family *family)
{
    ASSERT(n_added < ENVIRONMENT_FAMILIES_ADDED_MAX);
    ASSERT(family->prefixes[0] != NULL);
    added[n_added++] = family;
}

/* The families of the build, then those added; NULL past the end. */
static const struct environment_family *family_at(size_t i)
{
    /* Counted each time: the table is short and ends with NULL. */
    size_t n_built_in = 0;
    while (environment_families[n_built_in] != NULL) {
        n_built_in++;
    }
    if (i < n_built_in) {
        return environment_families[i];
    }
    return i - n_built_in < n_added ? added[i - n_built_in] : NULL;
}

/* The names of all families, in the order of the table. */
const char *const *environment_names(void)
{
    /* Rebuilt on each call, so that added families show; one per thread, so that calls may race. */
    static _Thread_local const char *all[NAMES_MAX + 1];
    size_t n = 0;
    const struct environment_family *family;
    for (size_t f = 0; (family = family_at(f)) != NULL; f++) {
        for (const char *const *name = family->names(); *name != NULL; name++) {
            ASSERT(n < NAMES_MAX);
            all[n++] = *name;
        }
    }
    all[n] = NULL;
    return all;
}

/* The family with a prefix that `uri` begins with; NULL: none has one. */
static const struct environment_family *find_family(const char *uri)
{
    const struct environment_family *family;
    for (size_t f = 0; (family = family_at(f)) != NULL; f++) {
        /* The first match is the only one, since no prefix may begin with another family's. */
        for (const char *const *prefix = family->prefixes; *prefix != NULL; prefix++) {
            if (strncmp(uri, *prefix, strlen(*prefix)) == 0) {
                return family;
            }
        }
    }
    return NULL;
}

status environment_unknown(const char *uri, struct err *err)
{
    /* Known names, as far as they fit. */
    char list[900] = "";
    size_t used = 0;
    for (const char *const *known = environment_names(); *known != NULL; known++) {
        int n = snprintf(list + used, sizeof list - used, "%s%s", used == 0 ? "" : ", ", *known);
        /* A list that is cut off in the middle of a name would be misleading. */
        if (n < 0 || (size_t)n >= sizeof list - used) {
            break;
        }
        used += (size_t)n;
    }
    return err_set(err, STATUS_NOT_FOUND, "environment \"%s\" is unknown; known are %s", uri, list);
}

/* The family of `uri`, or an error that lists what is known. */
static status choose_family(const struct environment_family **family, const char *uri,
                            struct err *err)
{
    /* A description holds the URI, so its length is bounded here for all families. */
    if (strlen(uri) >= ENVIRONMENT_URI_SIZE) {
        return err_set(err, STATUS_INVALID, "environment \"%.32s..\": longer than %d bytes", uri,
                       ENVIRONMENT_URI_SIZE - 1);
    }
    *family = find_family(uri);
    return *family != NULL ? STATUS_OK : environment_unknown(uri, err);
}

status environment_describe(struct environment_description *description, const char *uri,
                            struct err *err)
{
    const struct environment_family *family;
    status s = choose_family(&family, uri, err);
    return s == STATUS_OK ? family->describe(description, uri, err) : s;
}

status environment_open(struct environment **environment, const char *uri, struct err *err)
{
    const struct environment_family *family;
    status s = choose_family(&family, uri, err);
    if (s == STATUS_OK) {
        s = family->open(environment, uri, err);
    }
    if (s == STATUS_OK) {
        /* What a family must have filled in, and must leave to this file. */
        ASSERT((*environment)->O == signature_observation(environment_signature(*environment)));
        ASSERT(!(*environment)->under_way);
        ASSERT((*environment)->description.scripted ==
               ((*environment)->operations->script != NULL));
    }
    return s;
}

void environment_close(struct environment *environment)
{
    if (environment != NULL) {
        environment->operations->close(environment);
    }
}

const struct environment_description *environment_description(const struct environment *environment)
{
    return &environment->description;
}

const struct signature *environment_signature(const struct environment *environment)
{
    return &environment->description.signature;
}

/* ---- Episodes ---- */

/* Does the description allow this start? */
static status check_start(const struct environment_description *description,
                          const struct environment_start *start, struct err *err)
{
    /* Where there are no rewards there is one unnamed task, 0. */
    uint32_t n_tasks = description->signature.K > 0 ? description->signature.K : 1;
    if (start->task >= n_tasks) {
        return err_set(err, STATUS_INVALID, "environment %s: no task %u; it has %u",
                       description->uri, start->task, n_tasks);
    }
    if ((start->flags & ~description->start_flags) != 0) {
        return err_set(
            err, STATUS_INVALID, "environment %s: unsupported start flags 0x%x; it supports 0x%x",
            description->uri, start->flags & ~description->start_flags, description->start_flags);
    }
    return STATUS_OK;
}

status environment_reset(struct environment *environment, const struct environment_start *start,
                         float *observation, struct err *err)
{
    /* Whatever comes of this reset, the episode before it is over. */
    environment->under_way = false;
    status s = check_start(&environment->description, start, err);
    if (s == STATUS_OK) {
        s = environment->operations->reset(environment, start, observation, err);
    }
    environment->under_way = s == STATUS_OK;
    return s;
}

/* clipped(A) <- action(A), where all of it is within [-1, 1] but for rounding. */
static status clip_action(const struct environment *environment, float *clipped,
                          const float *action, struct err *err)
{
    const struct environment_description *description = &environment->description;
    for (uint32_t a = 0; a < description->signature.A; a++) {
        /* Written so that NaN fails too. */
        if (!(fabsf(action[a]) <= 1.0f + ACTION_SLACK)) {
            return err_set(err, STATUS_INVALID,
                           "environment %s: action %u is %g: expected within -1..1",
                           description->uri, a, (double)action[a]);
        }
        /* Rounding of a float's last bits is tolerated, and removed. */
        clipped[a] = action[a] < -1.0f ? -1.0f : action[a] > 1.0f ? 1.0f : action[a];
    }
    return STATUS_OK;
}

status environment_step(struct environment *environment, const float *action, float *observation,
                        float *rewards, float *discount, bool *last, struct err *err)
{
    float clipped[SIGNATURE_ACTIONS_MAX];
    if (!environment->under_way) {
        return err_set(err, STATUS_CLOSED, "environment %s: no episode under way: reset first",
                       environment->description.uri);
    }
    /* A refused action leaves the episode as it is: the caller may send another. */
    status s = clip_action(environment, clipped, action, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Stays true after an error: then the episode is over. */
    bool ended = true;
    s = environment->operations->step(environment, clipped, observation, rewards, discount, &ended,
                                      err);
    environment->under_way = s == STATUS_OK && !ended;
    environment->delay = 0.0;
    if (s == STATUS_OK) {
        *last = ended;
    }
    return s;
}

void environment_delay(struct environment *environment, double share)
{
    ASSERT(share >= 0.0 && share <= 1.0);
    environment->delay = share;
}

int environment_late_steps(const struct environment *environment, int n)
{
    return environment->delay == 0.0 ? 0 : (int)lround(environment->delay * n);
}

void environment_script(const struct environment *environment, uint32_t task,
                        const float *observation, float *action)
{
    ASSERT(environment->description.scripted);
    ASSERT(task < environment->description.signature.K);
    environment->operations->script(environment, task, observation, action);
}

const struct simulation *environment_simulation(const struct environment *environment)
{
    const struct environment_operations *operations = environment->operations;
    return operations->simulation == NULL ? NULL : operations->simulation(environment);
}
