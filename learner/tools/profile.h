/* hindcast-learner --profile=N: where a step's time goes, on this machine, with these batches.
 *
 * Learns N steps in memory, from the newest checkpoint or afresh, with batches of the replay
 * server, and throws away what it learned: nothing is written or published, and a learner that runs
 * in RUN_DIR is not disturbed but for the cores and the server that both use. (A table that meters
 * its samples counts these, too.) */
#ifndef HINDCAST_LEARNER_TOOLS_PROFILE_H
#define HINDCAST_LEARNER_TOOLS_PROFILE_H

#include <stdio.h>

#include "common/base/experiment.h"
#include "learner/run/options.h"

/* Measures options->profile steps after a few that are not; prints a table. TIMEOUT: no server, or
 * no batch, in a while. */
status profile_run(const struct experiment *experiment, const struct learner_options *options,
                   FILE *out, struct err *err) MUST_CHECK;

#endif
