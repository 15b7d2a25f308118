/* What the training thread says of itself: the status line, the state that Progress answers, and
 * the log where it waits. Training thread only. */
#ifndef HINDCAST_LEARNER_RUN_ANNOUNCER_H
#define HINDCAST_LEARNER_RUN_ANNOUNCER_H

#include "common/base/process.h"
#include "learner/run/options.h"
#include "learner/run/reporter.h"
#include "learner/run/run.h"

/* The first four are borrowed, the rest begins as 0. */
struct announcer {
    struct process *process;
    struct publisher *publisher; /* NULL: nobody asks for Progress */
    const struct learner_options *options;
    const struct run *run;
    uint64_t status_ns;   /* of the last announcer_learning */
    uint64_t wait_log_ns; /* of the last line in the log about waiting */
};

/* For status line and Progress alike. */
void announcer_say(struct announcer *announcer, const char *format, ...) PRINTF_LIKE(2, 3);
/* Says what it waits for; in the log at once, then rarely. */
void announcer_waiting(struct announcer *announcer, const char *what);
/* Of a run that learns: `report` is the last step's, `shown` the last with diagnostics. Cheap when
 * called too soon. */
void announcer_learning(struct announcer *announcer, const struct report *report,
                        const struct report *shown, struct reporter_rates rates);
/* Progress of a run that is over; nothing about its steps where `shown` is empty. */
void announcer_finished(struct announcer *announcer, const struct report *shown);

#endif
