/* Policies that a run keeps so that one of them can be chosen when it has ended:
 *
 *     RUN_DIR/candidates/step-00001000.safetensors
 *
 * Every k-th publication is kept, where k is the smallest power of two with which there are at most
 * as many as were asked for. So the kept ones are spread evenly over the run, however long it is,
 * and which they are is a function of the step alone: a learner that is started again keeps the
 * same ones. The last policy of a run is not among them: it is policy_learner.safetensors. */
#ifndef HINDCAST_LEARNER_RUN_CANDIDATES_H
#define HINDCAST_LEARNER_RUN_CANDIDATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

/* k after `published` publications (1 or more) of which at most `most` (1 or more) are kept. */
uint64_t candidates_stride(uint64_t published, uint64_t most);

/* Keeps the package of publication number step / publish_every where it is due, and removes those
 * that no longer are. IO, FULL, NO_MEMORY: the folder may have more than `most`. */
status candidates_keep(const char *run_dir, uint64_t step, uint64_t publish_every, uint64_t most,
                       const void *package, size_t size, struct err *err) MUST_CHECK;

/* Removes all of them: what is there when a new run begins is of another one. */
void candidates_clear(const char *run_dir);

#endif
