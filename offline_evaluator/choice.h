/* The choice of an evaluation becomes the run's policy.
 *
 * The last policy is chosen unless another one is clearly better: one whose interval lies above that
 * of the last, and whose actions do not leave the data. Of several such, the one with the best
 * value. The interval of their difference would be the sharper test, but what all critics or models
 * get wrong is in neither, and it chose worse policies than the last (docs/offline_evaluation.md).
 *
 *     RUN_DIR/policy.safetensors        the chosen policy, as it was published, with the notes
 *                                       offline_value, offline_value_low, offline_value_high
 *     RUN_DIR/policy_last.safetensors   the last one, as the learner left it */
#ifndef HINDCAST_OFFLINE_EVALUATOR_CHOICE_H
#define HINDCAST_OFFLINE_EVALUATOR_CHOICE_H

#include "offline_evaluator/evaluation.h"

/* Which policy is chosen; the number of policies where none of them is the last of a run. */
size_t choice_find(const struct evaluation *evaluation);

/* Files are replaced whole. NOT_FOUND: the run has no last policy. */
status choice_make(const struct evaluation *evaluation, struct err *err) MUST_CHECK;

#endif
