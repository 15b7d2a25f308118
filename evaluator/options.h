/* The `evaluator` section of an experiment file. */
#ifndef HINDCAST_EVALUATOR_OPTIONS_H
#define HINDCAST_EVALUATOR_OPTIONS_H

#include "common/base/experiment.h"

struct evaluator_options {
    int64_t index; /* of several evaluators of a run: 0 .. count - 1; each has seeds of its own */
    int64_t count;
    int64_t window_episodes; /* of each snapshot while the run goes on, per task */
    int64_t episodes;        /* of the final report (best, last, prior) and --policy, per task */
    int64_t threads;
    int64_t environments;       /* open at the same time; 0: as many as suit the threads */
    char act[CONFIG_TEXT_SIZE]; /* "mean" or "sample" */
    int64_t candidates;         /* at most, of a policy that acts by an argmax; 1: its mean */
    double min_interval_s;      /* from the start of one evaluation to the next */
    double learner_timeout_s;
    int64_t patience;    /* evaluations without improvement after which the run ends; 0: never */
    int64_t stop_window; /* evaluations whose mean the stop rule compares */
    double min_delta;    /* an improvement exceeds the best by more than this, in units of return */
    char improvement[CONFIG_TEXT_SIZE]; /* of what: "mean" over the tasks, or "any_task" */
    char save[CONFIG_TEXT_SIZE];        /* one shot: save the episodes in this folder, as logs */
    char video[CONFIG_TEXT_SIZE]; /* one shot: film episodes as this .gif and a .png beside it */
    double films_s; /* following a run: a film this often, in RUN_DIR/films; 0: none */
    char policy[CONFIG_TEXT_SIZE]; /* one shot: measure this file and exit */
};

struct config_section evaluator_section(struct evaluator_options *options);

/* Checks options against each other, and that the environment exists: it is described, not opened.
 * INVALID, or as environment_describe. */
status evaluator_options_check(const struct evaluator_options *options,
                               const struct experiment *experiment, struct err *err) MUST_CHECK;

#endif
