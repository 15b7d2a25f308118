/* One learner step of a run, from a received batch: draws the tasks, makes the update, adds
 * diagnostics when a report is due, and keeps the batch of a step that fails. Training thread
 * only. */
#ifndef HINDCAST_LEARNER_RUN_STEPPER_H
#define HINDCAST_LEARNER_RUN_STEPPER_H

#include "common/clients/replay_sampler.h"
#include "learner/exchange/exchange.h"
#include "learner/run/options.h"
#include "learner/run/run.h"
#include "learner/step/report.h"
#include "learner/step/update.h"

struct stepper;

/* For this run, whose state is there. All borrowed. */
status stepper_new(struct stepper **stepper, struct run *run, const struct learner_options *options,
                   struct err *err) MUST_CHECK;
void stepper_free(struct stepper *stepper);

/* Where several learners add up: called between gradients and step, with where the step begins. OK:
 * `sums` are the total. Otherwise no step is taken. */
typedef status stepper_meet(void *arg, const struct exchange_mark *mark, struct update_sums sums,
                            struct err *err);
void stepper_set_meeting(struct stepper *stepper, stepper_meet *meet, void *arg);

/* Steps the run's state. On failure the batch and the state that met it are kept in RUN_DIR, but
 * where it was the meeting that failed; the state is what it was. */
status stepper_take(struct stepper *stepper, const struct replay_batch *from,
                    struct err *err) MUST_CHECK;

/* What the steps are taken with, for update_judge between two of them. */
struct update *stepper_update(struct stepper *stepper);

/* Where its time went, from PHASE_LOAD to PHASE_REPORT. */
const struct phases *stepper_phases(const struct stepper *stepper);

/* Is a report due for the run's step: every so many steps, and at the last one? */
bool stepper_report_due(const struct stepper *stepper);
/* Of the last step; step 0: there was none. */
const struct report *stepper_report(const struct stepper *stepper);
/* Of the last step that was looked at closely: with diagnostics. */
const struct report *stepper_shown(const struct stepper *stepper);

#endif
