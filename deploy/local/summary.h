/* What a run came to: RUN_DIR/summary.json and a short table. */
#ifndef HINDCAST_LOCAL_SUMMARY_H
#define HINDCAST_LOCAL_SUMMARY_H

#include <stdbool.h>
#include <stdio.h>

#include "common/base/status.h"

/* Gathers what the processes left in RUN_DIR: the returns of the logs (whose folder restorer.json
 * names), evaluation.json, the last line of learner.jsonl; writes summary.json, prints it as a
 * table. A part that no process of the run makes is left out. `chose_offline`: its policy was chosen
 * by an offline evaluator, whose report is shown, too. `wall_seconds` is how long the run took. */
status summary_make(const char *run_dir, bool chose_offline, double wall_seconds, FILE *out,
                    struct err *err) MUST_CHECK;

bool summary_is_there(const char *run_dir);

#endif
