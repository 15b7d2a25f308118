/* The learning curves for TensorBoard: RUN_DIR/tensorboard/evaluator[-1..]. The same numbers as in
 * evaluator.jsonl, at the learner's steps. One thread. */
#ifndef HINDCAST_EVALUATOR_CURVES_H
#define HINDCAST_EVALUATOR_CURVES_H

#include "common/base/json.h"

struct curves;

/* Opens a new file. `seen_step`: the learner step of this run's last evaluation on disk; < 0: there is
 * none, and the points already in the folder, which are of other runs, are void. */
status curves_open(struct curves **curves, const char *folder, double seen_step,
                   struct err *err) MUST_CHECK;
void curves_close(struct curves *curves); /* NULL is fine */

/* Adds one evaluation, a record of evaluator.jsonl: return_mean, best_return_mean, seconds, and for
 * each task return_mean/TASK, .. for min, median, max and std, and success_rate/TASK where success is
 * defined. */
void curves_add(struct curves *curves, const cJSON *record, double best);

#endif
