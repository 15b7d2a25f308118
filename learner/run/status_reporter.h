/* What the training thread shows of its state while it runs: the status line, the answer to
 * Progress, and a line in the log when it has to wait. Reports of steps are reporter.h's.
 * Training thread only. */
#ifndef HINDCAST_LEARNER_RUN_STATUS_REPORTER_H
#define HINDCAST_LEARNER_RUN_STATUS_REPORTER_H

#include "common/base/process.h"
#include "learner/run/options.h"
#include "learner/run/reporter.h"
#include "learner/run/run.h"

/* The first four are borrowed, the rest begins as 0. */
struct status_reporter {
    struct process *process;
    struct publisher *publisher; /* NULL: this rank serves no Progress */
    const struct learner_options *options;
    const struct run *run;
    uint64_t status_ns;   /* of the last status_reporter_learning */
    uint64_t wait_log_ns; /* of the last line in the log about waiting */
    char held_out[128];   /* of the last version that was judged */
};

/* Sets the text of the status line and of Progress. */
void status_reporter_say(struct status_reporter *reporter, const char *format, ...)
    PRINTF_LIKE(2, 3);
/* Shows what the thread waits for: "for a batch". Logs it at once, then at most every 30 s. */
void status_reporter_waiting(struct status_reporter *reporter, const char *what);
/* Shows the last step. `report` is that step's, `shown` the last one with diagnostics. Does nothing
 * within half a second of the last call that did. */
void status_reporter_learning(struct status_reporter *reporter, const struct report *report,
                              const struct report *shown, struct reporter_rates rates);
/* What the status line says from here on about both sides of a validation. */
void status_reporter_validated(struct status_reporter *reporter, const struct report *train,
                               const struct report *holdout);
/* Shows that the run is over; says nothing about its steps where `shown` is empty. */
void status_reporter_finished(struct status_reporter *reporter, const struct report *shown);

#endif
