/* Follows a run: measures the learner's snapshots one after another, keeps the best policy, ends the
 * run when the stop rule asks for it, and, when it has ended, measures the final report.
 *
 * One thread of its own. In RUN_DIR (docs/storage.md; evaluators with index > 0 put -INDEX before
 * the first dot):
 *
 *     evaluator.jsonl            a line per evaluation
 *     policy.safetensors         the best policy so far by running evaluations
 *     policy_last.safetensors    the last one; written when the run has ended
 *     evaluation.json            the final report; written last
 *
 * These files are all its state: a restarted evaluator continues from them. A new run in the same
 * folder (another run_id) starts a new count; the lines of the other run stay. */
#ifndef HINDCAST_EVALUATOR_FOLLOW_H
#define HINDCAST_EVALUATOR_FOLLOW_H

#include "common/base/process.h"
#include "evaluator/options.h"

struct follow;

/* Opens the environments and the files, and starts the thread, which stops the process when all is
 * done or an error ends it. rpc_init first. All arguments are borrowed until follow_free. */
status follow_start(struct follow **follow, struct process *process,
                    const struct experiment *experiment, const struct evaluator_options *options,
                    struct err *err) MUST_CHECK;
/* Waits for the thread, which ends soon after process_stop, and closes the client. NULL is fine. */
void follow_join(struct follow *follow);
/* After follow_join, and after the admin page can no longer ask for follow_page. NULL is fine. */
void follow_free(struct follow *follow);

/* For the admin page: all evaluations so far, as history_page. Any thread. */
char *follow_page(void *follow);

#endif
