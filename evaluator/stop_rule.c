/* A reference return and a counter of evaluations since it was set.
 *
 * The rule sees one number per evaluation, in order, and nothing else; so it gives the same answer
 * when a restarted evaluator feeds it the returns from the file. */
#include "evaluator/stop_rule.h"

#include <math.h>

#include "common/base/status.h"

void stop_rule_init(struct stop_rule *rule, uint32_t patience, double min_delta)
{
    ASSERT(min_delta >= 0);
    *rule =
        (struct stop_rule){.min_delta = min_delta, .patience = patience, .reference = -INFINITY};
}

bool stop_rule_add(struct stop_rule *rule, double mean)
{
    ASSERT(rule->without <= rule->n);
    rule->n++;
    /* The reference moves only on an improvement: slow gains below min_delta do not add up. */
    if (isfinite(mean) && mean > rule->reference + rule->min_delta) {
        rule->reference = mean;
        rule->without = 0;
    } else {
        rule->without++;
    }
    return rule->patience > 0 && rule->without >= rule->patience;
}
