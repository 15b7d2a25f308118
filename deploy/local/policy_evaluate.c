/* The command that evaluates policies of a run that has ended: see policy_evaluate.h.
 *
 * Its processes are those of `up` with experiment.choose: offline, without the learner: the run's
 * replay server, which holds the logs, and the offline evaluator. The run's lock is held meanwhile.
 */
#include "deploy/local/policy_evaluate.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "deploy/local/offline_table.h"
#include "deploy/local/run_plan.h"

#define REPORT_MAX_BYTES (64u << 20)
#define STOP_MS          10000
#define MAX_CRASHES      3

static const char usage[] =
    "usage: hindcast policy evaluate --offline [--to=OUT.json] [--offline_evaluator.NAME=VALUE ..] "
    "RUN [--policies FILE ..]\n"
    "What policies are worth, from the logs of RUN alone: RUN is the folder of a run that has "
    "ended, "
    "or its experiment file.\n"
    "Without --policies: those that the run kept (experiment.choose: offline), and its last. The "
    "result is also in\n"
    "RUN/offline_evaluation.json, with --policies in RUN/offline_evaluation_policies.json, or in "
    "OUT.json. The same command\n"
    "goes on where it was interrupted. docs/offline_evaluation.md says what the numbers mean.\n";

/* The command line. */
struct arguments {
    const char *source, *to;
    bool offline, has_policies;
    char policies[RUN_PLAN_FLAGS_MAX * 64 + 64]; /* --offline_evaluator.policies=A,B */
    char report[PATH_MAX + 32];                  /* --offline_evaluator.report=OUT */
};

/* ---- The command line ---- */

static bool is_experiment(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

/* Words after --policies are files; other words are RUN. */
static status parse(struct arguments *arguments, struct run_plan *plan, int argc, char **argv,
                    struct err *err)
{
    size_t used = (size_t)snprintf(arguments->policies, sizeof arguments->policies,
                                   "--offline_evaluator.policies=");
    const char *separator = "";
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        const bool is_flag = strncmp(word, "--", 2) == 0;
        if (strcmp(word, "--offline") == 0) {
            arguments->offline = true;
        } else if (strcmp(word, "--policies") == 0) {
            arguments->has_policies = true;
        } else if (strncmp(word, "--to=", 5) == 0 && word[5] != '\0') {
            arguments->to = word + 5;
        } else if (is_flag && strchr(word, '=') != NULL && strchr(word, '.') != NULL &&
                   plan->n_flags + 2 < RUN_PLAN_FLAGS_MAX) {
            plan->flags[plan->n_flags++] = word;
        } else if (is_flag) {
            return err_set(err, STATUS_INVALID, "\"%s\": no such flag, or without its value", word);
        } else if (arguments->has_policies) {
            const int n = snprintf(arguments->policies + used, sizeof arguments->policies - used,
                                   "%s%s", separator, word);
            if (n < 0 || (size_t)n >= sizeof arguments->policies - used || strchr(word, ',')) {
                return err_set(err, STATUS_INVALID,
                               "--policies \"%.64s\": too many or too long, or with a comma", word);
            }
            used += (size_t)n;
            separator = ",";
        } else if (arguments->source == NULL) {
            arguments->source = word;
        } else {
            return err_set(err, STATUS_INVALID, "\"%s\": expected one RUN", word);
        }
    }
    if (arguments->source == NULL || !arguments->offline) {
        return err_set(err, STATUS_INVALID, "expected --offline and RUN");
    }
    return arguments->has_policies && separator[0] == '\0'
               ? err_set(err, STATUS_INVALID, "--policies: expected at least one file")
               : STATUS_OK;
}

/* The section `experiment` of the file, or of flags for a run's folder. */
static status read_experiment(struct experiment *experiment, struct run_plan *plan,
                              const struct arguments *arguments, struct err *err)
{
    struct stat there;
    if (stat(arguments->source, &there) != 0) {
        return err_set(err, STATUS_NOT_FOUND, "%s: expected a run folder or an experiment file",
                       arguments->source);
    }
    const bool file = is_experiment(arguments->source) && S_ISREG(there.st_mode);
    char program[] = "hindcast", flag[CONFIG_TEXT_SIZE + 64];
    snprintf(flag, sizeof flag, file ? "--config=%s" : "--experiment.run_dir=%s",
             arguments->source);
    char *argv[RUN_PLAN_FLAGS_MAX + 2] = {program, flag};
    int argc = 2;
    for (size_t i = 0; i < plan->n_flags; i++) {
        if (strncmp(plan->flags[i], "--experiment.", 13) == 0) {
            argv[argc++] = (char *)plan->flags[i];
        }
    }
    bool done = false;
    const struct config_section section = experiment_section(experiment);
    const status s = config_load(&section, 1, "hindcast policy evaluate", argc, argv, &done, err);
    plan->config_path = file ? arguments->source : NULL;
    if (s == STATUS_OK) {
        experiment_finish(experiment);
    }
    return s;
}

/* Adds where the result goes, and which policies are meant. */
static status add_flags(struct run_plan *plan, struct arguments *arguments, char report[PATH_MAX],
                        struct err *err)
{
    const char *run_dir = plan->experiment->run_dir;
    const int n = arguments->to != NULL
                      ? snprintf(report, PATH_MAX, "%s", arguments->to)
                      : snprintf(report, PATH_MAX, "%s/offline_evaluation%s.json", run_dir,
                                 arguments->has_policies ? "_policies" : "");
    if (n < 0 || n >= CONFIG_TEXT_SIZE) {
        return err_set(err, STATUS_INVALID, "--to=%.64s..: the path is too long", report);
    }
    snprintf(arguments->report, sizeof arguments->report, "--offline_evaluator.report=%s", report);
    plan->flags[plan->n_flags++] = arguments->report;
    if (arguments->has_policies) {
        plan->flags[plan->n_flags++] = arguments->policies;
    }
    return STATUS_OK;
}

/* ---- The run ---- */

/* Both processes, from the lock to the table. */
static int run(const struct run_plan *plan, const char *report)
{
    struct err err;
    char lock_path[PATH_MAX];
    int lock = -1;
    struct supervisor *supervisor = NULL;
    cJSON *json = NULL;
    const struct supervisor_options options = {.run_dir = plan->experiment->run_dir,
                                               .access = peek_access_of(plan->experiment),
                                               .max_crashes = MAX_CRASHES,
                                               .stop_ms = STOP_MS};
    enum supervisor_end end = SUPERVISOR_FAILED;
    snprintf(lock_path, sizeof lock_path, "%.1000s/up.lock", options.run_dir);
    if (file_lock(lock_path, &lock, &err) == STATUS_OK &&
        supervisor_new(&supervisor, &options, &err) == STATUS_OK &&
        run_plan_add(plan, supervisor, &err) == STATUS_OK) {
        end = supervisor_run(supervisor, &err);
        if (end == SUPERVISOR_OVER &&
            json_read(report, REPORT_MAX_BYTES, &json, &err) != STATUS_OK) {
            end = SUPERVISOR_FAILED;
        }
    }
    if (end == SUPERVISOR_OVER) {
        offline_table_print(json, stdout);
        printf("%s\n", report);
    } else if (end == SUPERVISOR_FAILED) {
        const char *reason = supervisor != NULL ? supervisor_reason(supervisor) : "";
        fprintf(stderr, "hindcast policy evaluate: %s%s%s\n", err.text,
                reason[0] != '\0' ? "\n" : "", reason);
    }
    cJSON_Delete(json);
    supervisor_free(supervisor);
    if (lock >= 0) {
        close(lock);
    }
    return end == SUPERVISOR_OVER          ? 0
           : end == SUPERVISOR_INTERRUPTED ? 130
                                           : status_exit_code(err.code);
}

int policy_evaluate(int argc, char **argv)
{
    /* Static: they are large, and the plan points to them until the end. */
    static struct experiment experiment;
    static struct arguments arguments;
    static char report[PATH_MAX];
    const struct up_options up = {.replay_servers = 1, .offline_evaluators = 1};
    struct run_plan plan = {.up = &up, .experiment = &experiment};
    struct err err;
    if (argc == 1 && strcmp(argv[0], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    status s = parse(&arguments, &plan, argc, argv, &err);
    const bool is_wrong = s != STATUS_OK;
    s = s != STATUS_OK ? s : read_experiment(&experiment, &plan, &arguments, &err);
    s = s != STATUS_OK ? s : add_flags(&plan, &arguments, report, &err);
    s = s != STATUS_OK ? s : run_plan_check(&plan, &err);
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast policy evaluate: %s\n%s", err.text, is_wrong ? usage : "");
        return 2;
    }
    /* Processes end when we do, as those of `up`. */
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv("HINDCAST_SUPERVISED", pid, 1);
    return run(&plan, report);
}
