/* Takes a failed step again and finds the place where numbers stop being finite, in the order in
 * which a step makes them: the batch's columns, the parameters, each layer of each network, losses,
 * gradients. */
#ifndef HINDCAST_LEARNER_RUN_POST_MORTEM_H
#define HINDCAST_LEARNER_RUN_POST_MORTEM_H

#include <stdio.h>

#include "learner/step/failed_step.h"

/* Prints a table to `out`: for each quantity its largest finite magnitude and how many of its
 * numbers are not finite; then the first such place. *finite: the step was taken, and everything is
 * finite. The status tells whether the step could be taken, not whether it fails. */
status post_mortem(const struct failed_step *step, FILE *out, bool *finite,
                   struct err *err) MUST_CHECK;

#endif
