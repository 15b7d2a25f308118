/* hindcast status: one line for each process of a run, as it describes itself. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/dashboard/processes.h"
#include "deploy/local/commands.h"
#include "deploy/local/experiment_flags.h"
#include "deploy/local/screen.h"
#include "deploy/local/status_learner.h"
#include "deploy/local/summary.h"

/* The answers of all processes come one after another, so one that hangs must not take long. */
#define TIMEOUT_MS   1000
#define ADMIN_FLAG   "--admin="
#define LEARNER_FLAG "--parameters="
#define FLAGS_MAX    16

/* One line for a process. */
static void show(const cJSON *process)
{
    screen_row(stdout, cJSON_GetStringValue(cJSON_GetObjectItem(process, "name")),
               cJSON_GetStringValue(cJSON_GetObjectItem(process, "state")),
               cJSON_GetStringValue(cJSON_GetObjectItem(process, "text")));
}

static int no_memory(void)
{
    fprintf(stderr, "hindcast status: out of memory\n");
    return 1;
}

/* The process whose admin page is at `address`, which need not be one of this machine's runs. The
 * exit status is for health checks: 1 unless it answers. */
static int show_at(const char *address, const struct peek_access *access)
{
    cJSON *process = processes_ask_at(address, access, TIMEOUT_MS);
    if (process == NULL) {
        return no_memory();
    }
    show(process);
    const bool answers = processes_answers(process);
    cJSON_Delete(process);
    return answers ? 0 : 1;
}

/* Shows the processes in the order of their names. 1 where there is no such folder. */
static int show_run(const char *run_dir, const struct peek_access *access)
{
    struct stat about;
    if (stat(run_dir, &about) != 0 || !S_ISDIR(about.st_mode)) {
        fprintf(stderr, "hindcast status: %s: no such run\n", run_dir);
        return 1;
    }
    cJSON *processes = processes_ask(run_dir, access, TIMEOUT_MS);
    if (processes == NULL) {
        return no_memory();
    }
    if (cJSON_GetArraySize(processes) == 0) {
        printf("%s: no process is running\n", run_dir);
    }
    const cJSON *process;
    cJSON_ArrayForEach(process, processes)
    {
        show(process);
    }
    cJSON_Delete(processes);
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

/* `hindcast status --parameters=ADDRESS [--experiment.NAME=VALUE ..]` */
static int show_learner(int argc, char **argv)
{
    char address[CONFIG_TEXT_SIZE + 32];
    char *flags[FLAGS_MAX] = {address};
    snprintf(address, sizeof address, "%sparameters=%s", EXPERIMENT_FLAG,
             argv[1] + strlen(LEARNER_FLAG));
    for (int i = 2; i < argc; i++) {
        flags[i - 1] = argv[i];
    }
    return status_of_learner(argc - 1, flags);
}

/* `hindcast status RUN_DIR | --admin=ADDRESS [--experiment.NAME=VALUE ..]` */
static int show_pages(int argc, char **argv)
{
    static struct experiment experiment; /* large, and what is asked points to it */
    struct err err;
    if (experiment_flags_read(&experiment, argc - 2, argv + 2, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast status: %s\n", err.text);
        return 2;
    }
    const struct peek_access access = peek_access_of(&experiment);
    return strncmp(argv[1], ADMIN_FLAG, strlen(ADMIN_FLAG)) == 0
               ? show_at(argv[1] + strlen(ADMIN_FLAG), &access)
               : show_run(argv[1], &access);
}

int command_status(int argc, char **argv)
{
    static const char usage[] =
        "usage: hindcast status [RUN_DIR | --admin=[https://]HOST:PORT | --parameters=ADDRESS]\n"
        "                       [--experiment.NAME=VALUE ..]\n"
        "What the processes of a run are doing, one line for each (RUN_DIR is runs/cheetah-run, "
        "for\n"
        "example); without RUN_DIR: which runs there are in runs/. With --admin: the process "
        "whose\n"
        "admin page is at this numeric address, and status 1 unless it answers. With "
        "--parameters:\n"
        "the learner at this address and the replay servers that it names, on any machine; flags\n"
        "name what they ask for, as in --experiment.tls_ca=FILE --experiment.token_file=FILE.\n";
    if (argc == 1) {
        return show_runs();
    }
    const bool learner = strncmp(argv[1], LEARNER_FLAG, strlen(LEARNER_FLAG)) == 0;
    const bool page = strncmp(argv[1], ADMIN_FLAG, strlen(ADMIN_FLAG)) == 0;
    if (argc > FLAGS_MAX || (argv[1][0] == '-' && !learner && !page)) {
        const bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    return learner ? show_learner(argc, argv) : show_pages(argc, argv);
}
