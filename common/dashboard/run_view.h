/* One run as the dashboard shows it: what is in its folder, and what its processes say. */
#ifndef HINDCAST_DASHBOARD_RUN_VIEW_H
#define HINDCAST_DASHBOARD_RUN_VIEW_H

#include "common/base/json.h"
#include "common/base/peek.h"
#include "common/dashboard/films.h"
#include "common/dashboard/series.h"

struct run_view {
    char *name;   /* as the page shows it: the folder's path below the folder of runs */
    char *folder; /* RUN_DIR */
    struct series *evaluations; /* evaluator.jsonl */
    struct series *learner;     /* learner.jsonl */
    bool seen;                  /* for the caller: found again by the last search */
};

/* Does the folder look like that of a run: have processes left their files there? */
bool run_view_is_run(const char *folder);

/* Mean and best return of a run's logs as its restorer counted them: {TASK: {"mean", "max"}, ..},
 * empty where it has not. NULL: out of memory. */
cJSON *run_view_logged_returns(const char *folder);

/* NULL: out of memory. */
struct run_view *run_view_new(const char *name, const char *folder);
void run_view_free(struct run_view *view); /* NULL is fine */

/* Reads what is new, asks the processes (each for at most a third of a second, with the token of
 * `access`), and returns
 *
 *   {"name", "state": "running" | "ended" | "stopped",
 *    "processes": [{"name", "state", "text", "fraction": 0..1 or null}, ..],
 *    "evaluations": series, "learner": series,
 *    "logs": run_view_logged_returns, "alerts": [text, ..], "films": films_of}
 *
 * and adds the files of its films to `films`. NULL: out of memory. */
cJSON *run_view_update(struct run_view *view, struct film_files *films,
                       const struct peek_access *access);

#endif
