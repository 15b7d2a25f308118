/* The learning curves for TensorBoard: RUN_DIR/tensorboard/evaluator[-1..]. The same numbers as in
 * evaluator.jsonl, at the learner's steps. One thread. */
#ifndef HINDCAST_EVALUATOR_CURVES_H
#define HINDCAST_EVALUATOR_CURVES_H

#include "common/base/json.h"

struct curves;

/* A new file. `seen_step`: of the last evaluation of this run that is on disk; < 0: none, and what
 * is in the folder is of other runs, and void. */
status curves_open(struct curves **curves, const char *folder, double seen_step,
                   struct err *err) MUST_CHECK;
void curves_close(struct curves *curves); /* NULL is fine */

/* One evaluation, as it stands in evaluator.jsonl: return_mean, best_return_mean, seconds, and of
 * each task return_mean/TASK, .. for min, median, max and std. */
void curves_add(struct curves *curves, const cJSON *record, double best);

#endif
