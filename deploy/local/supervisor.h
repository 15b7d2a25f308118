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

#include "common/base/peek.h"

#define SUPERVISOR_CHILDREN_MAX 64
#define SUPERVISOR_EXIT_FINAL   2 /* a child's exit status: starting it again will not help */

struct supervisor;

struct supervisor_options {
    const char *run_dir;
    struct peek_access access; /* with which processes are asked what they do */
    unsigned max_crashes;      /* in a row, of one process */
    uint64_t stop_ms;          /* between SIGTERM and SIGKILL */
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

/* How a process takes part in the run. */
enum child_flags {
    CHILD_GOAL = 1,  /* the run is over when all of these are done */
    CHILD_LAST = 2,  /* a server: it is ended after the others */
    CHILD_AGAIN = 4, /* though done, it is started again with every goal process that is restarted:
                        that one may have died before it learned from this one that the run ended */
    CHILD_AFTER = 8, /* it is started when all other goal processes are done */
};

struct child_spec {
    const char *role;       /* "learner" */
    int index, count;       /* the label is ROLE where count is 1, else ROLE-INDEX */
    const char *binary;     /* path */
    char *const *arguments; /* NULL-terminated, without argv[0] */
    unsigned flags;         /* enum child_flags */
};

/* Adds one process; call it before supervisor_run. All of `spec` is copied. FULL, NO_MEMORY. */
status supervisor_add(struct supervisor *supervisor, const struct child_spec *spec,
                      struct err *err) MUST_CHECK;

/* Starts all and returns when all have ended. FAILED leaves in `err` which process and why: INVALID
 * where it left with SUPERVISOR_EXIT_FINAL. */
enum supervisor_end supervisor_run(struct supervisor *supervisor, struct err *err);

/* After FAILED, what that process said last: its last error, or the end of its log. Valid until
 * supervisor_free. */
const char *supervisor_reason(struct supervisor *supervisor);

#endif
