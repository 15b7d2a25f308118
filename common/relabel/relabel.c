/* Choosing rewards: each reward that comes out is a logged column or a result of the script.
 *
 * The choice is made once when the restorer starts, so a reward that does not exist is an error
 * before anything is read. Observation, action and discount pass through unchanged; only the
 * columns of rewards differ between the two signatures.
 *
 * The scratch memory and the script's interpreter belong to one thread, the reader; what the
 * signature says may be read by any. */
#include "common/relabel/relabel.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/relabel/script.h"

/* The choice, and what is needed to apply it. */
struct relabel {
    const struct signature *logged;
    /* Of what comes out: the logs' with other rewards. */
    struct signature signature;
    struct script *script; /* NULL: none */
    /* Of reward k of `signature`: */
    struct source {
        bool computed;
        uint32_t k; /* index among the logged rewards, or among the script's */
    } sources[SIGNATURE_TASKS_MAX];
    float *computed; /* (T, script's n), scratch */
    size_t capacity; /* floats */
};

/* Where a reward comes from. The script wins over a logged reward of the same name. */
static bool find_source(const struct relabel *relabel, const char *name, struct source *source)
{
    for (uint32_t i = 0; relabel->script != NULL && i < script_n(relabel->script); i++) {
        if (strcmp(script_task(relabel->script, i), name) == 0) {
            *source = (struct source){.computed = true, .k = i};
            return true;
        }
    }
    for (uint32_t k = 0; k < relabel->logged->K; k++) {
        if (strcmp(relabel->logged->rewards[k], name) == 0) {
            *source = (struct source){.k = k};
            return true;
        }
    }
    return false;
}

/* Adds one reward to the outgoing signature. NOT_FOUND: neither the logs nor the script have it. */
static status add_reward(struct relabel *relabel, const char *name, struct err *err)
{
    struct signature *signature = &relabel->signature;
    if (signature->K == SIGNATURE_TASKS_MAX || strlen(name) >= SIGNATURE_NAME_SIZE) {
        return err_set(err, STATUS_INVALID,
                       "reward %.80s: more than %d rewards, or its name is too long", name,
                       SIGNATURE_TASKS_MAX);
    }
    if (!find_source(relabel, name, &relabel->sources[signature->K])) {
        return err_set(err, STATUS_NOT_FOUND,
                       "reward %s: is neither logged nor computed by the script", name);
    }
    memcpy(signature->rewards[signature->K++], name, strlen(name) + 1);
    return STATUS_OK;
}

/* The wanted rewards; without a list all logged ones, then those that only the script has. */
static status choose(struct relabel *relabel, const struct config_texts *rewards, struct err *err)
{
    status s = STATUS_OK;
    /* In the order of the list, which becomes the order of the columns. */
    for (size_t i = 0; i < rewards->n && s == STATUS_OK; i++) {
        s = add_reward(relabel, rewards->items[i], err);
    }
    /* A list was given and nothing is added to it. */
    if (rewards->n > 0) {
        return s;
    }
    for (uint32_t k = 0; k < relabel->logged->K && s == STATUS_OK; k++) {
        s = add_reward(relabel, relabel->logged->rewards[k], err);
    }
    /* The script's own rewards follow the logged ones. */
    for (uint32_t i = 0; relabel->script != NULL && i < script_n(relabel->script); i++) {
        const char *name = script_task(relabel->script, i);
        bool there = false;
        for (uint32_t k = 0; k < relabel->signature.K; k++) {
            there = there || strcmp(relabel->signature.rewards[k], name) == 0;
        }
        if (s == STATUS_OK && !there) {
            s = add_reward(relabel, name, err);
        }
    }
    return s;
}

status relabel_new(struct relabel **relabel, const struct signature *logged,
                   const struct config_texts *rewards, const char *script, struct err *err)
{
    struct relabel *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "relabel");
    }
    /* The logs' signature without its rewards, which `choose` fills in. */
    made->logged = logged;
    made->signature = *logged;
    made->signature.K = 0;
    memset(made->signature.rewards, 0, sizeof made->signature.rewards);
    status s = STATUS_OK;
    if (script[0] != '\0') {
        s = script_open(&made->script, script, logged, err);
    }
    if (s == STATUS_OK) {
        s = choose(made, rewards, err);
    }
    /* Checked like any signature: a reward that was named twice is found here. */
    if (s == STATUS_OK) {
        s = signature_check(&made->signature, err);
    }
    if (s != STATUS_OK) {
        relabel_free(made);
        return s;
    }
    *relabel = made;
    return STATUS_OK;
}

void relabel_free(struct relabel *relabel)
{
    if (relabel == NULL) {
        return;
    }
    script_close(relabel->script);
    mem_free(relabel->computed);
    mem_free(relabel);
}

const struct signature *relabel_signature(const struct relabel *relabel)
{
    return &relabel->signature;
}

void relabel_set_stop(struct relabel *relabel, const atomic_bool *stop)
{
    /* Without a script nothing takes long enough to be stopped. */
    if (relabel->script != NULL) {
        script_set_stop(relabel->script, stop);
    }
}

uint64_t relabel_digest(const struct relabel *relabel)
{
    /* 0 stands for rewards as they were logged. */
    return relabel->script != NULL ? script_digest(relabel->script) : 0;
}

bool relabel_is_identity(const struct relabel *relabel)
{
    /* The same columns in the same places: rows may be handed over as they were read. */
    bool same = relabel->script == NULL && relabel->signature.K == relabel->logged->K;
    for (uint32_t k = 0; same && k < relabel->signature.K; k++) {
        same = relabel->sources[k].k == k;
    }
    return same;
}

/* Runs the script over the episode into `computed`. */
static status compute(struct relabel *relabel, const struct episode *from, struct err *err)
{
    /* The memory grows to the longest episode and is kept. */
    const size_t needed = (size_t)from->T * script_n(relabel->script);
    if (needed > relabel->capacity) {
        float *computed = mem_resize(relabel->computed, needed, sizeof *computed);
        if (computed == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "relabel: %zu rewards", needed);
        }
        relabel->computed = computed;
        relabel->capacity = needed;
    }
    return script_run(relabel->script, from, relabel->computed, err);
}

/* One row: observation and action as they are, the chosen rewards, the discount. */
static void copy_row(const struct relabel *relabel, const float *from, float *to,
                     const float *computed)
{
    /* Everything before the rewards has the same place in both rows; the discount follows them. */
    const uint32_t at = signature_rewards_at(relabel->logged); /* the same on both sides */
    memcpy(to, from, at * sizeof(float));
    for (uint32_t k = 0; k < relabel->signature.K; k++) {
        const struct source *source = &relabel->sources[k];
        to[at + k] = source->computed ? computed[source->k] : from[at + source->k];
    }
    to[at + relabel->signature.K] = from[at + relabel->logged->K];
}

status relabel_apply(struct relabel *relabel, const struct episode *from, struct episode *to,
                     struct err *err)
{
    ASSERT(from->W == signature_width(relabel->logged));
    ASSERT(to->W == signature_width(&relabel->signature));
    /* T steps and the last row. The rewards are computed before a row is copied. */
    status s = episode_reserve(to, (size_t)from->T + 1, err);
    if (s == STATUS_OK && relabel->script != NULL) {
        s = compute(relabel, from, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    static const float nothing[SIGNATURE_TASKS_MAX]; /* the last row has no rewards */
    /* Row by row; in the last one everything but the observation is 0. */
    const uint32_t n = relabel->script != NULL ? script_n(relabel->script) : 0;
    for (size_t t = 0; t <= from->T; t++) {
        copy_row(relabel, from->rows + t * from->W, to->rows + t * to->W,
                 t < from->T && n > 0 ? relabel->computed + t * n : nothing);
    }
    /* The identity names the script too: episodes relabelled by two scripts are two episodes. */
    to->T = from->T;
    to->open_end = from->open_end;
    to->identity = from->identity;
    to->identity.relabel = relabel_digest(relabel);
    return STATUS_OK;
}
