/* hindcast-replay-server: reads the configuration, opens the service, runs the loop.
 *
 * The main thread has nothing to do with calls, which the service's own threads serve. It waits for
 * signals, and once a second it reports and looks whether the service can still do its work.
 *
 * The exit code tells a supervisor whether to start the process again: 2 where the configuration is
 * at fault and another start would fail in the same way, 0 after a regular end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/process.h"
#include "common/rpc/rpc.h"
#include "replay_server/service/options.h"
#include "replay_server/service/service.h"

#define LOG_MODULE "main"
#include "common/base/log.h"

#define REPORT_MS 1000

struct program {
    struct experiment experiment;
    struct options options;
    struct process *process;
    struct service *service;
    bool unreachable; /* its socket was removed */
};

/* Of how many replay servers this is one: with several, each has an index in its name. */
static int server_count(const struct program *program)
{
    return program->experiment.replay.n > 1 ? (int)program->experiment.replay.n : 1;
}

/* Every second, on the loop thread: the status line, and whether the service has failed for good.
 * It ends the process where only a new start can help: the store's disk or files have failed, or no
 * client can reach its sockets any more. */
static void report(void *arg)
{
    struct program *program = arg;
    char text[256];
    service_describe(program->service, text, sizeof text);
    if (text[0]) {
        process_report(program->process, -1, "%s", text);
    }
    if (service_broken(program->service)) {
        log_error("the store takes nothing more: its disk or its files failed; ending, for only a "
                  "new start "
                  "can tell what is there");
        process_stop(program->process, EXIT_FAILURE);
    }
    struct err err = {0};
    /* Told once; the next report may come before the process has stopped. */
    if (!program->unreachable && service_check_sockets(program->service, &err) != STATUS_OK) {
        program->unreachable = true;
        log_error("%s", err.text);
        process_stop(program->process, EXIT_FAILURE);
    }
}

/* Opens the service, serves until the process is told to stop, and closes the service. After an
 * error nothing is left open. */
static status serve(struct program *program, const struct config_section *sections, size_t n,
                    struct err *err)
{
    status s = service_open(&program->service, &program->options, &program->experiment,
                            config_digest(&sections[n - 1]), err);
    if (s != STATUS_OK) {
        return s;
    }
    s = service_start(program->service, err);
    if (s == STATUS_OK) {
        process_every(program->process, REPORT_MS, report, program);
        process_run(program->process);
        log_info("stopping");
    }
    service_close(program->service);
    return s;
}

int main(int argc, char **argv)
{
    struct program *program = mem_new(sizeof *program);
    if (program == NULL) {
        return EXIT_FAILURE;
    }
    /* In this order: the options of the server follow from those of the experiment. */
    const struct config_section sections[] = {experiment_section(&program->experiment),
                                              options_section(&program->options)};
    const size_t n = sizeof sections / sizeof sections[0];
    struct err err;
    bool done = false;
    /* `done`: the command line asked for something that has been answered, such as --help. */
    status s = config_load(sections, n,
                           "hindcast-replay-server: holds episodes, serves batches of snippets",
                           argc, argv, &done, &err);
    /* What ranges cannot check. With `check` this was all that was asked for. */
    if (s == STATUS_OK && !done) {
        experiment_finish(&program->experiment);
        s = process_check(&program->experiment, &err);
        s = s == STATUS_OK ? options_finish(&program->options, &program->experiment, &err) : s;
        done = program->experiment.check;
    }
    int exit_code = EXIT_SUCCESS;
    /* With the process open, errors are logged, and the exit code is what the process says. */
    if (s == STATUS_OK && !done) {
        s = process_open(&program->process, "replay_server", (int)program->options.index,
                         server_count(program), &program->experiment, &err);
        if (s == STATUS_OK) {
            config_print(stderr, sections, n);
            rpc_init();
            s = serve(program, sections, n, &err);
            rpc_fini();
            if (s != STATUS_OK) {
                log_error("%s", err.text);
                process_stop(program->process, status_exit_code(s));
            }
            exit_code = process_close(program->process);
        }
    }
    /* Before there is a process there is no log either. */
    if (s != STATUS_OK && program->process == NULL) {
        fprintf(stderr, "hindcast-replay-server: %s\n", err.text);
        exit_code = 2; /* starting it again with this configuration is of no use */
    }
    mem_free(program);
    return exit_code;
}
