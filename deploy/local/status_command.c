/* hindcast status: one line for each process of a run, as it describes itself. Processes are
 * found by the address files in the run's folder; one that was killed leaves its file and is
 * "gone". */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/peek.h"
#include "deploy/local/commands.h"
#include "deploy/local/summary.h"

/* The answers of all processes come one after another, so one that hangs must not take long. */
#define PEEK_TIMEOUT_MS 1000
#define ADMIN_FLAG      "--admin="

/* Each process writes its admin address to RUN_DIR/LABEL.admin. */
static int is_address_file(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 6 && strcmp(entry->d_name + n - 6, ".admin") == 0;
}

/* One line for a process: its answer, or why there is none. What does not answer is "silent" (it is
 * stopped or too busy) or "gone" (nobody listens at its address). */
static void show_answer(const char *label, int n, status s, const cJSON *json,
                        const struct err *err)
{
    if (s != STATUS_OK) {
        printf("%-16.*s %-9s %s\n", n, label, s == STATUS_TIMEOUT ? "silent" : "gone", err->text);
        return;
    }
    /* Its own words; without a state it counts as running. */
    const cJSON *text = cJSON_GetObjectItem(json, "text");
    const cJSON *state = cJSON_GetObjectItem(json, "state");
    printf("%-16.*s %-9s %s\n", n, label, cJSON_IsString(state) ? state->valuestring : "running",
           cJSON_IsString(text) ? text->valuestring : "");
}

/* The process that wrote `file`. */
static void show(const char *run_dir, const char *file)
{
    char path[1300];
    snprintf(path, sizeof path, "%.1000s/%.256s", run_dir, file);
    cJSON *json = NULL;
    struct err err;
    const status s = peek_json(&json, path, "/status", PEEK_TIMEOUT_MS, &err);
    /* The label is the file's name without its suffix. */
    show_answer(file, (int)(strlen(file) - strlen(".admin")), s, json, &err);
    cJSON_Delete(json);
}

/* The process whose admin page is at `address`, which need not be one of this machine's runs. The
 * exit status is for health checks: 1 unless it answers. */
static int show_at(const char *address)
{
    cJSON *json = NULL;
    struct err err;
    const status s = peek_json_at(&json, address, "/status", PEEK_TIMEOUT_MS, &err);
    const char *role = cJSON_GetStringValue(cJSON_GetObjectItem(json, "role"));
    const char *label = role == NULL ? address : role;
    show_answer(label, (int)strlen(label), s, json, &err);
    cJSON_Delete(json);
    return s == STATUS_OK ? 0 : 1;
}

/* Shows the processes in the order of their names. 1 where there is no such folder. */
static int show_run(const char *run_dir)
{
    struct dirent **files;
    int n = scandir(run_dir, &files, is_address_file, alphasort);
    if (n < 0) {
        fprintf(stderr, "hindcast status: %s: no such run\n", run_dir);
        return 1;
    }
    if (n == 0) {
        printf("%s: no process is running\n", run_dir);
    }
    for (int i = 0; i < n; i++) {
        show(run_dir, files[i]->d_name);
        free(files[i]);
    }
    free(files);
    return 0;
}

static int is_run(const struct dirent *entry)
{
    char path[300];
    snprintf(path, sizeof path, "runs/%.255s/up.lock", entry->d_name);
    return entry->d_name[0] != '.' && access(path, F_OK) == 0;
}

/* Without a folder: every run of runs/, and whether `hindcast up` is at work on it. Only that holds
 * the lock, which the kernel releases whatever becomes of the process. */
static int show_runs(void)
{
    struct dirent **runs;
    const int n = scandir("runs", &runs, is_run, alphasort);
    if (n <= 0) {
        printf("no runs in runs/ (hindcast up EXPERIMENT.yaml makes one)\n");
    }
    for (int i = 0; i < n; i++) {
        char path[300];
        snprintf(path, sizeof path, "runs/%.255s/up.lock", runs[i]->d_name);
        const bool running = file_is_locked(path);
        snprintf(path, sizeof path, "runs/%.255s", runs[i]->d_name);
        printf("%-40s %s\n", path,
               running                  ? "running: hindcast status says more"
               : summary_is_there(path) ? "ended"
                                        : "stopped: hindcast up goes on with it");
        free(runs[i]);
    }
    if (n >= 0) {
        free(runs);
    }
    return 0;
}

int command_status(int argc, char **argv)
{
    static const char usage[] =
        "usage: hindcast status [RUN_DIR | --admin=HOST:PORT]\n"
        "What the processes of a run are doing, one line for each (RUN_DIR is runs/cheetah-run, "
        "for\n"
        "example); without RUN_DIR: which runs there are in runs/. With --admin: the process "
        "whose\n"
        "admin page is at this numeric address, and status 1 unless it answers.\n";
    if (argc == 1) {
        return show_runs();
    }
    if (argc == 2 && strncmp(argv[1], ADMIN_FLAG, strlen(ADMIN_FLAG)) == 0) {
        return show_at(argv[1] + strlen(ADMIN_FLAG));
    }
    const bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
    if (argc != 2 || argv[1][0] == '-') {
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    return show_run(argv[1]);
}
