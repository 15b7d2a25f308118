/* The `offline_evaluator` section of the configuration. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_OPTIONS_H
#define HINDCAST_OFFLINE_EVALUATOR_OPTIONS_H

#include "common/base/config.h"
#include "common/base/experiment.h"

#define EVALUATION_CRITICS_MAX 16

struct offline_evaluator_options {
    struct config_texts policies; /* files; empty: what the run keeps */
    bool priors;
    char table[CONFIG_TEXT_SIZE];
    int64_t max_transitions;
    char method[CONFIG_TEXT_SIZE];
    double gamma;
    char acting[CONFIG_TEXT_SIZE];
    int64_t samples, candidates;
    int64_t steps, batch_transitions, critics;
    double warm_up;
    struct config_ints widths;
    double lr, target_rate;
    char precision[CONFIG_TEXT_SIZE];
    int64_t resamples;
    double level;
    int64_t threads;
    char kernels[CONFIG_TEXT_SIZE];
    double checkpoint_every_seconds;
    bool choose;
    char report[CONFIG_TEXT_SIZE];
};

/* The table for config_load, with `values` pointing to `options`. */
struct config_section offline_evaluator_section(struct offline_evaluator_options *options);

/* What can be checked before anything is read. INVALID names the option. */
status offline_evaluator_options_check(const struct offline_evaluator_options *options,
                                       struct err *err) MUST_CHECK;

#endif
