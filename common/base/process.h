/* What every Hindcast process has: a loop thread (main, one libuv loop) with signals and timers, an
 * admin page, a status line for the front end, and a bounded end.
 *
 *     process_open -> make parts, start threads -> process_run (returns when stopping)
 *                  -> end parts -> process_close
 */
#ifndef HINDCAST_BASE_PROCESS_H
#define HINDCAST_BASE_PROCESS_H

#include <stdint.h>
#include <uv.h>

#include "common/base/admin.h"
#include "common/base/experiment.h"
#include "common/base/status.h"

struct process;

/* `role` "learner", `index` of several of the same role (0 with `count` 1). Makes run_dir, opens
 * the log, the loop and the admin page (its address in RUN_DIR/<role>[-<index>].admin), blocks
 * SIGTERM and SIGINT for all threads started later (the loop takes them; one that comes earlier
 * makes process_run return at once, and ends a start that lasts 8 s longer), ignores SIGPIPE, takes
 * SIGALRM for itself. RETRY: no more threads can be made. With
 * HINDCAST_SUPERVISED=PID in the environment, its parent's, it gets SIGTERM when its parent dies;
 * CLOSED: it has died already. Before grpc_init. One per process. */
status process_open(struct process **process, const char *role, int index, int count,
                    const struct experiment *experiment, struct err *err) MUST_CHECK;

/* Would process_open refuse what the section says (the log's level, the admin page's address, tokens
 * and certificate)? Makes and opens nothing: for --check, and before other work. */
status process_check(const struct experiment *experiment, struct err *err) MUST_CHECK;

uv_loop_t *process_loop(struct process *process);
struct admin *process_admin(struct process *process);

/* Calls `tick` on the loop thread every `period_ms`. Before process_run; at most 16. */
void process_every(struct process *process, uint64_t period_ms, void (*tick)(void *arg), void *arg);

/* The one line that says where this process is: "step 1200/20000  23.1 steps/s  accepted 0.48". Any
 * thread. It is shown as a bar or line (progress), offered at /status (JSON: role, index, state,
 * fraction, text) and thus seen by `hindcast up`. `fraction` in 0..1, or < 0 where there is no end.
 */
void process_report(struct process *process, double fraction, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Runs the loop until SIGTERM, SIGINT or process_stop. From its return to process_close may take 60
 * s (or what process_set_end_limit said): a process that does not come to its end is ended with a
 * backtrace and exit code 1. */
void process_run(struct process *process);
/* Any thread; idempotent. `exit_code` is what process_close returns; the first one not 0 stays. */
void process_stop(struct process *process, int exit_code);
/* Has the end been asked for? Any thread; cheap. */
bool process_stopping(const struct process *process);

/* `limit_s` 1 or more. Before process_run returns. */
void process_set_end_limit(struct process *process, unsigned limit_s);

/* Closes admin page and loop, removes the address file. Handles of others on the loop must be
 * closed by then, or in closing: uv_loop_close must return 0. Returns the exit code. */
int process_close(struct process *process);

#endif
