/* A process is found by its address file, RUN_DIR/LABEL.admin, as `hindcast status` finds it. */
#include "common/dashboard/run_view.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/peek.h"
#include "common/dashboard/alerts.h"

#define PATH_SIZE      4096
#define ANSWER_MS      300
#define JSON_BYTES_MAX (16u << 20)
#define ADDRESS_SUFFIX ".admin"

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
           has_file(folder, "replay_server" ADDRESS_SUFFIX) || has_file(folder, "up.lock");
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

static int is_address_file(const struct dirent *entry)
{
    const size_t n = strlen(entry->d_name), suffix = strlen(ADDRESS_SUFFIX);
    return n > suffix && strcmp(entry->d_name + n - suffix, ADDRESS_SUFFIX) == 0;
}

/* What a process says of itself, or why it does not: silent (stopped, or too busy) or gone. */
static cJSON *ask_process(const char *folder, const char *file)
{
    char path[PATH_SIZE], name[256];
    struct err err = {0};
    cJSON *answer = NULL;
    snprintf(path, sizeof path, "%.3000s/%.1000s", folder, file);
    snprintf(name, sizeof name, "%.*s", (int)(strlen(file) - strlen(ADDRESS_SUFFIX)), file);
    const status s = peek_json(&answer, path, "/status", ANSWER_MS, &err);
    const char *state = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "state"));
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, "text"));
    const cJSON *fraction = cJSON_GetObjectItemCaseSensitive(answer, "fraction");
    cJSON *object = cJSON_CreateObject();
    const bool ok =
        cJSON_AddStringToObject(object, "name", name) &&
        cJSON_AddStringToObject(object, "state",
                                s == STATUS_OK        ? (state == NULL ? "running" : state)
                                : s == STATUS_TIMEOUT ? "silent"
                                                      : "gone") &&
        cJSON_AddStringToObject(object, "text", s == STATUS_OK && text != NULL ? text : err.text) &&
        (cJSON_IsNumber(fraction)
             ? cJSON_AddNumberToObject(object, "fraction", fraction->valuedouble)
             : cJSON_AddNullToObject(object, "fraction"));
    cJSON_Delete(answer);
    if (!ok) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

/* All of them, in the order of their names. NULL: out of memory. */
static cJSON *ask_processes(const char *folder)
{
    struct dirent **files;
    cJSON *list = cJSON_CreateArray();
    const int n = scandir(folder, &files, is_address_file, alphasort);
    for (int i = 0; i < n; i++) {
        cJSON *process = list == NULL ? NULL : ask_process(folder, files[i]->d_name);
        if (process == NULL || !cJSON_AddItemToArray(list, process)) {
            cJSON_Delete(process);
            cJSON_Delete(list);
            list = NULL;
        }
        free(files[i]);
    }
    if (n >= 0) {
        free(files);
    }
    return list;
}

/* Whether a process answers. */
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

/* Mean and best return of the logs, by task, as the restorer counted them. NULL: out of memory. */
static cJSON *logged_returns(const char *folder)
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

cJSON *run_view_update(struct run_view *view)
{
    series_update(view->evaluations);
    series_update(view->learner);
    cJSON *processes = ask_processes(view->folder);
    const char *state = state_of(view->folder, processes);
    cJSON *alerts = alerts_of(view, state, processes);
    cJSON *object = cJSON_CreateObject();
    /* json_put takes what it is given, also where it fails. */
    bool ok = cJSON_AddStringToObject(object, "name", view->name) != NULL;
    ok = cJSON_AddStringToObject(object, "state", state) != NULL && ok;
    ok = json_put(object, "processes", processes) && ok;
    ok = json_put(object, "alerts", alerts) && ok;
    ok = json_put(object, "logs", logged_returns(view->folder)) && ok;
    ok = json_put(object, "evaluations", series_to_json(view->evaluations)) && ok;
    ok = json_put(object, "learner", series_to_json(view->learner)) && ok;
    if (!ok) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}
