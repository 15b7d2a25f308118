/* What a report adds to the step's own: quantities of the distributions that the losses do not
 * need. Looked at once per report, at the first row of each snippet (task b mod K for snippet b).
 *
 *     policy_std     (A)  std of the policy, mean over states
 *     prior_std      (A)  std of the prior
 *     prior_floor    (1)  share of the prior's stds within 1% of prior_min_std
 *     actions_at_end (1)  share of logged action dimensions with |a| = 1
 *     q_min, q_max   (1)  range of the critic at the logged actions
 *
 * of which an algorithm has those whose network it has. docs/maths.md, section 7. */
#ifndef HINDCAST_LEARNER_RUN_DIAGNOSTICS_H
#define HINDCAST_LEARNER_RUN_DIAGNOSTICS_H

#include "learner/step/batch.h"
#include "learner/step/report.h"
#include "learner/step/state.h"

struct diagnostics;

/* For up to B snippets. Nothing is allocated later. */
status diagnostics_new(struct diagnostics **diagnostics, const struct settings *settings,
                       const struct state *state, int B, struct err *err) MUST_CHECK;
void diagnostics_free(struct diagnostics *diagnostics);

/* Adds to `report` what is not there already. */
void diagnostics_add(struct diagnostics *diagnostics, const struct state *state,
                     const struct batch *batch, struct report *report);

#endif
