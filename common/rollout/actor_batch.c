/* Gathers what the actors give the policy, evaluates it, and hands the actions back.
 *
 * Mostly all actors share one policy; while a collector changes to a newer one there are two. So the
 * turns are gone through once for each policy that occurs among them. */
#include "common/rollout/actor_batch.h"

#include <string.h>

#include "common/base/memory.h"

struct actor_batch {
    uint32_t n_max, A;
    uint32_t *members; /* (n_max) turns of one call of policy_act */
    bool *done;        /* (n_max) turns that have their action */
    float *actions;    /* (n_max, A) */
    /* As large as the largest policy so far needs. */
    size_t input_size, normals_size, scratch_size;
    float *inputs;  /* (n_max, I) */
    float *normals; /* (n_max, candidates, A) */
    float *scratch;
};

status actor_batch_new(struct actor_batch **batch, uint32_t n_max, uint32_t A, struct err *err)
{
    ASSERT(n_max >= 1);
    struct actor_batch *made = mem_new(sizeof *made);
    if (made != NULL) {
        made->n_max = n_max;
        made->A = A;
        made->members = mem_array(n_max, sizeof *made->members);
        made->done = mem_array(n_max, sizeof *made->done);
        made->actions = mem_array((size_t)n_max * A, sizeof *made->actions);
    }
    if (made == NULL || made->members == NULL || made->done == NULL || made->actions == NULL) {
        actor_batch_free(made);
        return err_set(err, STATUS_NO_MEMORY, "actors: out of memory");
    }
    *batch = made;
    return STATUS_OK;
}

void actor_batch_free(struct actor_batch *batch)
{
    if (batch != NULL) {
        mem_free(batch->members);
        mem_free(batch->done);
        mem_free(batch->actions);
        mem_free(batch->inputs);
        mem_free(batch->normals);
        mem_free(batch->scratch);
        mem_free(batch);
    }
}

/* Makes *buffer at least `needed` floats; what was in it is lost. */
static bool grow(float **buffer, size_t *size, size_t needed)
{
    if (needed > *size) {
        mem_free(*buffer);
        *buffer = mem_aligned(needed * sizeof **buffer);
        *size = *buffer == NULL ? 0 : needed;
    }
    return *size >= needed;
}

static status make_room(struct actor_batch *batch, const struct policy *policy, struct err *err)
{
    const size_t n = batch->n_max;
    const size_t I = (size_t)policy_inputs(policy_info(policy));
    const size_t n_normals = n * (size_t)policy_candidates(policy) * batch->A;
    if (!grow(&batch->inputs, &batch->input_size, n * I) ||
        !grow(&batch->normals, &batch->normals_size, n_normals) ||
        !grow(&batch->scratch, &batch->scratch_size, policy_scratch(policy, (int)n))) {
        return err_set(err, STATUS_NO_MEMORY, "no memory to act with the policy");
    }
    return STATUS_OK;
}

/* The turns that are evaluated together with turn `first`: it and later ones of the same policy. */
static uint32_t find_members(struct actor_batch *batch, const struct actor_turn *turns, uint32_t n,
                             uint32_t first)
{
    const struct policy *policy = actor_policy(turns[first].actor);
    const bool draws = actor_draws(turns[first].actor);
    uint32_t n_members = 0;
    for (uint32_t i = first; i < n; i++) {
        if (!batch->done[i] && actor_policy(turns[i].actor) == policy &&
            actor_draws(turns[i].actor) == draws) {
            batch->members[n_members++] = i;
        }
    }
    return n_members;
}

/* One policy, at the states of all who act by it. */
static void evaluate(struct actor_batch *batch, const struct actor_turn *turns, uint32_t n_members)
{
    const struct actor *first = turns[batch->members[0]].actor;
    const struct policy *policy = actor_policy(first);
    const size_t A = batch->A;
    const size_t I = (size_t)policy_inputs(policy_info(policy));
    const size_t n_normals = (size_t)policy_candidates(policy) * A;
    for (uint32_t m = 0; m < n_members; m++) {
        const struct actor_turn *turn = &turns[batch->members[m]];
        actor_prepare(turn->actor, batch->inputs + m * I, batch->normals + m * n_normals,
                      turn->observation);
    }
    policy_act(policy, batch->actions, batch->inputs, actor_draws(first) ? batch->normals : NULL,
               (int)n_members, batch->scratch);
    for (uint32_t m = 0; m < n_members; m++) {
        const struct actor_turn *turn = &turns[batch->members[m]];
        memcpy(turn->action, batch->actions + m * A, A * sizeof *turn->action);
        actor_did(turn->actor, turn->action);
        batch->done[batch->members[m]] = true;
    }
}

status actor_batch_act(struct actor_batch *batch, const struct actor_turn *turns, uint32_t n,
                       struct err *err)
{
    ASSERT(n <= batch->n_max);
    /* All memory first: once an actor has drawn from its stream it must get its action. */
    for (uint32_t i = 0; i < n; i++) {
        const struct policy *policy = actor_policy(turns[i].actor);
        status s = policy == NULL ? STATUS_OK : make_room(batch, policy, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    memset(batch->done, 0, n * sizeof *batch->done);
    for (uint32_t i = 0; i < n; i++) {
        if (batch->done[i]) {
            continue;
        }
        if (actor_policy(turns[i].actor) == NULL) {
            actor_act(turns[i].actor, turns[i].action, turns[i].observation);
        } else {
            evaluate(batch, turns, find_members(batch, turns, n, i));
        }
    }
    return STATUS_OK;
}
