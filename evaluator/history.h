/* All evaluations so far: RUN_DIR/evaluator.jsonl on disk, one JSON object a line, and the same in
 * memory for the admin page.
 *
 * Each line stands for itself: run_id, version, learner_step, wall_s, return_mean, best, tasks
 * (docs/storage.md). Lines are appended and synced; a line torn by a crash is cut off at the next
 * start. */
#ifndef HINDCAST_EVALUATOR_HISTORY_H
#define HINDCAST_EVALUATOR_HISTORY_H

#include "common/base/json.h"

struct history;

/* Reads what is there, or begins. CORRUPT names a line that is not ours. */
status history_open(struct history **history, const char *path, struct err *err) MUST_CHECK;
void history_close(struct history *history); /* NULL is fine */

/* Appends a record, and takes it in any case. */
status history_append(struct history *history, cJSON *record, struct err *err) MUST_CHECK;

/* The records, oldest first, as a JSON array: borrowed, for the thread that appends. */
const cJSON *history_records(const struct history *history);
/* Wall clock of the first start: what wall_s counts from. */
double history_started_s(const struct history *history);

/* {"evaluations": [..]}; mem_free. NULL when out of memory. Any thread: what the admin page
 * answers. */
char *history_page(struct history *history);

#endif
