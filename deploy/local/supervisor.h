/* The processes of one run on one machine: started, watched, started again, ended in order.
 *
 * A run is over when every goal process (learner, evaluators, collectors) has left with 0. Then, or
 * on SIGINT or SIGTERM, or when a process is given up, all others get SIGTERM, the replay server
 * last, and SIGKILL when they take too long. A process that leaves with 2 cannot go on (its
 * configuration or data is bad) and is not started again. Each writes its log to
 * RUN_DIR/<role>[-<index>].log. Children live in sessions of their own, and are told to end when we
 * die. */
#ifndef HINDCAST_LOCAL_SUPERVISOR_H
#define HINDCAST_LOCAL_SUPERVISOR_H

#include <stdint.h>

#include "common/base/status.h"

#define SUPERVISOR_CHILDREN_MAX 64
#define SUPERVISOR_EXIT_FINAL   2 /* a child's exit status: starting it again will not help */

struct supervisor;

struct supervisor_options {
    const char *run_dir;
    unsigned max_crashes; /* in a row, of one process */
    uint64_t stop_ms;     /* between SIGTERM and SIGKILL */
};

enum supervisor_end { SUPERVISOR_OVER, SUPERVISOR_INTERRUPTED, SUPERVISOR_FAILED };

enum child_state { CHILD_WAITING, CHILD_RUNNING, CHILD_DONE, CHILD_FAILED };

/* What is known of one process, for the screen. */
struct child_view {
    const char *label; /* "learner", "collector-2" */
    enum child_state state;
    unsigned starts; /* how often it was started */
    double fraction; /* of its work; < 0: no end */
    char text[256];  /* its own words */
};

status supervisor_new(struct supervisor **supervisor, const struct supervisor_options *options,
                      struct err *err) MUST_CHECK;
void supervisor_free(struct supervisor *supervisor);

/* One more process. `role` is "learner" and so on; `binary` and `arguments` (NULL-terminated,
 * without argv[0]) are copied; `last`: ended after the others (servers); `goal`: the run is over
 * when it is done; `again`: though done, it is started again with every goal process that is, which
 * may have died before it learned from this one that the run has ended. Before supervisor_run. */
status supervisor_add(struct supervisor *supervisor, const char *role, int index, int count,
                      const char *binary, char *const *arguments, bool goal, bool last, bool again,
                      struct err *err) MUST_CHECK;

/* Starts all and returns when all have ended. FAILED leaves in `err` which process and why, with
 * the end of its log. */
enum supervisor_end supervisor_run(struct supervisor *supervisor, struct err *err);

#endif
