/* hindcast: the front end of one machine. Each command is one file; this one chooses among them. To
 * add a command, write its file, declare it in commands.h, and add a line to the table below and to
 * completion_command.c. The exit status is 2 for a wrong command line. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "deploy/local/commands.h"

/* The commands in the order in which usage() shows them. `run` gets the arguments from the
 * command's own name on, and returns the exit status of the process. */
static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *arguments;
    const char *help;
} commands[] = {
    {"up", command_up, "EXPERIMENT.yaml [--section.name=value ..]",
     "run all processes of an experiment"},
    {"status", command_status, "[RUN_DIR | --admin=ADDRESS | --parameters=ADDRESS] ..",
     "show what the processes of a run are doing"},
    {"dashboard", command_dashboard, "[FOLDER] [--address=HOST:PORT] ..",
     "serve a web page with the learning curves and processes of runs"},
    {"plot", command_plot, "RUN_DIR .. [--column=NAME] [--out=FILE]",
     "draw curves of runs, and of all seeds of a sweep, as SVG, PNG or CSV"},
    {"dataset", command_dataset, "inspect | start | map ..",
     "look at logs, propose an experiment for them, select some of them, export them"},
    {"policy", command_policy, "inspect | export | act ..",
     "look at a policy, export it for other programs, ask for its actions"},
    {"replay", command_replay, "info | set | delete | dump ..",
     "look at replay servers, and operate them, while they serve"},
    {"certs", command_certs, "--to=FOLDER NAME[,NAME ..] ..",
     "make certificates for mutual TLS, or renew them"},
    {"doctor", command_doctor, "", "say whether this machine is fit for runs, and what to do"},
    {"completion", command_completion, "bash | zsh", "print a completion script for the shell"},
    {"man", command_man, "[PROGRAM]", "print a manual page"},
};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

static bool asks_for_help(const char *argument)
{
    return strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0;
}

/* 0 where help was asked for (stdout), 2 where the command line was wrong (stderr). */
static int usage(FILE *out)
{
    fprintf(out, "usage: hindcast COMMAND ..      (COMMAND --help says more)\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        fprintf(out, "  %-10s %s\n             %s\n", commands[i].name, commands[i].arguments,
                commands[i].help);
    }
    return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    /* Requests about the program itself. */
    if (argc < 2) {
        return usage(stderr);
    }
    if (asks_for_help(argv[1]) || strcmp(argv[1], "help") == 0) {
        return usage(stdout);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("hindcast %s\n", HINDCAST_VERSION);
        return 0;
    }
    /* Wherever it stands, --help or -h asks for the page of the command alone. */
    char help[] = "--help";
    for (int i = 2; i < argc; i++) {
        if (asks_for_help(argv[i])) {
            argc = 3;
            argv[2] = help;
            break;
        }
    }
    /* A command sees its own name as argv[0], as a program of its own would. */
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    /* A misspelt command is answered with the list of all. */
    fprintf(stderr, "hindcast: unknown command \"%s\"\n", argv[1]);
    return usage(stderr);
}
