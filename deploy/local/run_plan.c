/* Which processes a run has, with which arguments. Knows every role by name and nothing of what it
 * does: the tables below are all that a new role adds here. */
#include "deploy/local/run_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/installation.h"

#define MADE_MAX      8
#define ARGUMENTS_MAX (RUN_PLAN_FLAGS_MAX + MADE_MAX + 1)
#define ARGUMENT_SIZE 1100

#define OPTION(field, kind, value, low, high, text)                                                \
    {                                                                                              \
        .name = #field, .type = kind, .offset = offsetof(struct up_options, field), .unit = "",    \
        .default_text = value, .min = low, .max = high, .help = text                               \
    }

static const struct config_option up_table[] = {
    OPTION(replay_servers, CONFIG_INT, "1", 0, 1,
           "replay servers here; 0: they run elsewhere (experiment.replay)"),
    OPTION(restorers, CONFIG_INT, "1", 0, 16, "restorers, each with its share of the shards"),
    OPTION(learners, CONFIG_INT, "1", 0, 16,
           "learners here: ranks that take each step together; 0: elsewhere"),
    OPTION(evaluators, CONFIG_INT, "1", 0, 16, "evaluators"),
    OPTION(collectors, CONFIG_INT, "0", 0, 16, "collectors: online learning, and logs"),
    OPTION(seeds, CONFIG_INTS, "[]", 0, 1e9,
           "one run after another, each in RUN_DIR/seed-S; empty: one, with experiment.seed"),
    OPTION(max_crashes, CONFIG_INT, "5", 0, 1000,
           "crashes in a row after which a process is given up"),
    OPTION(stop_seconds, CONFIG_REAL, "20", 1, 600, "a process has so long to end after SIGTERM"),
};

struct config_section up_section(struct up_options *options)
{
    return (struct config_section){.name = "up",
                                   .options = up_table,
                                   .n_options = sizeof up_table / sizeof up_table[0],
                                   .values = options};
}

/* The roles in the order in which they are shown. */
static const struct role {
    const char *name;
    const char *binary;
    size_t count;   /* offset in struct up_options */
    unsigned flags; /* enum child_flags */
    bool group;     /* several are ranks that work together */
} roles[] = {
    {"replay_server", "hindcast-replay-server", offsetof(struct up_options, replay_servers),
     .flags = CHILD_LAST},
    {"restorer", "hindcast-restorer", offsetof(struct up_options, restorers), .flags = 0},
    {"collector", "hindcast-collector", offsetof(struct up_options, collectors),
     .flags = CHILD_GOAL},
    {"learner", "hindcast-learner", offsetof(struct up_options, learners),
     .flags = CHILD_GOAL | CHILD_AGAIN, .group = true},
    {"evaluator", "hindcast-evaluator", offsetof(struct up_options, evaluators),
     .flags = CHILD_GOAL},
};

#define N_ROLES (sizeof roles / sizeof roles[0])

static int role_count(const struct run_plan *plan, const struct role *role)
{
    int64_t count;
    memcpy(&count, (const char *)plan->up + role->count, sizeof count);
    return (int)count;
}

/* A binary stands beside ours (installed) or in its role's folder of the build tree. */
static status find_binary(const struct role *role, char path[PATH_MAX], struct err *err)
{
    char here[PATH_MAX];
    status s = installation_programs(here, sizeof here, err);
    if (s != STATUS_OK) {
        return s;
    }
    const char *const folders[] = {".", role->name};
    for (size_t i = 0; i < 2; i++) {
        if (snprintf(path, PATH_MAX, "%s/%s/%s", here, folders[i], role->binary) < PATH_MAX &&
            access(path, X_OK) == 0) {
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_NOT_FOUND, "%s: not beside this program in %s", role->binary, here);
}

const char *run_plan_program(size_t i)
{
    return i < N_ROLES ? roles[i].binary : NULL;
}

status run_plan_find_program(size_t i, char path[PATH_MAX], struct err *err)
{
    ASSERT(i < N_ROLES);
    return find_binary(&roles[i], path, err);
}

/* Does "--section.name=value" concern this role? */
static bool flag_concerns(const char *flag, const struct role *role)
{
    const char *section = flag + 2;
    size_t n = strcspn(section, ".=");
    return section[n] == '.' &&
           ((n == strlen(role->name) && strncmp(section, role->name, n) == 0) ||
            (n == strlen("experiment") && strncmp(section, "experiment", n) == 0));
}

struct arguments {
    char made[MADE_MAX][ARGUMENT_SIZE]; /* those that are not the user's own */
    size_t n_made;
    char *list[ARGUMENTS_MAX]; /* without argv[0], NULL-terminated */
    size_t n;
};

static void add_argument(struct arguments *arguments, const char *format, ...) PRINTF_LIKE(2, 3);

static void add_argument(struct arguments *arguments, const char *format, ...)
{
    ASSERT(arguments->n_made < MADE_MAX && arguments->n + 1 < ARGUMENTS_MAX);
    char *text = arguments->made[arguments->n_made++];
    va_list values;
    va_start(values, format);
    vsnprintf(text, ARGUMENT_SIZE, format, values);
    va_end(values);
    arguments->list[arguments->n++] = text;
}

/* File, then the user's flags, then what tells this process apart. */
static void make_arguments(const struct run_plan *plan, const struct role *role, int index,
                           int count, struct arguments *arguments)
{
    *arguments = (struct arguments){0};
    add_argument(arguments, "--config=%s", plan->config_path);
    if (strcmp(role->name, "learner") == 0 && plan->up->evaluators > 0) {
        add_argument(arguments, "--learner.followers=%lld", (long long)plan->up->evaluators);
    }
    for (size_t i = 0; i < plan->n_flags; i++) {
        if (flag_concerns(plan->flags[i], role)) {
            arguments->list[arguments->n++] = (char *)plan->flags[i];
        }
    }
    add_argument(arguments, "--experiment.run_dir=%s", plan->experiment->run_dir);
    add_argument(arguments, "--experiment.seed=%lld", (long long)plan->experiment->seed);
    if (count > 1) {
        add_argument(arguments, "--%s.%s=%d", role->name, role->group ? "rank" : "index", index);
        add_argument(arguments, "--%s.%s=%d", role->name, role->group ? "ranks" : "count", count);
    }
}

static status check_role(const struct run_plan *plan, const struct role *role, struct err *err)
{
    char path[PATH_MAX];
    status s = find_binary(role, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct arguments arguments;
    make_arguments(plan, role, 0, role_count(plan, role), &arguments);
    char *argv[ARGUMENTS_MAX + 2] = {path};
    size_t n = 1;
    for (char **argument = arguments.list; *argument; argument++) {
        argv[n++] = *argument;
    }
    argv[n++] = "--experiment.check=true";
    argv[n] = NULL;
    pid_t pid = fork();
    if (pid == 0) {
        execv(path, argv);
        _exit(127);
    }
    int result;
    if (pid < 0 || waitpid(pid, &result, 0) != pid) {
        return err_set(err, STATUS_IO, "%s: cannot be started", path);
    }
    if (!WIFEXITED(result) || WEXITSTATUS(result) != 0) {
        return err_set(err, STATUS_INVALID, "%s refuses its configuration (see above)", role->name);
    }
    return STATUS_OK;
}

status run_plan_check(const struct run_plan *plan, struct err *err)
{
    for (size_t i = 0; i < N_ROLES; i++) {
        if (role_count(plan, &roles[i]) > 0) {
            status s = check_role(plan, &roles[i], err);
            if (s != STATUS_OK) {
                return s;
            }
        }
    }
    return STATUS_OK;
}

status run_plan_add(const struct run_plan *plan, struct supervisor *supervisor, struct err *err)
{
    for (size_t i = 0; i < N_ROLES; i++) {
        const struct role *role = &roles[i];
        int count = role_count(plan, role);
        for (int index = 0; index < count; index++) {
            char path[PATH_MAX];
            status s = find_binary(role, path, err);
            if (s == STATUS_OK) {
                struct arguments arguments;
                make_arguments(plan, role, index, count, &arguments);
                struct child_spec spec = {.role = role->name,
                                          .index = index,
                                          .count = count,
                                          .binary = path,
                                          .arguments = arguments.list,
                                          .flags = role->flags};
                if (role->group) {
                    /* Rank 0 is called "learner", the others learner-1, learner-2, .. Only rank 0
                     * tells other processes that the run has ended. */
                    spec.count = index + 1;
                    spec.flags &= index == 0 ? ~0u : ~(unsigned)CHILD_AGAIN;
                }
                s = supervisor_add(supervisor, &spec, err);
            }
            if (s != STATUS_OK) {
                return s;
            }
        }
    }
    return STATUS_OK;
}
