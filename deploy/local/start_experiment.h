/* `hindcast dataset start`: an experiment for logs, proposed from what they hold.
 *
 * The rules are ours (docs/logs.md, "The experiment that is proposed"); each line of the experiment
 * says in a comment why it has its value. */
#ifndef HINDCAST_DEPLOY_LOCAL_START_EXPERIMENT_H
#define HINDCAST_DEPLOY_LOCAL_START_EXPERIMENT_H

#include <stdio.h>

#include "common/logs/source/source_summary.h"

struct start_inputs {
    const char *path;    /* of the logs, as the user gave it */
    const char *mapping; /* file; NULL: none was given */
    const char *notes;   /* about a proposed mapping, line by line; NULL: there is none */
    const struct signature *signature;
    struct dataset_summary *summary; /* of all the logs */
};

/* Writes the experiment to `out` as YAML that `hindcast up` accepts, and what the user has to
 * confirm to `questions`, a line for each. INVALID: no episode is good. */
status start_experiment(const struct start_inputs *inputs, FILE *out, FILE *questions,
                        struct err *err) MUST_CHECK;

/* ---- The rules ---- */

struct start_settings {
    uint32_t horizon; /* steps that count: 1 / (1 - gamma) */
    uint64_t steps;
    double eps;
    double reward_scale;
};

/* The settings that follow from sizes alone: `T_mean` transitions in an episode, `transitions` in
 * all, A action dimensions, and rewards of root mean square `reward_size` (0: there are none). */
struct start_settings start_settings(double T_mean, uint64_t transitions, uint32_t A,
                                     double reward_size);

#endif
