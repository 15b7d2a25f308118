/* How a run does on snippets that it learns from and on held-out ones, a fixed sample of each
 * (validation_sample.h): where the two part, it overfits. docs/held_out.md.
 *
 * Each side has a report, of
 *
 *     critic_loss            (1)  as in a step; so is critic2_loss
 *     prior_log_likelihood   (1)  mean over starts and tasks of log prior(a | s), a as logged
 *     policy_log_likelihood  (1)  the same of the policy
 *     q_bias                 (K)  mean over starts of Q(s, a) - R, in the units of the logs
 *     q_correlation          (K)  Pearson's, over starts; left out where Q or R does not vary
 *
 * of which an algorithm has those whose network it has. R is the discounted logged return; the V by
 * which it goes on where a log ends without termination is Q at the mean action of what acts.
 *
 * Nothing of the run changes by it. Training thread only. */
#ifndef HINDCAST_LEARNER_RUN_VALIDATION_H
#define HINDCAST_LEARNER_RUN_VALIDATION_H

#include "learner/run/validation_sample.h"
#include "learner/step/update.h"

enum validation_side { VALIDATION_TRAIN, VALIDATION_HOLDOUT, VALIDATION_SIDES };
const char *validation_side_name(enum validation_side side); /* "train", "holdout" */

struct validation;

/* Draws both samples: `draw` with its table, and with that of the held-out episodes. NOT_FOUND: the
 * run has none, or its tables still grow. CLOSED: leaving. */
status validation_new(struct validation **validation, const struct validation_draw *draw,
                      const struct state *state, struct err *err) MUST_CHECK;
void validation_free(struct validation *validation);

/* The reports at `state`; `update` as update_judge takes it, for batches of up to B snippets. */
status validation_judge(struct validation *validation, struct update *update, int B,
                        const struct state *state, struct err *err) MUST_CHECK;
/* Of the last validation_judge; n_values 0: there was none. */
const struct report *validation_report(const struct validation *validation,
                                       enum validation_side side);
/* What its table holds. */
struct replay_sampler_table validation_table(const struct validation *validation,
                                             enum validation_side side);

#endif
