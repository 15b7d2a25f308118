/* The policy library: common/networks/policy with a plain C interface.
 *
 * What computes is the actor of the evaluator, compiled into the library once more (CMakeLists.txt
 * lists the files) with hidden names. So the bits are the same, and nothing of it can collide with
 * the program that the library is linked into. The function at the end stands for the
 * part of Hindcast that a library must not have: its log and its crash reports. */
#include "deploy/policy/hindcast_policy.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/networks/policy.h"
#include "common/rollout/actor.h"
#include "common/trajectory/episode_history.h"

struct hindcast_policy {
    struct policy *policy;
    const struct policy_info *info;
    struct signature signature; /* what the user observes: without history */
    struct episode_history history;
};

struct hindcast_actor {
    const struct hindcast_policy *policy;
    struct actor *actor;
    float *canonical; /* (A) */
    /* The rule about observations that are outside. */
    enum hindcast_hold hold;
    float margin;
    float *held; /* (2,A) what is written then: `action`, and the last action of the episode */
    bool acted;  /* there is a last action */
    hindcast_outside outside;
};

/* ---- Errors ---- */

static int public_status(status s)
{
    switch (s) {
    case STATUS_OK:
        return HINDCAST_POLICY_OK;
    case STATUS_NO_MEMORY:
        return HINDCAST_POLICY_NO_MEMORY;
    case STATUS_NOT_FOUND:
    case STATUS_IO:
    case STATUS_DENIED:
    case STATUS_LIMIT:
        return HINDCAST_POLICY_NO_FILE;
    default:
        return HINDCAST_POLICY_BAD_FILE;
    }
}

/* Hands the reason out, and returns the status. */
static int report(int code, const struct err *err, char *error)
{
    if (error != NULL) {
        snprintf(error, HINDCAST_POLICY_ERROR_SIZE, "%s", err->text);
    }
    return code;
}

const char *hindcast_policy_status_text(int code)
{
    static const char *const texts[] = {
        [HINDCAST_POLICY_OK] = "ok",
        [HINDCAST_POLICY_NO_MEMORY] = "out of memory",
        [HINDCAST_POLICY_NO_FILE] = "the file cannot be read",
        [HINDCAST_POLICY_BAD_FILE] = "the file is not a sound policy",
        [HINDCAST_POLICY_NOT_ALLOWED] = "an argument does not fit this policy",
        [HINDCAST_POLICY_NOT_FINITE] =
            "the observation, or what the networks make of it, is not finite",
        [HINDCAST_POLICY_OUTSIDE] = "the observation is outside of what the policy learned from",
    };
    const bool known = code >= 0 && (size_t)code < sizeof texts / sizeof texts[0];
    return known ? texts[code] : "unknown status";
}

const char *hindcast_policy_version(void)
{
    return HINDCAST_VERSION;
}

/* ---- Policies ---- */

/* The signature of a package that has none: one slice, actions in [-1, 1], tasks without names. */
static void make_signature(struct signature *signature, const struct policy_info *info)
{
    memset(signature, 0, sizeof *signature);
    signature->n_slices = 1;
    snprintf(signature->slices[0].name, SIGNATURE_NAME_SIZE, "observation");
    signature->slices[0].size = (uint32_t)info->O;
    signature->A = (uint32_t)info->A;
    for (uint32_t i = 0; i < signature->A; i++) {
        signature->action_min[i] = -1;
        signature->action_max[i] = 1;
    }
    signature->K = (uint32_t)info->K;
    for (uint32_t k = 0; k < signature->K; k++) {
        snprintf(signature->rewards[k], SIGNATURE_NAME_SIZE, "task_%u", k);
    }
}

/* Numbers in the file have the decimal point of the C locale, and the program may have set another
 * one: between these two calls C's is in force for the calling thread. */
struct c_locale {
    locale_t c, before;
};

static status enter_c_locale(struct c_locale *locale, struct err *err)
{
    locale->c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (locale->c == (locale_t)0) {
        return err_set(err, STATUS_NO_MEMORY, "policy: locale");
    }
    locale->before = uselocale(locale->c);
    return STATUS_OK;
}

static void leave_c_locale(const struct c_locale *locale)
{
    uselocale(locale->before);
    freelocale(locale->c);
}

/* Parses the package and the signature in it. */
static status parse(struct hindcast_policy *policy, const void *bytes, size_t size, struct err *err)
{
    struct c_locale locale = {0};
    status s = enter_c_locale(&locale, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = policy_parse(&policy->policy, bytes, size, err);
    if (s == STATUS_OK) {
        policy->info = policy_info(policy->policy);
        if (policy->info->signature_json != NULL) {
            s = policy_info_signature(&policy->signature, policy->info, err);
        } else {
            make_signature(&policy->signature, policy->info);
        }
    }
    leave_c_locale(&locale);
    return s;
}

int hindcast_policy_parse(hindcast_policy **out, const void *bytes, size_t size, char *error)
{
    struct err err = {0};
    struct hindcast_policy *policy = mem_new(sizeof *policy);
    status s = policy != NULL ? STATUS_OK : err_set(&err, STATUS_NO_MEMORY, "policy");
    if (s == STATUS_OK) {
        s = parse(policy, bytes, size, &err);
    }
    if (s != STATUS_OK) {
        hindcast_policy_free(policy);
        return report(public_status(s), &err, error);
    }
    /* The actor stacks observations by itself. */
    const struct signature stacked = policy->signature;
    policy->history = episode_history_split(&stacked, &policy->signature);
    *out = policy;
    return HINDCAST_POLICY_OK;
}

int hindcast_policy_load(hindcast_policy **policy, const char *path, char *error)
{
    struct err err = {0};
    void *bytes;
    size_t size;
    const status s = file_read(path, POLICY_BYTES_MAX, &bytes, &size, &err);
    if (s != STATUS_OK) {
        return report(public_status(s), &err, error);
    }
    char reason[HINDCAST_POLICY_ERROR_SIZE];
    const int code = hindcast_policy_parse(policy, bytes, size, reason);
    mem_free(bytes);
    if (code != HINDCAST_POLICY_OK) {
        err_set(&err, STATUS_CORRUPT, "%s: %s", path, reason);
        return report(code, &err, error);
    }
    return code;
}

void hindcast_policy_free(hindcast_policy *policy)
{
    if (policy != NULL) {
        policy_free(policy->policy);
        mem_free(policy);
    }
}

uint32_t hindcast_policy_observation_size(const hindcast_policy *policy)
{
    return signature_observation(&policy->signature);
}

uint32_t hindcast_policy_action_size(const hindcast_policy *policy)
{
    return (uint32_t)policy->info->A;
}

uint32_t hindcast_policy_tasks(const hindcast_policy *policy)
{
    return (uint32_t)policy->info->K;
}

uint32_t hindcast_policy_history(const hindcast_policy *policy)
{
    return policy->history.steps;
}

uint32_t hindcast_policy_slices(const hindcast_policy *policy)
{
    return policy->signature.n_slices;
}

const char *hindcast_policy_slice(const hindcast_policy *policy, uint32_t i, uint32_t *begin,
                                  uint32_t *size)
{
    const struct signature *signature = &policy->signature;
    if (i >= signature->n_slices) {
        return NULL;
    }
    uint32_t at = 0;
    for (uint32_t s = 0; s < i; s++) {
        at += signature->slices[s].size;
    }
    if (begin != NULL) {
        *begin = at;
    }
    if (size != NULL) {
        *size = signature->slices[i].size;
    }
    return signature->slices[i].name;
}

int hindcast_policy_find_slice(const hindcast_policy *policy, const char *name, uint32_t *begin,
                               uint32_t *size)
{
    for (uint32_t i = 0; i < policy->signature.n_slices; i++) {
        if (strcmp(policy->signature.slices[i].name, name) == 0) {
            hindcast_policy_slice(policy, i, begin, size);
            return HINDCAST_POLICY_OK;
        }
    }
    return HINDCAST_POLICY_NOT_ALLOWED;
}

float hindcast_policy_action_min(const hindcast_policy *policy, uint32_t i)
{
    return i < policy->signature.A ? policy->signature.action_min[i] : (float)NAN;
}

float hindcast_policy_action_max(const hindcast_policy *policy, uint32_t i)
{
    return i < policy->signature.A ? policy->signature.action_max[i] : (float)NAN;
}

double hindcast_policy_control_period_s(const hindcast_policy *policy)
{
    return policy->signature.control_period_s;
}

const char *hindcast_policy_task(const hindcast_policy *policy, uint32_t i)
{
    return i < policy->signature.K ? policy->signature.rewards[i] : NULL;
}

int hindcast_policy_find_task(const hindcast_policy *policy, const char *name, uint32_t *task)
{
    for (uint32_t k = 0; k < policy->signature.K; k++) {
        if (strcmp(policy->signature.rewards[k], name) == 0) {
            *task = k;
            return HINDCAST_POLICY_OK;
        }
    }
    return HINDCAST_POLICY_NOT_ALLOWED;
}

const char *hindcast_policy_note(const hindcast_policy *policy, const char *key)
{
    return policy_note(policy->policy, key);
}

int hindcast_policy_offline_value(const hindcast_policy *policy, double *value, double *low,
                                  double *high)
{
    return policy_offline_value(policy->policy, value, low, high) ? HINDCAST_POLICY_OK
                                                                  : HINDCAST_POLICY_NOT_ALLOWED;
}

/* ---- Ranges ---- */

/* A value that is not finite differs from itself by NaN. No branch in the loop. */
static bool all_finite(const float *x, size_t n)
{
    float difference = 0;
    for (size_t i = 0; i < n; i++) {
        difference += x[i] - x[i];
    }
    return difference == 0;
}

int hindcast_policy_observed(const hindcast_policy *policy, uint32_t i, float *min, float *max)
{
    const struct policy_ranges ranges = policy_ranges(policy->policy);
    if (ranges.O == 0 || i >= signature_observation(&policy->signature)) {
        return HINDCAST_POLICY_NOT_ALLOWED;
    }
    *min = ranges.min[i];
    *max = ranges.max[i];
    return HINDCAST_POLICY_OK;
}

/* How far x is beyond a range that is widened, in its widths; 0: it is within. */
static float excess_of(float x, float min, float max, float margin)
{
    /* In double, so that the width of a range of large numbers does not overflow. */
    const double width = (double)max - (double)min;
    const double rounding = 1e-5 * fmax(fabs((double)min), fabs((double)max));
    const double beyond = fmax((double)min - (double)x, (double)x - (double)max);
    return beyond > (double)margin * width + rounding ? (float)(beyond / width) : 0.0f;
}

/* Names the slice that a dimension is in. */
static void name_dimension(const struct signature *signature, uint32_t dimension,
                           hindcast_outside *outside)
{
    uint32_t i = 0, at = dimension;
    while (at >= signature->slices[i].size) {
        at -= signature->slices[i++].size;
    }
    outside->dimension = dimension;
    outside->slice = signature->slices[i].name;
    outside->element = at;
}

int hindcast_policy_check(const hindcast_policy *policy, const float *observation, float margin,
                          hindcast_outside *outside)
{
    const struct policy_ranges ranges = policy_ranges(policy->policy);
    const uint32_t O = signature_observation(&policy->signature);
    if (ranges.O == 0 || !(margin >= 0.0f)) {
        return HINDCAST_POLICY_NOT_ALLOWED;
    }
    if (!all_finite(observation, O)) {
        return HINDCAST_POLICY_NOT_FINITE;
    }
    /* The ranges of a stacked observation begin with those of the step's own. */
    hindcast_outside found = {0};
    for (uint32_t i = 0; i < O; i++) {
        const float excess = excess_of(observation[i], ranges.min[i], ranges.max[i], margin);
        if (excess > 0.0f) {
            found.count++;
        }
        if (excess > found.excess) {
            found.excess = excess;
            found.dimension = i;
        }
    }
    if (found.count > 0) {
        name_dimension(&policy->signature, found.dimension, &found);
        found.value = observation[found.dimension];
        found.min = ranges.min[found.dimension];
        found.max = ranges.max[found.dimension];
    }
    if (outside != NULL) {
        *outside = found;
    }
    return found.count > 0 ? HINDCAST_POLICY_OUTSIDE : HINDCAST_POLICY_OK;
}

/* ---- Acting ---- */

/* All that acting will need is allocated here. */
static status open_actor(struct hindcast_actor *actor, const hindcast_policy *policy,
                         enum policy_rule rule, struct err *err)
{
    actor->policy = policy;
    actor->canonical = mem_array(policy->signature.A, sizeof *actor->canonical);
    actor->held = mem_array(policy->signature.A, 2 * sizeof *actor->held);
    if (actor->canonical == NULL || actor->held == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "actor: out of memory");
    }
    status s = actor_new(&actor->actor, &policy->signature, err);
    /* The actor parses the package's signature once more. */
    struct c_locale locale = {0};
    s = s != STATUS_OK ? s : enter_c_locale(&locale, err);
    if (s == STATUS_OK) {
        s = actor_use_rule(actor->actor, policy->policy, rule, err);
        leave_c_locale(&locale);
    }
    return s;
}

int hindcast_actor_new(hindcast_actor **out, const hindcast_policy *policy, const char *rule,
                       char *error)
{
    struct err err = {0};
    enum policy_rule found;
    if (policy_rule_find(&found, policy->info, rule, &err) != STATUS_OK) {
        return report(HINDCAST_POLICY_NOT_ALLOWED, &err, error);
    }
    struct hindcast_actor *actor = mem_new(sizeof *actor);
    const status s = actor != NULL ? open_actor(actor, policy, found, &err)
                                   : err_set(&err, STATUS_NO_MEMORY, "actor: out of memory");
    if (s != STATUS_OK) {
        hindcast_actor_free(actor);
        return report(public_status(s), &err, error);
    }
    const int code = hindcast_actor_start(actor, 0, 0, 0);
    ASSERT(code == HINDCAST_POLICY_OK);
    *out = actor;
    return code;
}

void hindcast_actor_free(hindcast_actor *actor)
{
    if (actor != NULL) {
        actor_free(actor->actor);
        mem_free(actor->canonical);
        mem_free(actor->held);
        mem_free(actor);
    }
}

int hindcast_actor_start(hindcast_actor *actor, uint64_t seed, uint64_t episode, uint32_t task)
{
    if (task >= actor_tasks(actor->actor)) {
        return HINDCAST_POLICY_NOT_ALLOWED;
    }
    struct rng rng;
    rng_init(&rng, seed, "policy", episode);
    actor_start(actor->actor, &rng, task);
    actor->acted = false;
    return HINDCAST_POLICY_OK;
}

int hindcast_actor_hold(hindcast_actor *actor, int rule, float margin, const float *action)
{
    const struct signature *signature = &actor->policy->signature;
    const bool needs_action = rule == HINDCAST_HOLD_LAST || rule == HINDCAST_HOLD_ACTION;
    if (rule < HINDCAST_HOLD_NEVER || rule > HINDCAST_HOLD_ACTION ||
        (rule != HINDCAST_HOLD_NEVER &&
         (!(margin >= 0.0f) || policy_ranges(actor->policy->policy).O == 0)) ||
        (needs_action && action == NULL)) {
        return HINDCAST_POLICY_NOT_ALLOWED;
    }
    for (uint32_t i = 0; needs_action && i < signature->A; i++) {
        /* Not true of NaN either. */
        if (!(action[i] >= signature->action_min[i] && action[i] <= signature->action_max[i])) {
            return HINDCAST_POLICY_NOT_ALLOWED;
        }
    }
    if (needs_action) {
        memcpy(actor->held, action, signature->A * sizeof *action);
    }
    actor->hold = (enum hindcast_hold)rule;
    actor->margin = margin;
    return HINDCAST_POLICY_OK;
}

void hindcast_actor_outside(const hindcast_actor *actor, hindcast_outside *outside)
{
    *outside = actor->outside;
}

/* Writes what is done in place of acting, and lets the policy's history have it. */
static int hold(hindcast_actor *actor, float *action)
{
    const struct signature *signature = &actor->policy->signature;
    const uint32_t A = signature->A;
    const bool last = actor->hold == HINDCAST_HOLD_LAST && actor->acted;
    if (actor->hold != HINDCAST_HOLD_STOP) {
        memcpy(action, actor->held + (last ? A : 0), A * sizeof *action);
        signature_to_canonical(signature, actor->canonical, action);
        actor_did(actor->actor, actor->canonical);
        memmove(actor->held + A, action, A * sizeof *action);
        actor->acted = true;
    }
    return HINDCAST_POLICY_OUTSIDE;
}

int hindcast_actor_act(hindcast_actor *actor, const float *observation, float *action)
{
    const struct signature *signature = &actor->policy->signature;
    if (!all_finite(observation, signature_observation(signature))) {
        return HINDCAST_POLICY_NOT_FINITE;
    }
    actor_act(actor->actor, actor->canonical, observation);
    /* Sums of observations as large as floats go may overflow on the way. */
    if (!all_finite(actor->canonical, signature->A)) {
        return HINDCAST_POLICY_NOT_FINITE;
    }
    /* The networks have run, so that what is drawn later is the same whether it holds or not. */
    if (actor->hold != HINDCAST_HOLD_NEVER &&
        hindcast_policy_check(actor->policy, observation, actor->margin, &actor->outside) ==
            HINDCAST_POLICY_OUTSIDE) {
        return hold(actor, action);
    }
    signature_to_physical(signature, action, actor->canonical);
    memcpy(actor->held + signature->A, action, signature->A * sizeof *action);
    actor->acted = true;
    return HINDCAST_POLICY_OK;
}

/* ---- What stands for the rest of Hindcast ---- */

void assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "libhindcast_policy: %s:%d: assertion failed: %s\n", file, line, condition);
    abort();
}
