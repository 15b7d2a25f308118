/* Decides when learning has stopped improving. A pure core that gets, for each evaluation, one mean
 * return or several (one for each task), always the same number of them.
 *
 *   rolling_i = mean of mean_i over the last `window` evaluations; none before there are so many
 *   value i improved  iff  rolling_i > reference_i + min_delta;  then reference_i <- rolling_i
 *   stop              iff  no value improved in any of the last `patience` evaluations
 *                          (patience 0: never)
 *
 * The first rolling mean sets the references. Source: the paper's robot runs, which tested the policy
 * again and again and ended when the mean return of the last 50 episodes stopped improving; it does
 * not say after how many, so patience and min_delta are ours, as is watching tasks apart. */
#ifndef HINDCAST_EVALUATOR_STOP_RULE_H
#define HINDCAST_EVALUATOR_STOP_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/trajectory/signature.h"

#define STOP_RULE_WINDOW_MAX 100

struct stop_rule {
    double min_delta; /* >= 0, units of return */
    uint32_t patience;
    uint32_t window;                                          /* 1 .. STOP_RULE_WINDOW_MAX */
    double recent[STOP_RULE_WINDOW_MAX][SIGNATURE_TASKS_MAX]; /* ring, by evaluation */
    double references[SIGNATURE_TASKS_MAX]; /* rolling means at the last improvements */
    uint32_t n;                             /* evaluations seen */
    uint32_t without;                       /* since the last improvement of any value */
};

void stop_rule_init(struct stop_rule *rule, uint32_t patience, double min_delta, uint32_t window);
/* Adds one evaluation with n_means values, 1..SIGNATURE_TASKS_MAX, and returns whether to stop. A
 * mean that is not finite is no improvement. */
bool stop_rule_add(struct stop_rule *rule, const double *means, uint32_t n_means);

#endif
