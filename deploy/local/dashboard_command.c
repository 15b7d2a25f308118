/* hindcast dashboard: serves the page about a folder of runs until a signal ends it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/dashboard/dashboard.h"
#include "deploy/local/commands.h"
#include "deploy/local/experiment_flags.h"

#define ADDRESS_FLAG "--address="

static const char usage[] =
    "usage: hindcast dashboard [FOLDER] [--address=HOST:PORT] [--experiment.NAME=VALUE ..]\n"
    "Serves a web page about the runs in FOLDER (runs), or about one run: learning curves,\n"
    "box plots, processes, what needs attention. The numbers are at /runs.json, which\n"
    "/openapi.json describes. It listens on 127.0.0.1:8088, or another address (port 0: a free\n"
    "one); beyond loopback it needs --experiment.admin_tokens_file, --experiment.tls_cert and\n"
    "--experiment.tls_key, as every process does. Processes that ask for a token are shown the "
    "one\n"
    "in --experiment.token_file, and believed where --experiment.tls_ca says so.\n";

struct dashboard_flags {
    const char *folder, *address;
    struct experiment experiment; /* tokens and TLS, of this page and to ask processes with */
};

/* False: the command line is wrong. */
static bool parse(struct dashboard_flags *flags, int argc, char **argv)
{
    flags->folder = "runs";
    flags->address = "127.0.0.1:8088";
    bool has_folder = false;
    int n = 0;
    /* Those of the experiment go to the front. */
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], ADDRESS_FLAG, strlen(ADDRESS_FLAG)) == 0) {
            flags->address = argv[i] + strlen(ADDRESS_FLAG);
        } else if (strncmp(argv[i], EXPERIMENT_FLAG, strlen(EXPERIMENT_FLAG)) == 0) {
            argv[n++] = argv[i];
        } else if (argv[i][0] == '-' || has_folder) {
            fputs(usage, stderr);
            return false;
        } else {
            flags->folder = argv[i];
            has_folder = true;
        }
    }
    struct err err;
    if (experiment_flags_read(&flags->experiment, n, argv, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast dashboard: %s\n", err.text);
        return false;
    }
    return true;
}

static status open_page(struct admin **admin, const struct dashboard_flags *flags, struct err *err)
{
    const struct experiment *experiment = &flags->experiment;
    const struct admin_settings settings = {.address = flags->address,
                                            .tokens_file = experiment->admin_tokens_file,
                                            .tls_cert = experiment->tls_cert,
                                            .tls_key = experiment->tls_key,
                                            .allow_insecure = experiment->allow_insecure};
    const status s = admin_open(admin, &settings, err);
    for (size_t i = 0; s == STATUS_OK && i < experiment->admin_hosts.n; i++) {
        admin_allow_host(*admin, experiment->admin_hosts.items[i]);
    }
    return s;
}

/* Serves until SIGINT or SIGTERM. */
static int serve(const struct dashboard_flags *flags)
{
    struct admin *admin;
    struct dashboard *dashboard = NULL;
    struct err err;
    struct stat about;
    sigset_t ends;
    int signal_number;
    if (stat(flags->folder, &about) != 0 || !S_ISDIR(about.st_mode)) {
        fprintf(stderr,
                "hindcast dashboard: %s: no such folder; expected a run, or a folder of runs\n",
                flags->folder);
        return 1;
    }
    /* Blocked before there are threads, so that only sigwait below takes them. */
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    status s = open_page(&admin, flags, &err);
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast dashboard: %s\n", err.text);
        return 1;
    }
    const struct peek_access access = peek_access_of(&flags->experiment);
    s = dashboard_open(&dashboard, flags->folder, &access, admin, &err);
    if (s == STATUS_OK) {
        admin_set_serving(admin, true);
        printf("http%s://%s/ shows the runs in %s (Ctrl-C ends it)\n",
               admin_has_tls(admin) ? "s" : "", admin_address(admin), flags->folder);
        fflush(stdout);
        sigwait(&ends, &signal_number);
    } else {
        fprintf(stderr, "hindcast dashboard: %s\n", err.text);
    }
    admin_close(admin);
    dashboard_close(dashboard);
    return s == STATUS_OK ? 0 : 1;
}

int command_dashboard(int argc, char **argv)
{
    static struct dashboard_flags flags; /* large */
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    return parse(&flags, argc, argv) ? serve(&flags) : 2;
}
