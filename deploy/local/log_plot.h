/* A picture of what logs hold, as SVG: returns, lengths, the range and scale of every observation,
 * how actions use their limits, gaps in time. */
#ifndef HINDCAST_DEPLOY_LOCAL_LOG_PLOT_H
#define HINDCAST_DEPLOY_LOCAL_LOG_PLOT_H

#include "common/logs/episodes/logs.h"
#include "common/logs/source/sources.h"

/* Reads all episodes of the sources, and writes the picture to `file` (whole or not at all). `gaps`
 * is NULL where times are not logged. Bad episodes are not in it. INVALID: no episode is good. */
status log_plot(const char *file, const char *title, const struct sources *sources,
                const struct logs_gaps *gaps, struct err *err) MUST_CHECK;

#endif
