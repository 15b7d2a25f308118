/* Letting a policy act: see acting.h. */
#include "offline_evaluator/acting.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"

#define ACT_PURPOSE 0x6f616374u /* "oact": candidates of an argmax */

status acting_init(struct acting *acting, const struct policy *policy, size_t rows)
{
    const struct policy_info *info = policy_info(policy);
    const size_t I = (size_t)policy_inputs(info), A = (size_t)info->A;
    const size_t candidates = (size_t)policy_candidates(policy);
    *acting = (struct acting){
        .policy = policy,
        .rows = rows,
        .inputs = mem_aligned(rows * I * sizeof(float)),
        .z = mem_aligned(rows * candidates * A * sizeof(float)),
        .scratch = mem_aligned(policy_scratch(policy, (int)rows) * sizeof(float)),
    };
    if (acting->inputs == NULL || acting->z == NULL || acting->scratch == NULL) {
        acting_fini(acting);
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

void acting_fini(struct acting *acting)
{
    mem_free(acting->inputs);
    mem_free(acting->z);
    mem_free(acting->scratch);
    *acting = (struct acting){0};
}

void acting_take(struct acting *acting, float *actions, float *std, bool by_samples,
                 const struct acting_states *states)
{
    const struct policy_info *info = policy_info(acting->policy);
    const size_t O = (size_t)info->O, A = (size_t)info->A, n = states->n;
    const size_t I = (size_t)policy_inputs(info);
    const size_t candidates = (size_t)policy_candidates(acting->policy);
    ASSERT(n <= acting->rows);
    for (size_t i = 0; i < n; i++) {
        float *input = acting->inputs + i * I;
        memcpy(input, states->observations + i * states->stride, O * sizeof *input);
        memset(input + O, 0, (I - O) * sizeof *input);
        if (I > O) {
            input[O + states->task] = 1.0f;
        }
    }
    if (by_samples && candidates == 1) {
        policy_distribution(acting->policy, actions, std, acting->inputs, (int)n, acting->scratch);
        return;
    }
    if (candidates > 1) {
        noise_normal(acting->z, n * candidates * A, states->seed, states->step, ACT_PURPOSE,
                     states->element * candidates * A);
    }
    policy_act(acting->policy, actions, acting->inputs, candidates > 1 ? acting->z : NULL, (int)n,
               acting->scratch);
    memset(std, 0, n * A * sizeof *std);
}
