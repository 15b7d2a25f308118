/* What hindcast-learner does besides learning: --profile=N, --rerun_step=FILE. They end when they
 * have printed what was asked for, and leave the run alone. */
#ifndef HINDCAST_LEARNER_TOOLS_COMMANDS_H
#define HINDCAST_LEARNER_TOOLS_COMMANDS_H

#include "common/base/experiment.h"
#include "learner/run/options.h"

/* Is one of them asked for? */
bool commands_asked(const struct learner_options *options);
/* Does it; returns the exit code. --rerun_step: 0 the step is finite, 1 it fails again. 2: an
 * error, told on stderr. */
int commands_run(const struct experiment *experiment, const struct learner_options *options);

#endif
