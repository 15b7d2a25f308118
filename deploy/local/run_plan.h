/* What `hindcast up` starts: the processes of one run, and their command lines. */
#ifndef HINDCAST_LOCAL_RUN_PLAN_H
#define HINDCAST_LOCAL_RUN_PLAN_H

#include <limits.h>

#include "common/base/experiment.h"
#include "deploy/local/supervisor.h"

#define RUN_PLAN_FLAGS_MAX 128

/* Section `up` of an experiment. */
struct up_options {
    int64_t replay_servers; /* of this machine */
    int64_t restorers;
    int64_t learners;
    int64_t evaluators;
    int64_t offline_evaluators; /* 1 where experiment.choose is offline; not an option */
    int64_t collectors;
    struct config_ints seeds; /* one run after another, each in RUN_DIR/seed-S; empty: one run with
                                 experiment.seed */
    int64_t max_crashes;
    double stop_seconds;
};

struct config_section up_section(struct up_options *options);

struct run_plan {
    const char *config_path;               /* NULL: none, all else is given by flags */
    const char *flags[RUN_PLAN_FLAGS_MAX]; /* --section.name=value as given, passed on to those they
                                              concern; borrowed */
    size_t n_flags;
    bool restore_anew; /* remove the replay tables before starting */
    const struct up_options *up;
    const struct experiment *experiment; /* run_dir and seed are those of this run */
};

/* Checks all that can be known before anything starts. Runs every program of the plan with
 * --check, which reads the configuration and the logs and says on stderr what is wrong (INVALID
 * then); compares the signature of the logs with that of the environment (MISMATCH); and makes
 * sure that the admin ports are free, where experiment.admin names one. */
status run_plan_check(const struct run_plan *plan, struct err *err) MUST_CHECK;

/* Adds the plan's processes to `supervisor`. */
status run_plan_add(const struct run_plan *plan, struct supervisor *supervisor,
                    struct err *err) MUST_CHECK;

#endif
