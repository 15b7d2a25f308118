/* Actors: a policy or a script, the buffers to evaluate it on one observation, and a random stream.
 *
 * Whether a policy fits the environment is decided here, once per policy (actor_use), by what its
 * package says about itself: sizes, and the signature where it has one. Tasks are matched by name,
 * so that a policy of two of three tasks finds their rewards. The arithmetic is in
 * common/networks/policy.
 *
 * An actor belongs to one thread; its policy is borrowed and may be used by others at the same
 * time. Acting allocates nothing and cannot fail. */
#include "common/rollout/actor.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/episode_history.h"

#define NOISE_CORRELATION 0.9 /* of the script's noise, from step to step */

/* What acting one step needs, allocated once per policy. */
struct actor {
    struct signature signature; /* of the environment */
    uint32_t O;
    const struct policy *policy; /* NULL: at random */
    actor_script *script;        /* acts by it; NULL: it does not */
    const void *script_arg;
    double noise;                          /* standard deviation of the script's noise */
    double correlation;                    /* of normals, from step to step */
    bool draws;                            /* acting takes normals */
    bool has_drawn;                        /* `normals` are of this episode */
    uint32_t n_tasks;                      /* of the policy, or of the environment */
    uint32_t rewards[SIGNATURE_TASKS_MAX]; /* per task, its reward in the environment */
    struct rng rng;
    uint32_t task;
    struct episode_window window; /* values are NULL where the policy uses no history */
    float *action;                /* (A) of the step before */
    double *disturbance;          /* (A) the script's noise */
    float *input;                 /* (I): observation and one-hot task */
    float *normals;               /* (candidates, A), of the last step */
    size_t n_normals;
    float *scratch; /* policy_scratch() */
};

status actor_new(struct actor **actor, const struct signature *signature, struct err *err)
{
    struct actor *made = mem_new(sizeof *made);
    if (made == NULL) {
        /* actor_free takes what is there, so a failure below needs no other cleanup. */
        return err_set(err, STATUS_NO_MEMORY, "actor: out of memory");
    }
    made->signature = *signature;
    made->O = signature_observation(signature);
    made->action = mem_array(signature->A, sizeof *made->action);
    made->disturbance = mem_array(signature->A, sizeof *made->disturbance);
    if (made->action == NULL || made->disturbance == NULL) {
        actor_free(made);
        return err_set(err, STATUS_NO_MEMORY, "actor: out of memory");
    }
    rng_init(&made->rng, 0, "actor", 0);
    /* At random until a policy is set. */
    status s = actor_use(made, NULL, false, err);
    if (s != STATUS_OK) {
        actor_free(made);
        return s;
    }
    *actor = made;
    return STATUS_OK;
}

void actor_free(struct actor *actor)
{
    if (actor != NULL) {
        episode_window_fini(&actor->window);
        mem_free(actor->action);
        mem_free(actor->disturbance);
        mem_free(actor->input);
        mem_free(actor->normals);
        mem_free(actor->scratch);
        mem_free(actor);
    }
}

/* rewards(tasks of the policy) <- their indices in the environment. MISMATCH: it does not fit. */
static status match_tasks(const struct actor *actor, const struct policy *policy, uint32_t *rewards,
                          struct episode_history *history, struct err *err)
{
    *history = (struct episode_history){1, false};
    uint32_t O = actor->O;
    const struct policy_info *info = policy_info(policy);
    /* A package that carries its signature is matched by names. */
    if (info->signature_json != NULL) {
        /* On the heap, since a signature is large. */
        struct signature *made_for = mem_new(2 * sizeof *made_for);
        if (made_for == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "policy's signature: out of memory");
        }
        status s = signature_from_json(made_for, info->signature_json, err);
        /* The environment as a policy with this history sees it. */
        struct signature *seen = made_for + 1;
        if (s == STATUS_OK) {
            *history = episode_history_of(made_for, &actor->signature);
            s = episode_history_signature(history, &actor->signature, seen, err);
        }
        if (s == STATUS_OK) {
            O = signature_observation(seen);
            s = signature_match(seen, made_for, rewards, err);
        }
        mem_free(made_for);
        if (s != STATUS_OK) {
            return err_context(err, s, "environment and policy");
        }
    }
    /* In any case the sizes must agree. */
    if (info->O != (int)O || info->A != (int)actor->signature.A) {
        return err_set(err, STATUS_MISMATCH,
                       "policy: %d observations and %d actions, the environment has %u and %u",
                       info->O, info->A, O, actor->signature.A);
    }
    if (info->signature_json == NULL) {
        /* Nothing names the policy's tasks: they must be the environment's, in its order. */
        if (info->K != (int)actor->signature.K) {
            return err_set(err, STATUS_MISMATCH, "policy: %d tasks, the environment has %u",
                           info->K, actor->signature.K);
        }
        for (uint32_t k = 0; k < actor->signature.K; k++) {
            rewards[k] = k;
        }
    }
    return STATUS_OK;
}

/* Replaces the buffers by those for `policy`. On error the old ones stay. */
static status make_buffers(struct actor *actor, const struct policy *policy, struct err *err)
{
    /* One set of normals for each candidate action. */
    size_t n_normals = (size_t)policy_candidates(policy) * actor->signature.A;
    float *input = mem_array((size_t)policy_inputs(policy_info(policy)), sizeof *input);
    float *normals = mem_array(n_normals, sizeof *normals);
    float *scratch = mem_aligned(policy_scratch(policy, 1) * sizeof *scratch);
    if (input == NULL || normals == NULL || scratch == NULL) {
        mem_free(input);
        mem_free(normals);
        mem_free(scratch);
        return err_set(err, STATUS_NO_MEMORY, "actor: no memory to act with the policy");
    }
    /* All were made: only now may the old ones go. Noise goes on across a newer policy. */
    actor->has_drawn = actor->has_drawn && n_normals == actor->n_normals;
    if (actor->has_drawn) {
        memcpy(normals, actor->normals, n_normals * sizeof *normals);
    }
    mem_free(actor->input);
    mem_free(actor->normals);
    mem_free(actor->scratch);
    actor->input = input;
    actor->normals = normals;
    actor->n_normals = n_normals;
    actor->scratch = scratch;
    return STATUS_OK;
}

status actor_use(struct actor *actor, const struct policy *policy, bool sample, struct err *err)
{
    /* Where there are candidates they are drawn in both cases. */
    const bool draws = sample || (policy != NULL && policy_candidates(policy) > 1);
    return actor_use_rule(actor, policy, draws ? POLICY_SAMPLE : POLICY_MEAN, err);
}

status actor_use_rule(struct actor *actor, const struct policy *policy, enum policy_rule rule,
                      struct err *err)
{
    /* Into a local array first: an error must leave the actor as it was. */
    uint32_t rewards[SIGNATURE_TASKS_MAX];
    /* Where there are no rewards there is one unnamed task, 0. */
    uint32_t n_tasks = actor->signature.K > 0 ? actor->signature.K : 1;
    struct episode_history history = {1, false};
    struct episode_window window = {0};
    if (policy == NULL) {
        for (uint32_t k = 0; k < n_tasks; k++) {
            rewards[k] = k;
        }
    } else {
        n_tasks = (uint32_t)policy_info(policy)->K;
        status s = match_tasks(actor, policy, rewards, &history, err);
        if (s == STATUS_OK && history.steps > 1) {
            s = episode_window_init(&window, &history, &actor->signature, err);
        }
        if (s == STATUS_OK) {
            s = make_buffers(actor, policy, err);
        }
        if (s != STATUS_OK) {
            episode_window_fini(&window);
            return s;
        }
    }
    /* A newer policy with the same history goes on with what was seen so far. */
    if (window.values != NULL && actor->window.history.steps == history.steps &&
        actor->window.history.actions == history.actions) {
        episode_window_fini(&window);
    } else {
        episode_window_fini(&actor->window);
        actor->window = window;
    }
    /* Nothing can fail from here on: the actor changes to the new policy as a whole. */
    memcpy(actor->rewards, rewards, n_tasks * sizeof *rewards);
    actor->n_tasks = n_tasks;
    /* An episode under way keeps its task where the new policy has it. */
    actor->task = actor->task < n_tasks ? actor->task : 0;
    actor->policy = policy;
    actor->script = NULL;
    actor->draws = policy != NULL && rule != POLICY_MEAN;
    return STATUS_OK;
}

void actor_use_script(struct actor *actor, actor_script *script, const void *arg, double noise)
{
    ASSERT(noise >= 0.0);
    /* Without a policy the tasks are the environment's, and nothing can fail. */
    status s = actor_use(actor, NULL, false, NULL);
    ASSERT(s == STATUS_OK);
    actor->script = script;
    actor->script_arg = arg;
    actor->noise = noise;
}

void actor_correlate(struct actor *actor, double correlation)
{
    ASSERT(correlation >= 0.0 && correlation < 1.0);
    actor->correlation = correlation;
}

uint32_t actor_tasks(const struct actor *actor)
{
    return actor->n_tasks;
}

uint32_t actor_reward(const struct actor *actor, uint32_t task)
{
    ASSERT(task < actor->n_tasks);
    return actor->rewards[task];
}

void actor_start(struct actor *actor, const struct rng *rng, uint32_t task)
{
    ASSERT(task < actor->n_tasks);
    actor->rng = *rng;
    actor->task = task;
    actor->has_drawn = false;
    episode_window_begin(&actor->window);
    for (uint32_t i = 0; actor->script != NULL && i < actor->signature.A; i++) {
        actor->disturbance[i] = actor->noise * rng_normal(&actor->rng);
    }
}

/* What follows `before` in AR(1) noise of this correlation and standard deviation. */
static double next_noise(struct rng *rng, double before, double correlation, double std)
{
    return correlation * before + sqrt(1.0 - correlation * correlation) * std * rng_normal(rng);
}

/* The script's action with its noise, which is drawn also where it is 0. */
static void act_by_script(struct actor *actor, float *action, const float *observation)
{
    actor->script(actor->script_arg, actor->rewards[actor->task], observation, action);
    for (uint32_t i = 0; i < actor->signature.A; i++) {
        double disturbed = (double)action[i] + actor->disturbance[i];
        action[i] = (float)fmin(fmax(disturbed, -1.0), 1.0);
        actor->disturbance[i] =
            next_noise(&actor->rng, actor->disturbance[i], NOISE_CORRELATION, actor->noise);
    }
}

/* Draws normals(candidates, A) of a step. Their number is fixed, so that a stream is reproducible. */
static void draw_normals(struct actor *actor, float *normals)
{
    const double correlation = actor->has_drawn ? actor->correlation : 0.0;
    for (size_t i = 0; i < actor->n_normals; i++) {
        actor->normals[i] =
            (float)next_noise(&actor->rng, (double)actor->normals[i], correlation, 1.0);
        normals[i] = actor->normals[i];
    }
    actor->has_drawn = true;
}

const struct policy *actor_policy(const struct actor *actor)
{
    return actor->policy;
}

bool actor_draws(const struct actor *actor)
{
    return actor->draws;
}

void actor_prepare(struct actor *actor, float *input, float *normals, const float *observation)
{
    /* The observation, with those before it where the policy uses them. */
    const size_t O = (size_t)policy_info(actor->policy)->O;
    if (actor->window.values != NULL) {
        episode_window_add(&actor->window, observation, actor->action);
        observation = actor->window.values;
    }
    memcpy(input, observation, O * sizeof *observation);
    /* A policy of several tasks is told which one by a one-hot behind the observation. */
    if (actor->n_tasks > 1) {
        memset(input + O, 0, actor->n_tasks * sizeof *input);
        input[O + actor->task] = 1.0f;
    }
    if (actor->draws) {
        draw_normals(actor, normals);
    }
}

void actor_act(struct actor *actor, float *action, const float *observation)
{
    uint32_t A = actor->signature.A;
    ASSERT(actor->task < actor->n_tasks);
    if (actor->script != NULL) {
        act_by_script(actor, action, observation);
        return;
    }
    if (actor->policy == NULL) {
        /* Uniform in [-1, 1]. */
        for (uint32_t i = 0; i < A; i++) {
            action[i] = (float)(2.0 * rng_uniform(&actor->rng) - 1.0);
        }
        return;
    }
    actor_prepare(actor, actor->input, actor->normals, observation);
    policy_act(actor->policy, action, actor->input, actor->draws ? actor->normals : NULL, 1,
               actor->scratch);
    actor_did(actor, action);
}

void actor_did(struct actor *actor, const float *action)
{
    memcpy(actor->action, action, actor->signature.A * sizeof *action);
}
