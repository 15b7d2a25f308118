/* Files first, then what the processes say. */
#include "common/dashboard/run_view.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/dashboard/alerts.h"
#include "common/dashboard/processes.h"

#define PATH_SIZE      4096
#define ANSWER_MS      300
#define JSON_BYTES_MAX (16u << 20)

/* ---- finding ---- */

static bool has_file(const char *folder, const char *name)
{
    char path[PATH_SIZE];
    return (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path &&
           access(path, F_OK) == 0;
}

bool run_view_is_run(const char *folder)
{
    return has_file(folder, "learner.jsonl") || has_file(folder, "evaluator.jsonl") ||
           has_file(folder, "replay_server.admin") || has_file(folder, "up.lock");
}

struct run_view *run_view_new(const char *name, const char *folder)
{
    char path[PATH_SIZE];
    struct run_view *view = mem_new(sizeof *view);
    if (view == NULL) {
        return NULL;
    }
    view->name = mem_text(name);
    view->folder = mem_text(folder);
    snprintf(path, sizeof path, "%.4000s/evaluator.jsonl", folder);
    view->evaluations = series_new(path);
    snprintf(path, sizeof path, "%.4000s/learner.jsonl", folder);
    view->learner = series_new(path);
    if (view->name == NULL || view->folder == NULL || view->evaluations == NULL ||
        view->learner == NULL) {
        run_view_free(view);
        return NULL;
    }
    return view;
}

void run_view_free(struct run_view *view)
{
    if (view != NULL) {
        series_free(view->evaluations);
        series_free(view->learner);
        mem_free(view->name);
        mem_free(view->folder);
        mem_free(view);
    }
}

/* ---- processes ---- */

/* Is there a process that is not gone? One that is silent may only be stopped. */
static bool any_runs(const cJSON *processes)
{
    const cJSON *process;
    cJSON_ArrayForEach(process, processes)
    {
        const char *state =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(process, "state"));
        if (state != NULL && strcmp(state, "gone") != 0) {
            return true;
        }
    }
    return false;
}

/* `hindcast up` holds a lock while it is at work, and writes a summary at the end. Processes may
 * also have been started by hand. */
static const char *state_of(const char *folder, const cJSON *processes)
{
    char lock[PATH_SIZE];
    snprintf(lock, sizeof lock, "%.4000s/up.lock", folder);
    if (file_is_locked(lock) || any_runs(processes)) {
        return "running";
    }
    return has_file(folder, "summary.json") ? "ended" : "stopped";
}

/* ---- logs ---- */

cJSON *run_view_logged_returns(const char *folder)
{
    char path[PATH_SIZE];
    cJSON *counted = NULL;
    cJSON *object = cJSON_CreateObject();
    const cJSON *task;
    snprintf(path, sizeof path, "%.4000s/restorer.json", folder);
    const status s = json_read(path, JSON_BYTES_MAX, &counted, NULL);
    const cJSON *returns =
        s == STATUS_OK ? cJSON_GetObjectItemCaseSensitive(counted, "returns") : NULL;
    cJSON_ArrayForEach(task, returns)
    {
        const cJSON *mean = cJSON_GetObjectItemCaseSensitive(task, "mean");
        const cJSON *max = cJSON_GetObjectItemCaseSensitive(task, "max");
        if (!cJSON_IsNumber(mean) || !cJSON_IsNumber(max)) {
            continue;
        }
        cJSON *of = cJSON_AddObjectToObject(object, task->string);
        if (!cJSON_AddNumberToObject(of, "mean", mean->valuedouble) ||
            !cJSON_AddNumberToObject(of, "max", max->valuedouble)) {
            cJSON_Delete(object);
            object = NULL;
            break;
        }
    }
    cJSON_Delete(counted);
    return object;
}

/* ---- all of it ---- */

cJSON *run_view_update(struct run_view *view, struct film_files *films,
                       const struct peek_access *access)
{
    series_update(view->evaluations);
    series_update(view->learner);
    cJSON *processes = processes_ask(view->folder, access, ANSWER_MS);
    const char *state = state_of(view->folder, processes);
    cJSON *alerts = alerts_of(view, state, processes);
    cJSON *object = cJSON_CreateObject();
    /* json_put takes what it is given, also where it fails. */
    bool ok = cJSON_AddStringToObject(object, "name", view->name) != NULL;
    ok = cJSON_AddStringToObject(object, "state", state) != NULL && ok;
    ok = json_put(object, "processes", processes) && ok;
    ok = json_put(object, "alerts", alerts) && ok;
    ok = json_put(object, "logs", run_view_logged_returns(view->folder)) && ok;
    ok = json_put(object, "films", films_of(view->name, view->folder, films)) && ok;
    ok = json_put(object, "evaluations", series_to_json(view->evaluations)) && ok;
    ok = json_put(object, "learner", series_to_json(view->learner)) && ok;
    if (!ok) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}
