/* hindcast dashboard: serves the page about a folder of runs until a signal ends it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/dashboard/dashboard.h"
#include "deploy/local/commands.h"

#define ADDRESS_FLAG "--address="

struct dashboard_flags {
    const char *folder, *address;
};

/* False: the command line is wrong. */
static bool parse(struct dashboard_flags *flags, int argc, char **argv)
{
    *flags = (struct dashboard_flags){"runs", "127.0.0.1:8088"};
    bool has_folder = false;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], ADDRESS_FLAG, strlen(ADDRESS_FLAG)) == 0) {
            flags->address = argv[i] + strlen(ADDRESS_FLAG);
        } else if (argv[i][0] == '-' || has_folder) {
            return false;
        } else {
            flags->folder = argv[i];
            has_folder = true;
        }
    }
    return true;
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
    status s = admin_open(&admin, flags->address, false, NULL, &err);
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast dashboard: %s\n", err.text);
        return 1;
    }
    s = dashboard_open(&dashboard, flags->folder, admin, &err);
    if (s == STATUS_OK) {
        admin_set_serving(admin, true);
        printf("http://%s/ shows the runs in %s (Ctrl-C ends it)\n", admin_address(admin),
               flags->folder);
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
    static const char usage[] =
        "usage: hindcast dashboard [FOLDER] [--address=HOST:PORT]\n"
        "Serves a web page about the runs in FOLDER (runs), or about one run: learning curves,\n"
        "box plots, processes, what needs attention. The numbers are at /runs.json, which\n"
        "/openapi.json describes. It listens on 127.0.0.1:8088, or a loopback address of yours\n"
        "(port 0: a free one); the page has no password, so use an ssh tunnel from elsewhere.\n";
    struct dashboard_flags flags;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (!parse(&flags, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    return serve(&flags);
}
