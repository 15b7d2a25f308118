/* Decides when learning has stopped improving. A pure core that gets one mean return per evaluation.
 *
 *   improvement  iff  mean > reference + min_delta;  then reference <- mean
 *   stop         iff  none of the last `patience` evaluations improved (patience 0: never)
 *
 * The first evaluation sets the reference. Source: the paper's robot runs, which ended when the
 * mean return over a window stopped improving; it does not say after how many windows, so patience
 * and min_delta are ours. */
#ifndef HINDCAST_EVALUATOR_STOP_RULE_H
#define HINDCAST_EVALUATOR_STOP_RULE_H

#include <stdbool.h>
#include <stdint.h>

struct stop_rule {
    double min_delta; /* >= 0, units of return */
    uint32_t patience;
    double reference; /* mean return at the last improvement */
    uint32_t n;       /* evaluations seen */
    uint32_t without; /* since the last improvement */
};

void stop_rule_init(struct stop_rule *rule, uint32_t patience, double min_delta);
/* Adds one evaluation and returns whether to stop. A mean that is not finite is no improvement. */
bool stop_rule_add(struct stop_rule *rule, double mean);

#endif
