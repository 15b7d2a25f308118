/* hindcast up: all processes of an experiment on this machine, from start to summary.
 *
 * Reads the sections `experiment` and `up`, checks everything that can be known (run_plan.h),
 * starts and watches the processes (supervisor.h), and gathers what they left (summary.h). With
 * up.seeds it does so once for each seed. A run that was interrupted is continued by the same
 * command: each process knows how to go on, and nothing about that is kept here but the time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/roles.h"
#include "common/networks/policy.h"
#include "common/networks/safetensors.h"
#include "deploy/local/commands.h"
#include "deploy/local/run_plan.h"
#include "deploy/local/summary.h"

static const char usage[] = "usage: hindcast up EXPERIMENT.yaml [--section.name=value ..]\n"
                            "Runs the experiment's processes on this machine, shows what they do, "
                            "and ends when the run has\n"
                            "ended. Ctrl-C ends all in order; the same command goes on where it "
                            "stopped. Flags override the\n"
                            "file: --learner.steps=3000, --experiment.name=second. The options "
                            "below are this command's; each\n"
                            "process explains its own with --help.\n"
                            "  --restore-anew\n"
                            "        removes the run's replay table first, so that it is made of "
                            "the logs as they are now\n";

/* What this command reads of the file: `experiment` and `up`. The flags of other sections are for
 * the processes. */
static status read_experiment(int argc, char **argv, struct experiment *experiment,
                              struct up_options *up, struct run_plan *plan, struct err *err)
{
    struct config_section sections[] = {experiment_section(experiment), up_section(up)};
    /* The arguments of our own loader: argv[0], the file, and flags of our two sections. */
    char config_flag[1100];
    char *own[RUN_PLAN_FLAGS_MAX + 3] = {argv[0], config_flag};
    int n_own = 2;
    if (snprintf(config_flag, sizeof config_flag, "--config=%s", argv[1]) >=
        (int)sizeof config_flag) {
        return err_set(err, STATUS_INVALID, "the path of the experiment is too long");
    }
    plan->config_path = argv[1];
    /* Every flag names its section, because it is passed on to the processes of that section. */
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--restore-anew") == 0) {
            plan->restore_anew = true;
            continue;
        }
        size_t section = strcspn(argv[i], ".=");
        if (strncmp(argv[i], "--", 2) != 0 || argv[i][section] != '.' || !strchr(argv[i], '=')) {
            return err_set(err, STATUS_INVALID, "\"%s\": expected --section.name=value", argv[i]);
        }
        if (plan->n_flags == RUN_PLAN_FLAGS_MAX) {
            return err_set(err, STATUS_INVALID, "more than %d flags", RUN_PLAN_FLAGS_MAX);
        }
        plan->flags[plan->n_flags++] = argv[i];
        if (strncmp(argv[i], "--up.", 5) == 0 || strncmp(argv[i], "--experiment.", 13) == 0) {
            own[n_own++] = argv[i];
        }
    }
    /* The loader knows these two sections only and ignores others in the file. */
    bool done = false;
    status s = config_load(sections, 2, "hindcast up", n_own, own, &done, err);
    if (s == STATUS_OK) {
        plan->experiment = experiment;
        plan->up = up;
    }
    return s;
}

/* RUN_DIR/up.seconds: how long all `up`s of this run took, this one too. *seconds is this one's,
 * and becomes the sum. */
static status add_seconds(const char *run_dir, double *seconds, struct err *err)
{
    char path[1200], text[64];
    void *bytes = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%.1000s/up.seconds", run_dir);
    /* Earlier starts of the same run have left their time. */
    if (access(path, F_OK) == 0) {
        status s = file_read(path, sizeof text - 1, &bytes, &size, err);
        if (s != STATUS_OK) {
            return s;
        }
        snprintf(text, sizeof text, "%.*s", (int)size, (const char *)bytes);
        mem_free(bytes);
        char *end;
        const double before = strtod(text, &end);
        if (end == text || !(before >= 0) || *end != '\n') {
            return err_set(err, STATUS_CORRUPT, "%s: expected seconds, not %.20s", path, text);
        }
        *seconds += before;
    }
    /* With a line end, which tells a whole file from one that was cut. */
    const int length = snprintf(text, sizeof text, "%.3f\n", *seconds);
    return file_replace(path, &(struct file_part){text, (size_t)length}, 1, err);
}

/* Removes the stores of the run's replay servers in RUN_DIR, and the manifest of what they were
 * made of. The caller holds the lock of the run, so that no other `up` is using them. NOT_FOUND:
 * there is no store here. */
static status remove_tables(const struct experiment *experiment, struct err *err)
{
    static const char *const files[] = {"data.mdb", "lock"};
    char folder[1100], path[1200];
    bool any = false;
    /* Several servers have a folder each, as their own option replay_server.path says by
     * default. */
    for (size_t i = 0; i < experiment->replay.n; i++) {
        snprintf(folder, sizeof folder, "%.1000s/replay", experiment->run_dir);
        if (experiment->replay.n > 1) {
            snprintf(folder, sizeof folder, "%.1000s/replay-%zu", experiment->run_dir, i);
        }
        for (size_t k = 0; k < sizeof files / sizeof files[0]; k++) {
            snprintf(path, sizeof path, "%s/%s", folder, files[k]);
            any = unlink(path) == 0 || any;
        }
    }
    snprintf(path, sizeof path, "%.1000s/restorer.json", experiment->run_dir);
    /* A run that was never restored has no manifest. */
    (void)!unlink(path);
    return any ? STATUS_OK
               : err_set(err, STATUS_NOT_FOUND,
                         "--restore-anew: there is no replay table in %.1000s (a folder given by "
                         "replay_server.path is yours to remove)",
                         experiment->run_dir);
}

/* Removes the policy that an off-policy evaluation chose when the run was started before, and the
 * last one of then beside it. A start that does not choose would leave both as they are, and they
 * would pass for what it has learned. A policy that evaluators keep stays: they replace it. */
static status remove_choice(const struct experiment *experiment, struct err *err)
{
    /* The chosen one goes last: its note tells what it is, should this be interrupted. */
    static const char *const names[] = {"policy_last", "policy"};
    char path[1200];
    struct err why;
    struct safetensors *file;
    snprintf(path, sizeof path, "%.1000s/policy.safetensors", experiment->run_dir);
    if (safetensors_read(&file, path, POLICY_BYTES_MAX, &why) != STATUS_OK) {
        return STATUS_OK;
    }
    const bool chosen = safetensors_metadata(file, "offline_value") != NULL;
    safetensors_free(file);
    for (size_t i = 0; chosen && i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%.1000s/%s.safetensors", experiment->run_dir, names[i]);
        if (unlink(path) != 0 && errno != ENOENT) {
            return err_errno(err, errno, "%s: of an earlier choice, cannot be removed", path);
        }
    }
    return STATUS_OK;
}

/* What the run has made, and what is usually done with it. On stderr, like all that is not a result. */
static void say_what_next(const char *run_dir)
{
    static const struct {
        const char *file, *what;
    } made[] = {{"policy.safetensors", "the policy with the best evaluation"},
                {"policy_learner.safetensors", "the policy after the last step"},
                {"summary.json", "the figures above"},
                {"tensorboard", "for tensorboard --logdir"}};
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        char path[1200];
        snprintf(path, sizeof path, "%.1000s/%s", run_dir, made[i].file);
        if (access(path, F_OK) == 0) {
            fprintf(stderr, "  %-50s %s\n", path, made[i].what);
        }
    }
    fprintf(stderr, "next: hindcast policy inspect %s; hindcast policy export --onnx %s\n", run_dir,
            run_dir);
}

/* One run from its lock to its summary. Returns the exit status. */
static int run_once(const struct run_plan *plan)
{
    /* A failure in any step below leaves its reason in `err`. */
    struct err err;
    struct supervisor_options options = {.run_dir = plan->experiment->run_dir,
                                         .access = peek_access_of(plan->experiment),
                                         .max_crashes = (unsigned)plan->up->max_crashes,
                                         .stop_ms = (uint64_t)(plan->up->stop_seconds * 1000)};
    struct supervisor *supervisor = NULL;
    int lock = -1;
    /* A lock file, which the kernel releases also when we are killed. */
    char lock_path[1200];
    snprintf(lock_path, sizeof lock_path, "%.1000s/up.lock", options.run_dir);
    enum supervisor_end end = SUPERVISOR_FAILED;
    uint64_t begin_ns = clock_now_ns();
    /* Whoever starts a run again may expect a new one. */
    if (summary_is_there(options.run_dir)) {
        fprintf(stderr,
                "%s has ended before; it is taken up where it stopped. For a new run add "
                "--experiment.name=NAME, or remove the folder.\n",
                options.run_dir);
    }
    /* The lock keeps a second `up` from the same folder. */
    if (file_make_folders(options.run_dir, &err) == STATUS_OK &&
        file_lock(lock_path, &lock, &err) == STATUS_OK &&
        (!plan->restore_anew || remove_tables(plan->experiment, &err) == STATUS_OK) &&
        (plan->up->offline_evaluators > 0 || remove_choice(plan->experiment, &err) == STATUS_OK) &&
        supervisor_new(&supervisor, &options, &err) == STATUS_OK &&
        run_plan_add(plan, supervisor, &err) == STATUS_OK) {
        end = supervisor_run(supervisor, &err);
        /* The time of a run counts over all its starts; without it the summary is still of use. */
        double seconds = (double)(clock_now_ns() - begin_ns) / 1e9;
        struct err why;
        if (add_seconds(options.run_dir, &seconds, &why) != STATUS_OK) {
            fprintf(stderr, "hindcast up: wall_seconds are those of this start alone: %s\n",
                    why.text);
        }
        /* Only a run that has ended by itself has a summary; its presence tells run_seeds() to skip
         * it. */
        if (end == SUPERVISOR_OVER &&
            summary_make(options.run_dir, plan->up->offline_evaluators > 0, seconds, stdout,
                         &err) != STATUS_OK) {
            end = SUPERVISOR_FAILED;
        }
        if (end == SUPERVISOR_OVER) {
            say_what_next(options.run_dir);
        }
    }
    if (end == SUPERVISOR_FAILED) {
        const char *reason = supervisor != NULL ? supervisor_reason(supervisor) : "";
        fprintf(stderr, "hindcast up: %s%s%s\n", err.text, reason[0] != '\0' ? "\n" : "", reason);
    }
    /* The lock is given back last, when no process of the run is left. */
    supervisor_free(supervisor);
    if (lock >= 0) {
        close(lock);
    }
    /* 130 is what shells report for a program that Ctrl-C ended. */
    return end == SUPERVISOR_OVER          ? 0
           : end == SUPERVISOR_INTERRUPTED ? 130
                                           : status_exit_code(err.code);
}

/* One run after another; those that have their summary are not run again. */
static int run_seeds(const struct run_plan *plan)
{
    /* Each seed is a run of its own, with its own folder, processes and summary. */
    for (size_t i = 0; i < plan->up->seeds.n; i++) {
        struct experiment experiment = *plan->experiment;
        struct run_plan one = *plan;
        one.experiment = &experiment;
        experiment.seed = plan->up->seeds.items[i];
        snprintf(experiment.run_dir, sizeof experiment.run_dir, "%.400s/seed-%lld",
                 plan->experiment->run_dir, (long long)experiment.seed);
        if (summary_is_there(experiment.run_dir)) {
            fprintf(stderr, "%s: has its summary, not run again\n", experiment.run_dir);
            continue;
        }
        fprintf(stderr, "seed %lld (%zu of %zu) in %s\n", (long long)experiment.seed, i + 1,
                plan->up->seeds.n, experiment.run_dir);
        /* An interrupt, too, ends the whole series; the same command continues with this seed. */
        int result = run_once(&one);
        if (result != 0) {
            return result;
        }
    }
    return 0;
}

/* The usage, and the options that this command reads itself. */
static int help(void)
{
    static struct experiment experiment;
    static struct up_options up;
    const struct config_section sections[] = {experiment_section(&experiment), up_section(&up)};
    fputs(usage, stdout);
    config_help(stdout, sections, 2);
    return 0;
}

/* Who chooses the run's policy: evaluators by its returns, or an offline evaluator. INVALID where
 * both would, or where what it needs is not here. */
static status plan_choice(const struct experiment *experiment, struct up_options *up,
                          struct err *err)
{
    up->offline_evaluators = experiment_chooses_offline(experiment);
    if (up->offline_evaluators > 0 && up->evaluators > 0) {
        return err_set(err, STATUS_INVALID,
                       "experiment.choose: offline: expected up.evaluators 0, not %lld: evaluators "
                       "choose the policy by its returns",
                       (long long)up->evaluators);
    }
    if (up->offline_evaluators > 0 && (up->replay_servers == 0 || up->learners == 0)) {
        return err_set(err, STATUS_INVALID,
                       "experiment.choose: offline: expected a replay server and a learner here, "
                       "not up.replay_servers %lld, up.learners %lld",
                       (long long)up->replay_servers, (long long)up->learners);
    }
    return STATUS_OK;
}

/* Where pages ask for a token, this command must have one: it shows what they tell. */
static status check_token(const struct experiment *experiment, struct err *err)
{
    if (experiment->admin_tokens_file[0] == '\0') {
        return STATUS_OK;
    }
    if (experiment->token_file[0] == '\0') {
        return err_set(err, STATUS_INVALID,
                       "experiment.admin_tokens_file is given, and no experiment.token_file: "
                       "expected a file with a token of the role read");
    }
    struct tokens *tokens = NULL;
    char client[TOKENS_CLIENT_SIZE], *token = NULL;
    status s = roles_read(&tokens, experiment->admin_tokens_file, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "experiment.admin_tokens_file");
    }
    s = token_read(&token, experiment->token_file, err);
    if (s == STATUS_OK && (tokens_role_of(tokens, token, client) & ROLES_OF_PAGES) == 0) {
        s = err_set(err, STATUS_INVALID,
                    "experiment.token_file %.200s: expected a token to which "
                    "experiment.admin_tokens_file gives the role read",
                    experiment->token_file);
    }
    mem_free(token);
    tokens_free(tokens);
    return s;
}

int command_up(int argc, char **argv)
{
    /* The experiment comes first, so that flags without one are a mistake. */
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        return help();
    }
    if (argc < 2 || argv[1][0] == '-') {
        fputs(usage, stderr);
        return 2;
    }
    /* Static: both are large, and the plan points to them until the end. */
    static struct experiment experiment;
    static struct up_options up;
    struct run_plan plan = {0};
    struct err err;
    if (read_experiment(argc, argv, &experiment, &up, &plan, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast up: %s\n", err.text);
        return 2;
    }
    /* Processes compare it with their parent's, in case we die before they look. */
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv("HINDCAST_SUPERVISED", pid, 1); /* children end when we do */

    /* Derived values (the run's folder, for one) are needed by the checks and by the run. */
    experiment_finish(&experiment);
    if (plan_choice(&experiment, &up, &err) != STATUS_OK ||
        check_token(&experiment, &err) != STATUS_OK || run_plan_check(&plan, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast up: %s\n", err.text);
        return 2;
    }
    return up.seeds.n ? run_seeds(&plan) : run_once(&plan);
}
