/* The dashboard: a web page about one run or a folder of runs, and the JSON behind it.
 *
 *   GET /              the page, with /dashboard.js, /dashboard.css, /chart.js
 *   GET /runs.json     {"time", "runs": [run_view.h, ..]}
 *   GET /films/RUN/TASK.gif, .png
 *                      the films that /runs.json tells of
 *   GET /openapi.json  describes these and the other pages for programs
 *
 * A thread reads the files of the runs and asks their processes; it does so every two seconds while
 * somebody asks for /runs.json, and not at all otherwise. */
#ifndef HINDCAST_DASHBOARD_DASHBOARD_H
#define HINDCAST_DASHBOARD_DASHBOARD_H

#include "common/base/admin.h"
#include "common/base/peek.h"

#define DASHBOARD_RUNS_MAX 64u

struct dashboard;

/* Of `folder`, which is a run or has runs in it or one level below (RUN_DIR/seed-1), at most
 * DASHBOARD_RUNS_MAX, found anew at each look. Processes are asked with
 * `access`, whose texts must live as long. Adds the pages to `admin`, which must be closed before the
 * dashboard is. */
status dashboard_open(struct dashboard **dashboard, const char *folder,
                      const struct peek_access *access, struct admin *admin,
                      struct err *err) MUST_CHECK;
void dashboard_close(struct dashboard *dashboard); /* NULL is fine */

#endif
