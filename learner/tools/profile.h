/* hindcast-learner --profile=N: where the time of a step goes, on this machine, with these batches.
 *
 * Takes N steps in memory, from the newest checkpoint or from a new state, with batches of the
 * replay server, and drops the result: nothing is written or published. A learner that runs in
 * RUN_DIR only shares the cores and the server. (A table that limits its samples counts these,
 * too.) */
#ifndef HINDCAST_LEARNER_TOOLS_PROFILE_H
#define HINDCAST_LEARNER_TOOLS_PROFILE_H

#include <stdio.h>

#include "common/base/experiment.h"
#include "learner/run/options.h"

/* Takes a few steps to warm up, measures options->profile steps and prints a table. TIMEOUT: no
 * server answered, or no batch came, within 30 s. */
status profile_run(const struct experiment *experiment, const struct learner_options *options,
                   FILE *out, struct err *err) MUST_CHECK;

#endif
