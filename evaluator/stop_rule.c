/* References and a counter of evaluations since one of them was set.
 *
 * The rule sees the means of each evaluation, in order, and nothing else; so it gives the same answer
 * when a restarted evaluator feeds it the returns from the file. */
#include "evaluator/stop_rule.h"

#include <math.h>

#include "common/base/status.h"

void stop_rule_init(struct stop_rule *rule, uint32_t patience, double min_delta)
{
    ASSERT(min_delta >= 0);
    *rule = (struct stop_rule){.min_delta = min_delta, .patience = patience};
    for (uint32_t i = 0; i < SIGNATURE_TASKS_MAX; i++) {
        rule->references[i] = -INFINITY;
    }
}

bool stop_rule_add(struct stop_rule *rule, const double *means, uint32_t n_means)
{
    ASSERT(rule->without <= rule->n && n_means >= 1 && n_means <= SIGNATURE_TASKS_MAX);
    rule->n++;
    rule->without++;
    for (uint32_t i = 0; i < n_means; i++) {
        /* A reference moves only on an improvement, so gains below min_delta add up. */
        if (isfinite(means[i]) && means[i] > rule->references[i] + rule->min_delta) {
            rule->references[i] = means[i];
            rule->without = 0;
        }
    }
    return rule->patience > 0 && rule->without >= rule->patience;
}
