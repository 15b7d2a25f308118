/* hindcast-evaluator: acts with policies and measures their returns, following a run or once for a
 * file.
 *
 * Reads the options, then runs one of the two. The main thread of an evaluator that follows a run
 * only waits for signals and for the end; the work is done by the thread of follow.c. Exit codes: 0
 * done or stopped, 2 where another start cannot help (the options are wrong), 1 for other
 * failures. */
#include <stdio.h>

#include "common/base/process.h"
#include "common/clients/peer.h"
#include "common/dashboard/dashboard.h"
#include "common/environments/environment.h"
#include "common/robot/robot_environment.h"
#include "common/rpc/rpc.h"
#include "evaluator/follow.h"
#include "evaluator/one_shot.h"

#define LOG_MODULE "main"
#include "common/base/log.h"

/* Follows a run until it has ended or the process is told to stop. */
static int follow_a_run(const struct experiment *experiment,
                        const struct evaluator_options *options)
{
    struct err err;
    struct process *process;
    struct follow *follow = NULL;
    struct dashboard *dashboard = NULL;
    /* The process first: it opens the log and the admin page, and blocks signals for the threads to
     * come. */
    if (process_open(&process, "evaluator", (int)options->index, (int)options->count, experiment,
                     &err) != STATUS_OK) {
        fprintf(stderr, "hindcast-evaluator: %s\n", err.text);
        return 1;
    }
    rpc_init();
    /* The page is added once there is something to show. process_run returns when the process
     * stops. */
    status s = follow_start(&follow, process, experiment, options, &err);
    if (s == STATUS_OK) {
        const struct peek_access access = peek_access_of(experiment);
        s = dashboard_open(&dashboard, experiment->run_dir, &access, process_admin(process), &err);
    }
    if (s == STATUS_OK) {
        admin_add_page(process_admin(process), "/evaluations.json", "application/json", follow_page,
                       follow);
        log_info("waiting for parameters environment=%s", experiment->environment);
        process_run(process);
    } else {
        log_error("cannot start: %s", err.text);
        process_stop(process, status_exit_code(s));
    }
    /* The thread has been told to stop by now, or it was never started. */
    follow_join(follow);
    rpc_fini();
    /* Closes the admin page, which uses both of these: only then may they be freed. */
    int exit_code = process_close(process);
    dashboard_close(dashboard);
    follow_free(follow);
    return exit_code;
}

/* Measures one file; signals end it as they end any program. */
static int measure_once(const struct experiment *experiment,
                        const struct evaluator_options *options)
{
    struct err err;
    /* process_open was not called, so the log has not been opened yet. */
    enum log_level least = LOG_INFO;
    if (log_level_parse(&least, experiment->log_level, &err) == STATUS_OK) {
        log_open("evaluator", least);
    }
    if (one_shot(experiment, options, stderr, stdout, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast-evaluator: %s\n", err.text);
        return 1;
    }
    return 0;
}

/* What --check prints: `hindcast up` compares it with that of the logs. */
static int tell_signature(const struct experiment *experiment)
{
    static struct environment_description description;
    struct err err;
    if (environment_describe(&description, experiment->environment, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast-evaluator: experiment.environment: %s\n", err.text);
        return 2;
    }
    signature_tell(&description.signature, stdout);
    return 0;
}

int main(int argc, char **argv)
{
    static struct experiment experiment;
    static struct evaluator_options options;
    /* The family names are offered to the parser, so that its help can list them. */
    robot_environment_install(&experiment, "evaluator", true);
    experiment_offer_environments(environment_names());
    struct config_section sections[] = {experiment_section(&experiment),
                                        evaluator_section(&options)};
    struct err err;
    bool done = false;
    status s = config_load(sections, 2,
                           "hindcast-evaluator: acts with policies and measures their returns",
                           argc, argv, &done, &err);
    /* Checks that need the whole configuration, and no server. */
    if (s == STATUS_OK && !done) {
        experiment_finish(&experiment);
        s = peer_check_parameters(&experiment, &err);
    }
    if (s == STATUS_OK && !done &&
        options.policy[0] == '\0') { /* a file is measured without a page */
        s = process_check(&experiment, &err);
    }
    if (s == STATUS_OK && !done) {
        s = evaluator_options_check(&options, &experiment, &err);
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-evaluator: %s\n", err.text);
        /* A robot that does not answer may do so when the process is started again. */
        return s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT ? 1 : 2;
    }
    /* --help or a similar option has printed all there is. */
    if (done) {
        return 0;
    }
    /* --check tells the signature and starts nothing. */
    if (experiment.check) {
        return tell_signature(&experiment);
    }
    /* Where a policy file is named, no run is followed. */
    if (options.policy[0] != '\0') {
        return measure_once(&experiment, &options);
    }
    config_print(stderr, sections, 2);
    return follow_a_run(&experiment, &options);
}
