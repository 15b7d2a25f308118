/* The final report of a policy or a run: many episodes, from starts on which no choice was based. */
#ifndef HINDCAST_EVALUATOR_REPORT_H
#define HINDCAST_EVALUATOR_REPORT_H

#include "evaluator/measurement.h"
#include "evaluator/options.h"
#include "evaluator/policy_file.h"
#include "evaluator/run_files.h"

struct report_settings {
    const struct experiment *experiment;
    const struct evaluator_options *options;
    struct environment_pool *pool;
    bool (*stopping)(void *arg);
    void *arg;
};

/* Measures the policy in the file at `path` and, where its package has one, its prior. *report, which
 * the caller frees with cJSON_Delete:
 *
 *     {environment, seed, episodes, act, algorithm, learner_step, return_mean, tasks, ..,
 *      prior: {return_mean, tasks, ..}, prior_return_mean}
 *
 * Errors as measurement_take and policy_file_load. */
status report_policy(cJSON **report, const char *path, const struct report_settings *settings,
                     struct err *err) MUST_CHECK;

/* Reports the best policy of a run, with version, run_id and the evaluation that selected it, and the
 * last policy under "last"; writes evaluation.json. The caller frees *report with cJSON_Delete. */
status report_run(cJSON **report, const struct run_files *files,
                  const struct report_settings *settings, struct err *err) MUST_CHECK;

#endif
