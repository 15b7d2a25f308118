/* What a run came to: RUN_DIR/summary.json and a short table. */
#ifndef HINDCAST_LOCAL_SUMMARY_H
#define HINDCAST_LOCAL_SUMMARY_H

#include <stdbool.h>
#include <stdio.h>

#include "common/base/status.h"

/* Gathers what the processes left in RUN_DIR: evaluation.json (evaluator), learner.json (learner), and the returns of
 * the logs (restorer.json), writes summary.json, prints it as a table. A part that no process of the run makes is left out. */
status summary_make(const char *run_dir, const char *experiment, FILE *out, struct err *err) MUST_CHECK;

bool summary_is_there(const char *run_dir);

#endif
