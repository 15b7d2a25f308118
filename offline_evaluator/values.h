/* The last part of an evaluation: values at the starts, their intervals, the behaviour's, support. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_VALUES_H
#define HINDCAST_OFFLINE_EVALUATOR_VALUES_H

#include "offline_evaluator/evaluation.h"

/* Fills in the result of an evaluation whose critics are fitted; `starts`: the first state of each
 * episode where values are asked for. NO_MEMORY; CLOSED: stopping. */
status values_find(struct evaluation *evaluation, const struct logged_data *starts,
                   struct err *err) MUST_CHECK;

/* The largest support of policy p's columns, one for each task. */
double values_support(const struct evaluation *evaluation, size_t p);

#endif
