/* Curves as a picture, or as numbers. */
#ifndef HINDCAST_LOCAL_PLOT_CHART_H
#define HINDCAST_LOCAL_PLOT_CHART_H

#include "common/base/text.h"
#include "deploy/local/plot_curve.h"

/* Adds an SVG of n curves, n >= 1: lines, the region between the lowest and the highest seed, the
 * returns of the logs as dashes, and a legend. `column` names the vertical axis. */
void plot_chart_svg(struct text *svg, const struct plot_curve *curves, size_t n, const char *column,
                    enum plot_axis axis);

/* Adds a line a point: label, seeds, x, mean, low, high, after a header. */
void plot_chart_csv(struct text *csv, const struct plot_curve *curves, size_t n, const char *column,
                    enum plot_axis axis);

#endif
