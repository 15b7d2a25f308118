/* hindcast-evaluator: acts with policies and measures their returns, following a run or once for a
 * file. Reads the options, then runs one of the two. */
#include <stdio.h>

#include "common/base/process.h"
#include "common/clients/peer.h"
#include "common/environments/environment.h"
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
    if (process_open(&process, "evaluator", (int)options->index, (int)options->count, experiment,
                     &err) != STATUS_OK) {
        fprintf(stderr, "hindcast-evaluator: %s\n", err.text);
        return 1;
    }
    rpc_init();
    status s = follow_start(&follow, process, experiment, options, &err);
    if (s == STATUS_OK) {
        admin_add_page(process_admin(process), "/evaluations.json", "application/json", follow_page,
                       follow);
        log_info("waiting for parameters environment=%s", experiment->environment);
        process_run(process);
    } else {
        log_error("cannot start: %s", err.text);
        process_stop(process, status_exit_code(s));
    }
    follow_join(follow);
    rpc_fini();
    /* Closes the admin page, which uses `follow`: only then may that be freed. */
    int exit_code = process_close(process);
    follow_free(follow);
    return exit_code;
}

/* Measures one file; signals end it as they end any program. */
static int measure_once(const struct experiment *experiment,
                        const struct evaluator_options *options)
{
    struct err err;
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
    experiment_offer_environments(environment_names());
    struct config_section sections[] = {experiment_section(&experiment),
                                        evaluator_section(&options)};
    struct err err;
    bool done = false;
    status s = config_load(sections, 2,
                           "hindcast-evaluator: acts with policies and measures their returns",
                           argc, argv, &done, &err);
    if (s == STATUS_OK && !done) {
        experiment_finish(&experiment);
        s = peer_check_parameters(&experiment, &err);
    }
    if (s == STATUS_OK && !done) {
        s = evaluator_options_check(&options, &experiment, &err);
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-evaluator: %s\n", err.text);
        return 2;
    }
    if (done) {
        return 0;
    }
    if (experiment.check) {
        return tell_signature(&experiment);
    }
    if (options.policy[0] != '\0') {
        return measure_once(&experiment, &options);
    }
    config_print(stderr, sections, 2);
    return follow_a_run(&experiment, &options);
}
