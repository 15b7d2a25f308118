/* Measures one policy file without any server: hindcast-evaluator --policy=FILE --environment=NAME. */
#ifndef HINDCAST_EVALUATOR_ONE_SHOT_H
#define HINDCAST_EVALUATOR_ONE_SHOT_H

#include <stdio.h>

#include "evaluator/options.h"

/* Measures options->policy as report_policy does; prints a table to `table` and one line of JSON
 * to `json`. */
status one_shot(const struct experiment *experiment, const struct evaluator_options *options,
                FILE *table, FILE *json, struct err *err) MUST_CHECK;

#endif
