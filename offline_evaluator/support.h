/* Do a policy's actions leave what was logged?
 *
 * For states of the logs, the distance of (state, the policy's action) to the nearest logged pair of
 * another episode, over that of the pair that was logged; the median. About 1: the policy's actions
 * are like those of the logs. Observations and actions are normalized to a std of 1. Ours. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_SUPPORT_H
#define HINDCAST_OFFLINE_EVALUATOR_SUPPORT_H

#include "offline_evaluator/policies.h"

/* Above this a report warns. Ours. */
#define SUPPORT_LIMIT 1.5

/* support(policies K + 1) <- of each column (policies.h) but the last, which is set to 1.
 * x(n_rows,O) normalized observations. NO_MEMORY. */
status support_measure(double *support, const struct logged_data *data, const float *x,
                       const struct policies *policies, uint64_t seed, struct thread_pool *pool,
                       struct err *err) MUST_CHECK;

#endif
