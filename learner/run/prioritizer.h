/* Prioritized replay on the learner's side: the importance weights of a batch, and the priorities
 * that follow from the step on it. docs/maths.md, section 9.
 *
 *     w_b = ratio_b ^ -importance_exponent
 *     p_b = priority_mix max_t |delta_t| + (1 - priority_mix) mean_t |delta_t| + priority_offset
 *
 * ratio_b is the probability of the snippet's start over that in an even draw; the step divides
 * weights by their largest. An episode's priority is the mean of p_b over its snippets since it was
 * sent last. Each rank sends those of its own snippets. Training thread only. */
#ifndef HINDCAST_LEARNER_RUN_PRIORITIZER_H
#define HINDCAST_LEARNER_RUN_PRIORITIZER_H

#include "common/clients/replay_sampler.h"
#include "learner/run/options.h"
#include "learner/step/update.h"

struct prioritizer;

/* For batches of up to B snippets from the options' table. *prioritizer <- NULL where
 * learner.priorities is none. `experiment` and `options` are borrowed. */
status prioritizer_new(struct prioritizer **prioritizer, const struct experiment *experiment,
                       const struct learner_options *options, size_t B, struct err *err) MUST_CHECK;
/* Sends what waits, as replay_priorities_close has it. NULL is fine. */
void prioritizer_free(struct prioritizer *prioritizer);

/* weights(snippets) of a batch that has origins; valid until the next call. NULL from NULL. */
const double *prioritizer_weights(struct prioritizer *prioritizer,
                                  const struct replay_batch *batch);
/* After a step on this batch: sends its priorities, where learner.priorities is td_error. NULL is
 * fine. */
void prioritizer_note(struct prioritizer *prioritizer, const struct replay_batch *batch,
                      const struct update *update);

#endif
