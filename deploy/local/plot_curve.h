/* A curve: one column of a run's lines, or of all seeds of a sweep, over learner steps or hours. */
#ifndef HINDCAST_LOCAL_PLOT_CURVE_H
#define HINDCAST_LOCAL_PLOT_CURVE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

#define PLOT_CURVE_POINTS 512u /* at most */

enum plot_axis { PLOT_STEPS, PLOT_HOURS };

struct plot_curve {
    char label[128];
    size_t seeds;                  /* runs that it is the mean of */
    size_t n;                      /* points */
    double *x, *mean, *low, *high; /* (n); low and high: the lowest and highest seed */
    /* Mean and best return of the logs; NaN where they are not known or not of this column. */
    double logs_mean, logs_best;
};

/* Reads `column` of RUN_DIR, looked for in evaluator.jsonl and then in learner.jsonl, or of the runs
 * below it (RUN_DIR/seed-1, ..), which are averaged where all of them have values: between its own
 * points each is a straight line. NOT_FOUND names the columns
 * that there are. */
status plot_curve_read(struct plot_curve *curve, const char *run_dir, const char *column,
                       enum plot_axis axis, struct err *err) MUST_CHECK;
void plot_curve_fini(struct plot_curve *curve);

#endif
