/* What policies get in learned models of the environment, without an environment.
 *
 * A model is fitted to the logged transitions by regression (fitting.h): from a state and an action,
 * the change of the observation and the rewards. From each start every policy acts in it, step by
 * step, as long as the longest logged episode (at most 2000 steps), or with a discount until what is
 * left counts less than a hundredth:
 *
 *     o' = clip(o + change(o, a) + residual z),   value = sum_t gamma^t clip(r(o_t, a_t))
 *
 * z are standard normals, the same ones for all policies, and `residual` is the std of what the model
 * does not explain; without it policies stay for ever where a model wrongly comes to rest.
 * Observations and rewards stay within the ranges of the logs. Nothing is bootstrapped, so errors
 * add up along a rollout and do not feed on themselves as those of a critic do. Episodes that
 * terminate have no models here. Ours; the idea is that of model-based evaluation, for instance in
 * Fu et al., "Benchmarks for Deep Off-Policy Evaluation", ICLR 2021. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_ROLLOUT_H
#define HINDCAST_OFFLINE_EVALUATOR_ROLLOUT_H

#include "offline_evaluator/evaluation.h"

/* Outputs of a model: O changes, then K rewards. The caller owns the result; NULL: no memory. */
struct fitted_q_head *rollout_outputs(const struct logged_data *data);
/* targets(transitions, O + K) <- what a model is to learn. */
void rollout_targets(const struct logged_data *data, double *targets);

/* q(models, starts, heads) <- values of all heads of the evaluation by each of its models. The
 * behaviour's are those of its logged actions. CLOSED: stopping; NO_MEMORY. */
status rollout_values(const struct evaluation *evaluation, double *q, struct err *err) MUST_CHECK;

#endif
