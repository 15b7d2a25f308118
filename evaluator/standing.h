/* The state of the run that is followed: its evaluations, its best policy, and whether to stop. All of
 * it is on disk (evaluator/follow.h lists the files), so that a restarted evaluator continues where it
 * was.
 *
 * One thread, except history_page. */
#ifndef HINDCAST_EVALUATOR_STANDING_H
#define HINDCAST_EVALUATOR_STANDING_H

#include "common/clients/parameters_client.h"
#include "evaluator/curves.h"
#include "evaluator/history.h"
#include "evaluator/measurement.h"
#include "evaluator/options.h"
#include "evaluator/run_files.h"
#include "evaluator/stop_rule.h"

struct standing_metrics {
    struct metric *evaluations, *episodes, *failed, *steps, *seconds;
    struct metric *version, *learner_step, *mean, *best;
};

struct standing {
    const struct run_files *files;
    const struct evaluator_options *options;
    struct history *history;
    struct standing_metrics metrics;

    /* Of the run that is followed; standing_begin sets them. */
    struct curves *curves;               /* NULL: no run yet, or they cannot be written */
    char run_id[PARAMETERS_RUN_ID_SIZE]; /* empty: none yet */
    uint64_t seen;    /* version evaluated last, or known to be a duplicate of that one */
    double seen_step; /* learner step of the last evaluation; -1: none */
    double best;      /* mean return of the policy kept; -inf: none */
    struct stop_rule rule;
    bool stop_wanted; /* the stop rule asks to end the run */
};

/* Reads the history; both arguments are borrowed until standing_close. No run is followed yet. */
status standing_open(struct standing *standing, const struct run_files *files,
                     const struct evaluator_options *options, struct err *err) MUST_CHECK;
void standing_close(struct standing *standing); /* also where standing_open failed */

/* Seconds since the first start of an evaluator in this folder. */
double standing_wall_s(const struct standing *standing);

/* Follows this run from now on, continuing from the lines and the policy that an earlier start left.
 * Cannot fail: what cannot be read counts as absent, and the run goes on without curves that cannot be
 * written. */
void standing_begin(struct standing *standing, const char *run_id);

/* Keeps one evaluation: writes the policy, where it is the best so far, then the line, and updates
 * metrics, curves and the stop rule. `at_s`: when the snapshot was taken, as standing_wall_s. */
status standing_keep(struct standing *standing, const struct parameters_snapshot *snapshot,
                     const struct measurement *measurement, double at_s,
                     struct err *err) MUST_CHECK;

/* Writes the last policy, which marks the run as ended. */
status standing_keep_last(struct standing *standing, const struct parameters_snapshot *snapshot,
                          struct err *err) MUST_CHECK;

#endif
