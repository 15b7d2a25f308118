/* Which processes a run has, with which arguments, and the checks before any of them starts. Every
 * process gets the experiment file, the user's flags for its section, and what `up` alone knows:
 * its number among those of its role, the seed, the run's folder. The plan is made again for each
 * seed. Knows every role by name and nothing of what it does: the tables below are all that a new
 * role adds here. */
#include "deploy/local/run_plan.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/trajectory/episode_history.h"
#include "common/trajectory/signature.h"
#include "deploy/local/programs.h"

/* Arguments of one process that make_arguments() makes itself, at most. */
#define MADE_MAX           8
#define ARGUMENTS_MAX      (RUN_PLAN_FLAGS_MAX + MADE_MAX + 1)
#define ARGUMENT_SIZE      1100
#define RUN_PLAN_ROLE_MAX  16u        /* processes of a role, see up_table */
#define SIGNATURE_TEXT_MAX (1u << 20) /* bytes of what --check prints */

/* One line of up_table: the field's name is the option's name. */
#define OPTION(field, kind, value, low, high, text)                                                \
    {                                                                                              \
        .name = #field, .type = kind, .offset = offsetof(struct up_options, field), .unit = "",    \
        .default_text = value, .min = low, .max = high, .help = text                               \
    }

/* The options of the section `up`. A count may be 0 for a role that runs on another machine. */
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
    bool logs;      /* --check prints the signature of the logs */
    bool acts;      /* --check prints the signature of the environment */
} roles[] = {
    {"replay_server", "hindcast-replay-server", offsetof(struct up_options, replay_servers),
     .flags = CHILD_LAST},
    {"restorer", "hindcast-restorer", offsetof(struct up_options, restorers), .logs = true},
    {"collector", "hindcast-collector", offsetof(struct up_options, collectors),
     .flags = CHILD_GOAL, .acts = true},
    {"learner", "hindcast-learner", offsetof(struct up_options, learners),
     .flags = CHILD_GOAL | CHILD_AGAIN, .group = true},
    {"evaluator", "hindcast-evaluator", offsetof(struct up_options, evaluators),
     .flags = CHILD_GOAL, .acts = true},
    {"offline_evaluator", "hindcast-offline-evaluator",
     offsetof(struct up_options, offline_evaluators), .flags = CHILD_GOAL | CHILD_AFTER},
};

#define N_ROLES (sizeof roles / sizeof roles[0])

/* How many of this role the section `up` asks for. */
static int role_count(const struct run_plan *plan, const struct role *role)
{
    /* Each count is an int64_t of struct up_options, found by its offset. */
    int64_t count;
    memcpy(&count, (const char *)plan->up + role->count, sizeof count);
    return (int)count;
}

/* Does "--section.name=value" concern this role? */
static bool flag_concerns(const char *flag, const struct role *role)
{
    const char *section = flag + 2;
    /* `experiment` concerns every role; other sections belong to one. */
    size_t n = strcspn(section, ".=");
    return section[n] == '.' &&
           ((n == strlen(role->name) && strncmp(section, role->name, n) == 0) ||
            (n == strlen("experiment") && strncmp(section, "experiment", n) == 0));
}

/* The arguments of one process. `list` points into `made` and to the user's flags, so this struct
 * must outlive its use and must not be copied. */
struct arguments {
    char made[MADE_MAX][ARGUMENT_SIZE]; /* those that are not the user's own */
    size_t n_made;
    char *list[ARGUMENTS_MAX]; /* without argv[0], NULL-terminated */
    size_t n;
};

static void add_argument(struct arguments *arguments, const char *format, ...) PRINTF_LIKE(2, 3);

/* Formats one of our own arguments; MADE_MAX says how many there can be. */
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

/* Splits "HOST:PORT" of experiment.admin at the last colon. False where the port is left to the
 * system: empty, or 0. */
static bool fixed_admin_port(const struct run_plan *plan, size_t *host_size, unsigned *port)
{
    const char *admin = plan->experiment->admin;
    const char *colon = strrchr(admin, ':');
    char *end = NULL;
    const unsigned long number = colon != NULL ? strtoul(colon + 1, &end, 10) : 0;
    if (number == 0 || number > 65535 || *end != '\0') {
        return false; /* what is no port is refused by the processes, which read it themselves */
    }
    *host_size = (size_t)(colon - admin);
    *port = (unsigned)number;
    return true;
}

/* The port of one process: another for each role and index, and the same in every run with the same
 * experiment.admin, so that a scraper may list them. */
static unsigned admin_port(const struct role *role, int index, unsigned first)
{
    return first + (unsigned)(role - roles) * RUN_PLAN_ROLE_MAX + (unsigned)index;
}

/* File, then the user's flags, then what tells this process apart. */
static void make_arguments(const struct run_plan *plan, const struct role *role, int index,
                           int count, struct arguments *arguments)
{
    *arguments = (struct arguments){0};
    if (plan->config_path != NULL) {
        add_argument(arguments, "--config=%s", plan->config_path);
    }
    /* The learner waits at its end until this many have the last policy. */
    if (strcmp(role->name, "learner") == 0 && plan->up->evaluators > 0) {
        add_argument(arguments, "--learner.followers=%lld", (long long)plan->up->evaluators);
    }
    /* The user's flags come after the file, which they override. */
    for (size_t i = 0; i < plan->n_flags; i++) {
        if (flag_concerns(plan->flags[i], role)) {
            arguments->list[arguments->n++] = (char *)plan->flags[i];
        }
    }
    if (strcmp(role->name, "offline_evaluator") == 0 && plan->up->learners > 0) {
        add_argument(arguments, "--offline_evaluator.choose=true");
    }
    /* What `up` decides comes last and therefore wins. The run folder is the seed's own with
     * up.seeds. */
    add_argument(arguments, "--experiment.run_dir=%s", plan->experiment->run_dir);
    add_argument(arguments, "--experiment.seed=%lld", (long long)plan->experiment->seed);
    /* A fixed port can serve one process only; each gets a port derived from it. */
    size_t host_size;
    unsigned first;
    if (fixed_admin_port(plan, &host_size, &first)) {
        add_argument(arguments, "--experiment.admin=%.*s:%u", (int)host_size,
                     plan->experiment->admin, admin_port(role, index, first));
    }
    /* Several processes of one role share the work and must know their place among them. */
    if (count > 1) {
        add_argument(arguments, "--%s.%s=%d", role->name, role->group ? "rank" : "index", index);
        add_argument(arguments, "--%s.%s=%d", role->name, role->group ? "ranks" : "count", count);
    }
}

/* Runs `argv` and keeps the beginning of what it prints to stdout, terminated. Returns its wait
 * status; -1 where it cannot be started. */
static int run_and_read(char *const *argv, char *said, size_t size)
{
    /* The child's stdout is a pipe; its stderr stays ours, so that the user sees its complaints. */
    int ends[2];
    if (pipe(ends) != 0) {
        return -1;
    }
    /* A failed fork gives -1, which is found at the end; until then the pipe is simply empty. */
    const pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(argv[0], argv);
        _exit(127);
    }
    close(ends[1]);
    size_t used = 0;
    char beyond[4096];
    ssize_t n;
    /* Reads to the end, also what does not fit: a full pipe would keep the process from ending. */
    while ((n = used + 1 < size ? read(ends[0], said + used, size - used - 1)
                                : read(ends[0], beyond, sizeof beyond)) > 0) {
        used += used + 1 < size ? (size_t)n : 0;
    }
    said[used] = '\0';
    close(ends[0]);
    int result = -1;
    return pid > 0 && waitpid(pid, &result, 0) == pid ? result : -1;
}

/* Runs the role's program with --check. `signature` gets what it prints of one, where it does. */
static status check_role(const struct run_plan *plan, const struct role *role,
                         struct signature *signature, bool *told, struct err *err)
{
    /* Arguments are the same as in the run itself: what passes the check is what will be
     * started. */
    char path[PATH_MAX];
    status s = programs_find(role->binary, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct arguments arguments;
    /* They are followed by the flag that makes the program stop after its checks. */
    make_arguments(plan, role, 0, role_count(plan, role), &arguments);
    char *argv[ARGUMENTS_MAX + 2] = {path};
    size_t n = 1;
    /* The program's path comes first, as argv[0]. */
    for (char **argument = arguments.list; *argument; argument++) {
        argv[n++] = *argument;
    }
    argv[n++] = (char *)"--experiment.check=true";
    argv[n] = NULL;

    /* Static: 1 MiB is much for the stack, and checks run one after another. */
    static char said[SIGNATURE_TEXT_MAX];
    const int result = run_and_read(argv, said, sizeof said);
    if (result == -1) {
        return err_set(err, STATUS_IO, "%s: cannot be started", path);
    }
    /* The program has told the reason on stderr already. */
    if (!WIFEXITED(result) || WEXITSTATUS(result) != 0) {
        return err_set(err, STATUS_INVALID, "%s refuses its configuration (see above)", role->name);
    }
    /* Only programs that read logs or act in an environment print a signature, behind a fixed
     * word. */
    const char *json = strstr(said, SIGNATURE_TOLD);
    *told = json != NULL;
    return *told ? signature_from_json(signature, json + strlen(SIGNATURE_TOLD), err) : STATUS_OK;
}

/* Does the policy that is learned from the logs fit the environment it is to act in? Rewards are
 * left out: the restorer may relabel them, and the learner may use some of them. */
static status compare_signatures(const struct signature *logs, const struct signature *environment,
                                 const struct run_plan *plan, struct err *err)
{
    struct signature *want = mem_new(2 * sizeof *want);
    if (want == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "signature");
    }
    /* Logs with history are for policies that stack what the environment gives. */
    struct signature *have = want + 1;
    const struct episode_history history = episode_history_of(logs, environment);
    status s = episode_history_signature(&history, environment, have, err);
    if (s != STATUS_OK) {
        mem_free(want);
        return s;
    }
    /* With K = 0 no reward is required of the logs. */
    *want = *logs;
    want->K = 0;
    struct err why;
    s = signature_match(have, want, NULL, &why);
    mem_free(want);
    if (s == STATUS_OK) {
        return s;
    }
    /* signature_match() speaks of here and there; the message says what these are. */
    return err_set(
        err, s,
        "experiment.environment %s does not fit the logs: %s (here: the environment, there: "
        "the logs). Name the environment in which the logs were recorded, or leave it out "
        "with up.evaluators: 0",
        plan->experiment->environment, why.text);
}

/* Binds and closes: is the port of every process free? */
static status check_admin_port(const char *address, size_t host_size, unsigned port,
                               struct err *err)
{
    /* The first port plus the offset of a role may exceed what TCP has. */
    char host[256], service[16];
    if (port > 65535) {
        return err_set(err, STATUS_INVALID,
                       "experiment.admin %s: ports up to %u are needed, one for each process",
                       address, port);
    }
    /* getaddrinfo() wants an IPv6 host without its brackets. */
    const bool brackets = address[0] == '[' && host_size > 2;
    snprintf(host, sizeof host, "%.*s", (int)host_size - (brackets ? 2 : 0), address + brackets);
    snprintf(service, sizeof service, "%u", port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    const int code = getaddrinfo(host, service, &hints, &found);
    if (code != 0) {
        return err_set(err, STATUS_INVALID, "experiment.admin %s: %s", address, gai_strerror(code));
    }
    /* With SO_REUSEADDR the port of a run that has just ended counts as free. */
    status s = STATUS_OK;
    const int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
                    bind(fd, found->ai_addr, found->ai_addrlen) != 0)) {
        s = err_errno(err, errno, "experiment.admin: %s:%u", host, port);
    }
    if (fd >= 0) {
        close(fd);
    }
    freeaddrinfo(found);
    return s;
}

/* Checks the port of each process that will run. Another program may still take one later; then
 * that process says so itself. */
static status check_admin_ports(const struct run_plan *plan, struct err *err)
{
    size_t host_size;
    unsigned first;
    status s = STATUS_OK;
    for (size_t i = 0; fixed_admin_port(plan, &host_size, &first) && i < N_ROLES; i++) {
        for (int index = 0; s == STATUS_OK && index < role_count(plan, &roles[i]); index++) {
            s = check_admin_port(plan->experiment->admin, host_size,
                                 admin_port(&roles[i], index, first), err);
        }
    }
    return s;
}

status run_plan_check(const struct run_plan *plan, struct err *err)
{
    /* Static, since a signature is large. */
    static struct signature logs, environment;
    bool have_logs = false, have_environment = false;
    /* Every program checks its own part of the configuration. */
    for (size_t i = 0; i < N_ROLES; i++) {
        if (role_count(plan, &roles[i]) == 0) {
            continue;
        }
        struct signature *signature = roles[i].logs ? &logs : &environment;
        bool told = false;
        status s = check_role(plan, &roles[i], signature, &told, err);
        if (s != STATUS_OK) {
            return s;
        }
        /* Several roles act: the last one that tells its environment's signature counts, and all
         * have the same environment. */
        have_logs = have_logs || (told && roles[i].logs);
        have_environment = have_environment || (told && roles[i].acts);
    }
    /* Only here are both signatures known: processes see one of them each. */
    status s = STATUS_OK;
    if (have_logs && have_environment) {
        s = compare_signatures(&logs, &environment, plan, err);
    }
    return s == STATUS_OK ? check_admin_ports(plan, err) : s;
}

status run_plan_add(const struct run_plan *plan, struct supervisor *supervisor, struct err *err)
{
    for (size_t i = 0; i < N_ROLES; i++) {
        const struct role *role = &roles[i];
        int count = role_count(plan, role);
        /* The supervisor copies what it is given, so that path and arguments may live on the
         * stack. */
        for (int index = 0; index < count; index++) {
            char path[PATH_MAX];
            status s = programs_find(role->binary, path, err);
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
