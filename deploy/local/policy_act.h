/* hindcast policy act: a policy's actions at given observations, for whoever wants to hold another
 * implementation against ours.
 *
 * In and out are safetensors files. Tensors have names and shapes of the ONNX model's inputs and
 * outputs (common/networks/policy_onnx.h); N is the batch:
 *
 *     in     observation (N, O) F32;  noise (N, A) or (N, candidates, A) F32, as the rule needs;
 *            task (N) I64, with several tasks unless one is chosen
 *     out    action (N, A) F32;  action_physical (N, A) F32 where the package has a signature */
#ifndef HINDCAST_LOCAL_POLICY_ACT_H
#define HINDCAST_LOCAL_POLICY_ACT_H

#include "common/networks/policy.h"

/* task < 0: from the file. INVALID, MISMATCH and CORRUPT name file and tensor; then nothing is
 * written. */
status policy_act_files(const struct policy *policy, enum policy_rule rule, int task,
                        const char *in, const char *out, struct err *err) MUST_CHECK;

#endif
