/* What hindcast-learner does besides learning: --profile=N, --rerun_step=FILE. A command prints its
 * result and ends; it does not touch the run. */
#ifndef HINDCAST_LEARNER_TOOLS_COMMANDS_H
#define HINDCAST_LEARNER_TOOLS_COMMANDS_H

#include "common/base/experiment.h"
#include "learner/run/options.h"

/* Is a command asked for? */
bool commands_asked(const struct learner_options *options);
/* Runs the command and returns the exit code. --rerun_step: 0 the step is finite, 1 it fails again.
 * 2: an error, printed to standard error. */
int commands_run(const struct experiment *experiment, const struct learner_options *options);

#endif
