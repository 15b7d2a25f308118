/* All evaluations so far: RUN_DIR/evaluator.jsonl on disk, one JSON object a line, and the same in
 * memory for the admin page.
 *
 * Each line is complete in itself: run_id, version, learner_step, wall_s, return_mean, best, tasks
 * (docs/storage.md). Lines are appended and synced. A line that cannot be written is removed again
 * (common/base/line_file.h); one that cannot be read is skipped. */
#ifndef HINDCAST_EVALUATOR_HISTORY_H
#define HINDCAST_EVALUATOR_HISTORY_H

#include "common/base/json.h"

struct history;

/* Reads the file, or creates it. Unreadable lines are logged and skipped. Errors as line_file_open. */
status history_open(struct history **history, const char *path, struct err *err) MUST_CHECK;
void history_close(struct history *history); /* NULL is fine */

/* Appends a record; takes ownership of it, also on error. */
status history_append(struct history *history, cJSON *record, struct err *err) MUST_CHECK;

/* The records, oldest first, as a JSON array; borrowed. Only for the thread that appends. */
const cJSON *history_records(const struct history *history);
/* Wall clock of the first start, from which wall_s counts. */
double history_started_s(const struct history *history);

/* The page /evaluations.json: {"evaluations": [..]}; the caller frees it with mem_free. NULL when out
 * of memory. Any thread. */
char *history_page(struct history *history);

#endif
