/* Reports of a learner's steps: lines of learner.jsonl, metrics, points for TensorBoard, Progress.
 * Training thread only.
 *
 * A line of RUN_DIR/learner.jsonl, every `report_every` steps:
 *
 *     {"step":1200,"time":1769860800.5,"learning_seconds":61.2,"steps_per_second":23.1,
 *      "wait_share":0.01,"version":13,"phase_ms":{"wait":0.1,"value":11.2,..},
 *      "critic_loss":0.31,"accepted":0.48,"eta":[4.1],..}                            on one line
 *
 * phase_ms: where the time of a step went, the mean since the line before [ms]. Vectors are
 * arrays. */
#ifndef HINDCAST_LEARNER_RUN_REPORTER_H
#define HINDCAST_LEARNER_RUN_REPORTER_H

#include "common/base/status.h"
#include "learner/run/publisher.h"
#include "learner/run/validation.h"
#include "learner/step/phases.h"
#include "learner/step/report.h"

struct reporter;

/* Appends to RUN_DIR/learner.jsonl and holdout.jsonl, and begins an event file in RUN_DIR/tensorboard/learner. Lines
 * of steps after `step`, which a resumed run takes again, are removed, as is a line that a crash
 * left unfinished; lines that cannot be read stay where they are. TensorBoard drops points of such
 * steps. A file of another run (step 0) is renamed to learner.jsonl.previous. */
status reporter_open(struct reporter **reporter, const char *run_dir, uint64_t step,
                     struct err *err) MUST_CHECK;
void reporter_close(struct reporter *reporter);

/* Adds to the time that the training thread has spent. */
void reporter_spent(struct reporter *reporter, const struct phases *phases);
/* Counts one step. `phases` is its time, with the wait for its batch. */
void reporter_step(struct reporter *reporter, uint64_t step, const struct phases *phases);

/* Steps per second and share of waiting since the last reporter_line. */
struct reporter_rates {
    double steps_per_second;
    double wait_share; /* 0..1 */
};
struct reporter_rates reporter_rates(const struct reporter *reporter);

/* Writes the line and the points, and sets the metrics. On a full disk the line is lost, with a
 * warning. */
void reporter_line(struct reporter *reporter, const struct report *report, double learning_seconds,
                   uint64_t version);

/* Writes one line of RUN_DIR/holdout.jsonl, sets gauges and adds points for both sides of a
 * validation:
 *
 *     {"step":1200,"time":..,"learning_seconds":..,"version":13,
 *      "train":{"episodes":90,"transitions":9000,"critic_loss":0.31,..,"q_bias":[0.02],..},
 *      "holdout":{..}}                                                             on one line
 *
 * On a full disk the line is lost, with a warning. */
void reporter_validation(struct reporter *reporter, const struct validation *validation,
                         double learning_seconds, uint64_t version);

/* The reports as Progress shows them: vectors as their means. */
void reporter_progress(const struct report *report, struct publisher_progress *progress);
/* Mean of a named quantity, or NAN where there is none. */
double reporter_mean(const struct report *report, const char *name);

#endif
