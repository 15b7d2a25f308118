/* The learner step: a function of (state, batch, noise). docs/maths.md, section 3.
 *
 *     update_new
 *     repeatedly:  update_gradients, [exchange with the other ranks], update_apply
 *     update_free
 *
 * Threads: an update has its own thread pool, each thread working on its own snippets; all calls
 * come from one thread. Nothing is allocated after update_new. The same seed, batch and number of
 * threads give the same bits; other numbers of threads or ranks give the same within rounding,
 * since only the order of the final sums differs. */
#ifndef HINDCAST_LEARNER_STEP_UPDATE_H
#define HINDCAST_LEARNER_STEP_UPDATE_H

#include <stddef.h>

#include "common/base/status.h"
#include "learner/step/batch.h"
#include "learner/step/phases.h"
#include "learner/step/report.h"
#include "learner/step/settings.h"
#include "learner/step/state.h"

struct update;

/* For batches of up to B snippets of up to N transitions, on `threads` threads (1 or more). Copies
 * `settings`, which settings_check has passed. NO_MEMORY. */
status update_new(struct update **update, const struct settings *settings, int B, int N,
                  int threads, struct err *err) MUST_CHECK;
void update_free(struct update *update);

/* What several learners add up, element by element and in the order of ranks, between
 * update_gradients and update_apply. They are sums over states, not means, so that no weights are
 * needed. Valid until update_apply; may be overwritten in place with the total. Padding elements
 * are 0. */
struct update_sums {
    float *gradients; /* (n_gradients) of all networks, under the state's layout */
    size_t n_gradients;
    double *scalars; /* (n_scalars) for reports and duals: numbers of states, losses, KLs */
    size_t n_scalars;
};

/* Gradients of this rank's batch at `state`, which is not changed. `noise` NULL: drawn from
 * (settings.seed, state.step). INVALID for a batch out of range. */
status update_gradients(struct update *update, const struct state *state, const struct batch *batch,
                        const struct noise *noise, struct err *err) MUST_CHECK;
struct update_sums update_sums(struct update *update);

/* Means, clipping, one Adam step for each network and dual, target copies where due. CORRUPT,
 * naming the quantity and the step, when a loss or a gradient norm is not finite: `state` is then
 * what it was before the step, and the report has all of its quantities. `report` may be NULL. */
status update_apply(struct update *update, struct state *state, struct report *report,
                    struct err *err) MUST_CHECK;

/* update_gradients and update_apply: a learner on its own. */
status update_step(struct update *update, struct state *state, const struct batch *batch,
                   const struct noise *noise, struct report *report, struct err *err) MUST_CHECK;

/* Of snippet b of the last update_gradients, over all tasks that it trains. */
struct td_error update_td_error(const struct update *update, int b);

/* What the report of a step from `state` on this batch would say, its norms aside; nothing is learned.
 * Not between update_gradients and update_apply, whose gradients it overwrites. The state, the noise
 * of steps and what they compute stay as they are. */
status update_judge(struct update *update, const struct state *state, const struct batch *batch,
                    struct report *report, struct err *err) MUST_CHECK;

/* The means of the gradients, before clipping, of the last update_apply, under the state's layout,
 * duals included. For checks against reference cases; valid until the next update_gradients. */
const float *update_last_gradients(struct update *update);

/* Where the time of the last step went, from PHASE_LOAD to PHASE_APPLY. What threads do in parallel
 * counts as their mean, so that the sum is the step's time. */
const struct phases *update_phases(const struct update *update);
/* How long thread i (of `threads`) worked on the last gradients. */
uint64_t update_busy_ns(const struct update *update, int i);

/* Bytes of memory of the update: packed weights, and each thread's gradients and arena. */
size_t update_bytes(const struct update *update);

/* Nominal work of one step in FLOP (matrix products only; docs/maths.md, section 6), with S valid
 * states and U snippets, both times T. */
double update_nominal_flop(const struct settings *settings, double S, double U);
/* The same for each phase: 0 where there are no matrix products. */
void update_nominal_phases(const struct settings *settings, double S, double U,
                           double flop[PHASES]);

#endif
