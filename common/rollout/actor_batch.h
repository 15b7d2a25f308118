/* Acts for several actors at once: those that act by the same policy have it evaluated in one call,
 * which computes several states in about the time of one.
 *
 * Each action is, to the last bit, the one that actor_act gives: rows of a batch do not see each
 * other (kernels.h). One thread. */
#ifndef HINDCAST_ROLLOUT_ACTOR_BATCH_H
#define HINDCAST_ROLLOUT_ACTOR_BATCH_H

#include "common/rollout/actor.h"

/* One actor's step. */
struct actor_turn {
    struct actor *actor;
    const float *observation; /* (O) */
    float *action;            /* (A) <- */
};

struct actor_batch;

/* For up to n_max (>= 1) actors of environments with A actions. */
status actor_batch_new(struct actor_batch **batch, uint32_t n_max, uint32_t A,
                       struct err *err) MUST_CHECK;
void actor_batch_free(struct actor_batch *batch); /* NULL is fine */

/* actor_act for each of n <= n_max turns, of different actors. NO_MEMORY: where a policy larger than
 * those before needs more; then no action was taken. */
status actor_batch_act(struct actor_batch *batch, const struct actor_turn *turns, uint32_t n,
                       struct err *err) MUST_CHECK;

#endif
