/* Decides when learning has stopped improving. A pure core that gets, for each evaluation, one mean
 * return or several (one for each task), always the same number of them.
 *
 *   value i improved  iff  mean_i > reference_i + min_delta;  then reference_i <- mean_i
 *   stop              iff  no value improved in any of the last `patience` evaluations
 *                          (patience 0: never)
 *
 * The first evaluation sets the references. Source: the paper's robot runs, which ended when the
 * mean return over a window stopped improving; it does not say after how many windows, so patience
 * and min_delta are ours, as is watching tasks apart. */
#ifndef HINDCAST_EVALUATOR_STOP_RULE_H
#define HINDCAST_EVALUATOR_STOP_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/trajectory/signature.h"

struct stop_rule {
    double min_delta; /* >= 0, units of return */
    uint32_t patience;
    double references[SIGNATURE_TASKS_MAX]; /* mean returns at the last improvements */
    uint32_t n;                             /* evaluations seen */
    uint32_t without;                       /* since the last improvement of any value */
};

void stop_rule_init(struct stop_rule *rule, uint32_t patience, double min_delta);
/* Adds one evaluation with n_means values, 1..SIGNATURE_TASKS_MAX, and returns whether to stop. A
 * mean that is not finite is no improvement. */
bool stop_rule_add(struct stop_rule *rule, const double *means, uint32_t n_means);

#endif
