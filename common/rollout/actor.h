/* An actor chooses actions: by a policy (its mean action, or a sample of its distribution; a policy
 * that acts by an argmax over candidates draws them in both cases), by the environment's script with
 * noise, or uniformly at random.
 *
 * An actor belongs to one thread. Everything it draws comes from the stream given to actor_start,
 * so an episode is a function of (environment, its start, policy, stream), whichever thread runs it.
 */
#ifndef HINDCAST_ROLLOUT_ACTOR_H
#define HINDCAST_ROLLOUT_ACTOR_H

#include "common/base/rng.h"
#include "common/networks/policy.h"
#include "common/trajectory/signature.h"

struct actor;

/* For an environment of this signature (copied). A policy whose signature has history
 * (episode_history.h) is given the stacked observations of its episode. Acts at random until
 * actor_use gives it a policy. */
status actor_new(struct actor **actor, const struct signature *signature,
                 struct err *err) MUST_CHECK;
void actor_free(struct actor *actor);

/* From the next actor_act on, acts by `policy` (borrowed until the next actor_use or actor_free),
 * sampled or by its mean action; NULL: uniform in [-1, 1]. May be called within an episode, whose
 * task stays (0 where the new policy has no such task). MISMATCH: the policy was made for other
 * observations, actions or tasks than the environment has; then nothing has changed. */
status actor_use(struct actor *actor, const struct policy *policy, bool sample,
                 struct err *err) MUST_CHECK;
/* The same by one of the policy's rules (policy_rule_find). Of a policy that acts by an argmax, the
 * mean is a rule that no evaluator uses. */
status actor_use_rule(struct actor *actor, const struct policy *policy, enum policy_rule rule,
                      struct err *err) MUST_CHECK;

/* After actor_act: what was done is action(A), canonical, in place of what the policy said. A policy
 * that is given earlier actions is given this one. */
void actor_did(struct actor *actor, const float *action);

/* Writes action(A), canonical, towards task (index of its reward), from observation(O). */
typedef void actor_script(const void *arg, uint32_t task, const float *observation, float *action);

/* From the next actor_act on, acts by a script of the environment's own (environment_script), called
 * with `arg` and the actor's task. To each dimension of its action AR(1) noise is added,
 *
 *     x_t = 0.9 x_(t-1) + sqrt(1 - 0.81) noise n_t,   n_t and x_0 / noise standard normal
 *
 * so that its standard deviation is `noise` (>= 0); the sum is clipped. Ours. Not within an episode. */
void actor_use_script(struct actor *actor, actor_script *script, const void *arg, double noise);

/* From the next step on, the normals n_t with which a policy is sampled are AR(1) within an episode:
 *
 *     n_t = correlation n_(t-1) + sqrt(1 - correlation^2) e_t,   e_t and n_0 standard normal
 *
 * so that actions vary slowly, and each by itself as much as before. 0 <= correlation < 1; 0 until it
 * is called. Ours. */
void actor_correlate(struct actor *actor, double correlation);

/* Number of tasks that this actor can pursue: the policy's, or, at random, the environment's; at least
 * 1, since an environment without rewards has one unnamed task, 0. */
uint32_t actor_tasks(const struct actor *actor);
/* Index of that task's reward in the environment's signature. task < actor_tasks(). */
uint32_t actor_reward(const struct actor *actor, uint32_t task);

/* Begins an episode with this random stream and task (< actor_tasks()). */
void actor_start(struct actor *actor, const struct rng *rng, uint32_t task);
/* action(A), canonical, from observation(O). */
void actor_act(struct actor *actor, float *action, const float *observation);

/* What actor_act does with a policy, in two halves, between which whoever acts for several actors
 * evaluates the policy for all of them at once (actor_batch.h): */

/* The policy that the next actor_act evaluates; NULL: none, since it acts by a script or at random. */
const struct policy *actor_policy(const struct actor *actor);
/* Does it evaluate the policy with normals? */
bool actor_draws(const struct actor *actor);
/* Writes what policy_act is given for one state: input(I), and normals(candidates, A) where
 * actor_draws. Then actor_did takes the action. Only where there is an actor_policy. */
void actor_prepare(struct actor *actor, float *input, float *normals, const float *observation);

#endif
