/* A policy as an ONNX model: the graph of one acting rule.
 *
 *     observation    (batch, O) float32, in the order of the row
 *     task           (batch) int64, 0 .. K-1: with several tasks, unless one is chosen here
 *     noise          standard normals: (batch, A) of a sample, (batch, candidates, A) of an argmax
 *     action         (batch, A), canonical, in [-1, 1]: what policy_act says, within float32
 *     action_physical  (batch, A), scaled to the action limits; where the package has a signature
 *
 * An argmax has prior or policy, perturbation and critic in its graph. Weights keep their names.
 * metadata_props: hindcast_version, algorithm, learner_step, acting (mean, sample, argmax),
 * candidates, observation ("position:0:8,velocity:8:9": name, begin, size), action_min, action_max
 * ("-1,-1"), control_period_s (0: not known), tasks ("run,walk"), task (the one chosen),
 * evaluated_return, signature (JSON); where the package has them. */
#ifndef HINDCAST_NETWORKS_POLICY_ONNX_H
#define HINDCAST_NETWORKS_POLICY_ONNX_H

#include "common/networks/policy.h"

/* With task < 0 the task is an input where there are several. *bytes is the caller's (mem_free).
 * INVALID for a rule or a task that the policy does not have; CORRUPT for a signature that does not
 * parse; NO_MEMORY. */
status policy_onnx(const struct policy *policy, enum policy_rule rule, int task, void **bytes,
                   size_t *size, struct err *err) MUST_CHECK;

#endif
