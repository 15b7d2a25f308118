/* Takes a failed step again, and looks for the place where numbers stop being finite: in the order
 * in which a step makes them, from the batch's columns over each layer of each network to losses
 * and gradients. */
#ifndef HINDCAST_LEARNER_RUN_POST_MORTEM_H
#define HINDCAST_LEARNER_RUN_POST_MORTEM_H

#include <stdio.h>

#include "learner/step/failed_step.h"

/* Prints a table to `out`: of each quantity its largest finite magnitude and how many of its
 * numbers are not finite; then the first such place. *finite: the step was taken, and all of it is
 * finite. Errors are those of the machinery, not of the step. */
status post_mortem(const struct failed_step *step, FILE *out, bool *finite,
                   struct err *err) MUST_CHECK;

#endif
