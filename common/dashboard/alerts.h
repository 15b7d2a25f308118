/* What needs somebody's attention in a run, in words. */
#ifndef HINDCAST_DASHBOARD_ALERTS_H
#define HINDCAST_DASHBOARD_ALERTS_H

#include "common/dashboard/run_view.h"

/* A list of sentences about a run that is in `state` and has these processes (run_view_update). Each
 * names the figure that it is about. The limits are ours. NULL: out of memory. */
cJSON *alerts_of(const struct run_view *view, const char *state, const cJSON *processes);

#endif
