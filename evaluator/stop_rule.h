/* When learning has stopped improving: a core that sees mean returns, one per evaluation.
 *
 *   improvement  iff  mean > reference + min_delta;  then reference <- mean
 *   stop         iff  the last `patience` evaluations brought none (patience 0: never)
 *
 * The first evaluation sets the reference. Source: the paper's robot runs, which ended when the
 * mean return over a window stopped improving; how many windows it waited it does not say, so
 * patience and min_delta are ours. */
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
/* One more evaluation; a mean that is not finite counts as no improvement. Says whether to stop. */
bool stop_rule_add(struct stop_rule *rule, double mean);

#endif
