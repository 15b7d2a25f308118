/* The section that all processes share: its table of options, and the values that follow from
 * others (run_dir from the name, socket addresses from run_dir).
 *
 * Those values may be empty in a file, and mostly are. experiment_finish fills them in after
 * loading, so that all other code finds them set. Used at start, on one thread. */
#include "common/base/experiment.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Where a field lies in the struct, as the table of options wants it. */
#define FIELD(name) offsetof(struct experiment, name)

/* Not const: a process that knows environments puts their names into the help. */
static struct config_option options[] = {
    {"name", CONFIG_TEXT, FIELD(name), "", "run", 0, 0, NULL,
     "name of the run: names its folder and plots"},
    {"run_dir", CONFIG_TEXT, FIELD(run_dir), "", "", 0, 0, NULL,
     "folder of all that the run writes; empty: runs/NAME"},
    {"environment", CONFIG_TEXT, FIELD(environment), "", "", 0, 0, NULL,
     "environment to act in; hindcast-evaluator --help lists them"},
    {"seed", CONFIG_INT, FIELD(seed), "", "1", 0, 9007199254740992.0, NULL,
     "every random number of the run follows from it"},
    {"choose", CONFIG_CHOICE, FIELD(choose), "", "last", 0, 0, "last|offline",
     "which policy a run without evaluators leaves: the last, or the best of those that it kept by "
     "what they are worth from the logs alone"},
    {"replay", CONFIG_TEXTS, FIELD(replay), "", "[]", 0, 0, NULL,
     "addresses of the replay servers; empty: unix:RUN_DIR/replay.sock"},
    {"parameters", CONFIG_TEXT, FIELD(parameters), "", "", 0, 0, NULL,
     "address of the learner's Parameters; empty: unix:RUN_DIR/parameters.sock"},
    {"tls_ca", CONFIG_TEXT, FIELD(tls_ca), "", "", 0, 0, NULL,
     "PEM file of the authority that peers are checked against; empty: no TLS"},
    {"tls_cert", CONFIG_TEXT, FIELD(tls_cert), "", "", 0, 0, NULL,
     "PEM file of this process's certificate"},
    {"tls_key", CONFIG_TEXT, FIELD(tls_key), "", "", 0, 0, NULL, "PEM file of its private key"},
    {"token_file", CONFIG_TEXT, FIELD(token_file), "", "", 0, 0, NULL,
     "file with the bearer token that this process shows to its peers, and to admin pages"},
    {"allow_insecure", CONFIG_BOOL, FIELD(allow_insecure), "", "false", 0, 0, NULL,
     "listen beyond loopback without TLS, and show admin pages there without tokens"},
    {"log_level", CONFIG_CHOICE, FIELD(log_level), "", "info", 0, 0, "debug|info|warn|error",
     "the least level that is logged"},
    {"admin", CONFIG_TEXT, FIELD(admin), "", "", 0, 0, NULL,
     "HTTP address of /metrics; empty: 127.0.0.1 and a free port, in RUN_DIR/ROLE.admin"},
    {"admin_hosts", CONFIG_TEXTS, FIELD(admin_hosts), "", "[]", 0, 0, NULL,
     "further host names under which the admin page answers; this machine's own and numeric "
     "addresses always do"},
    {"admin_tokens_file", CONFIG_TEXT, FIELD(admin_tokens_file), "", "", 0, 0, NULL,
     "bearer tokens of those who may read admin pages (role read or admin), one a line; empty: "
     "everybody who reaches them"},
    {"check", CONFIG_BOOL, FIELD(check), "", "false", 0, 0, NULL,
     "read the configuration, say what is wrong with it, and leave"},
};

struct config_section experiment_section(struct experiment *experiment)
{
    /* Loading writes into the caller's struct. */
    return (struct config_section){.name = "experiment",
                                   .options = options,
                                   .n_options = sizeof options / sizeof options[0],
                                   .values = experiment};
}

bool experiment_chooses_offline(const struct experiment *experiment)
{
    return strcmp(experiment->choose, "offline") == 0;
}

void experiment_offer_environments(const char *const *names)
{
    /* Static, because the table keeps a pointer to it. Names that do not fit are left out. */
    static char help[1024];
    size_t used = (size_t)snprintf(help, sizeof help, "environment to act in");
    for (size_t i = 0; names[i] != NULL; i++) {
        int n = snprintf(help + used, sizeof help - used, "%s%s", i == 0 ? ": " : ", ", names[i]);
        if (n < 0 || (size_t)n >= sizeof help - used) {
            help[used] = '\0'; /* whole names only */
            break;
        }
        used += (size_t)n;
    }
    /* The option is recognized by its field, not by its place in the table. */
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (options[i].offset == FIELD(environment)) {
            options[i].help = help;
        }
    }
}

/* target <- "a" "b" "c". A result that does not fit is cut, and opening it reports the path. */
static void join(char target[CONFIG_TEXT_SIZE], const char *a, const char *b, const char *c)
{
    const int length = snprintf(target, CONFIG_TEXT_SIZE, "%s%s%s", a, b, c);
    ASSERT(length >= 0);
}

void experiment_finish(struct experiment *experiment)
{
    /* Without a folder of its own, a run has the one that its name gives. */
    if (experiment->run_dir[0] == '\0') {
        join(experiment->run_dir, "runs/", experiment->name, "");
    }
    /* On one machine, sockets in the run folder: no port to choose, no TLS to set up. */
    if (experiment->replay.n == 0) {
        join(experiment->replay.items[0], "unix:", experiment->run_dir, "/replay.sock");
        experiment->replay.n = 1;
    }
    if (experiment->parameters[0] == '\0') {
        join(experiment->parameters, "unix:", experiment->run_dir, "/parameters.sock");
    }
}
