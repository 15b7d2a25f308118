/* The result of an evaluation as JSON; docs/offline_evaluation.md describes every field. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_REPORT_H
#define HINDCAST_OFFLINE_EVALUATOR_REPORT_H

#include "offline_evaluator/evaluation.h"

/* order(policies) <- from the best value to the worst. */
void report_order(const struct evaluation *evaluation, size_t *order);

/* Writes the file. NO_MEMORY, IO, FULL. */
status report_write(const struct evaluation *evaluation, const char *path,
                    struct err *err) MUST_CHECK;

/* Is the critics' value of the behaviour that which is known? False where neither interval reaches
 * the other, with a tenth of the spread of the policies' values to spare. */
bool report_behaviour_fits(const struct evaluation *evaluation, size_t k);

#endif
