/* The choice of an evaluation becomes the run's policy.
 *
 *     RUN_DIR/policy.safetensors        the policy with the best value, as it was published, with the
 *                                       notes offline_value, offline_value_low, offline_value_high
 *     RUN_DIR/policy_last.safetensors   the last one, as the learner left it */
#ifndef HINDCAST_OFFLINE_EVALUATOR_CHOICE_H
#define HINDCAST_OFFLINE_EVALUATOR_CHOICE_H

#include "offline_evaluator/evaluation.h"

/* Files are replaced whole. NOT_FOUND: the run has no last policy. */
status choice_make(const struct evaluation *evaluation, struct err *err) MUST_CHECK;

#endif
