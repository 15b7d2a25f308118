/* References and a counter of evaluations since one of them was set.
 *
 * The rule sees the means of each evaluation, in order, and nothing else; so it gives the same answer
 * when a restarted evaluator feeds it the returns from the file. */
#include "evaluator/stop_rule.h"

#include <math.h>
#include <string.h>

#include "common/base/status.h"

void stop_rule_init(struct stop_rule *rule, uint32_t patience, double min_delta, uint32_t window)
{
    ASSERT(min_delta >= 0 && window >= 1 && window <= STOP_RULE_WINDOW_MAX);
    *rule = (struct stop_rule){.min_delta = min_delta, .patience = patience, .window = window};
    for (uint32_t i = 0; i < SIGNATURE_TASKS_MAX; i++) {
        rule->references[i] = -INFINITY;
    }
}

/* Of value i over the window; not finite where any of its means is not. */
static double rolling_mean(const struct stop_rule *rule, uint32_t i)
{
    double sum = 0;
    for (uint32_t w = 0; w < rule->window; w++) {
        sum += rule->recent[w][i];
    }
    return sum / rule->window;
}

bool stop_rule_add(struct stop_rule *rule, const double *means, uint32_t n_means)
{
    ASSERT(rule->without <= rule->n && n_means >= 1 && n_means <= SIGNATURE_TASKS_MAX);
    memcpy(rule->recent[rule->n % rule->window], means, n_means * sizeof *means);
    rule->n++;
    if (rule->n < rule->window) {
        return false;
    }
    rule->without++;
    for (uint32_t i = 0; i < n_means; i++) {
        /* A reference moves only on an improvement, so gains below min_delta add up. */
        const double mean = rolling_mean(rule, i);
        if (isfinite(mean) && mean > rule->references[i] + rule->min_delta) {
            rule->references[i] = mean;
            rule->without = 0;
        }
    }
    return rule->patience > 0 && rule->without >= rule->patience;
}
