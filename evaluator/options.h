/* The `evaluator` section of an experiment file. */
#ifndef HINDCAST_EVALUATOR_OPTIONS_H
#define HINDCAST_EVALUATOR_OPTIONS_H

#include "common/base/experiment.h"

struct evaluator_options {
    int64_t
        index; /* of several evaluators of a run: 0 .. count - 1; they measure with other seeds */
    int64_t count;
    int64_t window_episodes; /* of each snapshot while the run goes on, per task */
    int64_t episodes;        /* of what is reported: best, last and prior at the end; --policy */
    int64_t threads;
    char act[CONFIG_TEXT_SIZE]; /* "mean" or "sample" */
    double min_interval_s;      /* from the start of one evaluation to the next */
    double learner_timeout_s;
    int64_t patience; /* evaluations without improvement after which the run ends; 0: never */
    double min_delta; /* what counts as one, in units of return */
    char save[CONFIG_TEXT_SIZE];   /* one shot: the episodes go here, as logs */
    char policy[CONFIG_TEXT_SIZE]; /* one shot: measure this file and leave */
};

struct config_section evaluator_section(struct evaluator_options *options);

/* Checks what one option cannot know of another. */
status evaluator_options_check(const struct evaluator_options *options,
                               const struct experiment *experiment, struct err *err) MUST_CHECK;

#endif
