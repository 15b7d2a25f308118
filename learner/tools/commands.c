/* What hindcast-learner can do besides learning, one function for each command. See commands.h.
 * They need no run of their own: no lock, no log file, no admin page. Results go to standard
 * output, errors to standard error.
 *
 * Exit codes: 0, the command has done its work; 1, the step fails again; 2, the command could not
 * do its work. */
#include "learner/tools/commands.h"

#include <stdio.h>

#include "common/networks/kernels.h"
#include "common/rpc/rpc.h"
#include "learner/run/post_mortem.h"
#include "learner/tools/profile.h"

#define LOG_MODULE "learner"
#include "common/base/log.h"

#define EXIT_BROKEN 2

bool commands_asked(const struct learner_options *options)
{
    return options->profile > 0 || options->rerun_step[0] != '\0';
}

/* --profile=N. */
static int take_profile(const struct experiment *experiment, const struct learner_options *options)
{
    struct err err = {0};
    /* Batches come from the replay servers, so gRPC is needed. */
    rpc_init();
    status s = profile_run(experiment, options, stdout, &err);
    rpc_fini();
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-learner: profile: %s\n", err.text);
        return EXIT_BROKEN;
    }
    return 0;
}

/* --rerun_step=FILE. */
static int rerun_step(const char *path)
{
    struct err err = {0};
    struct failed_step step;
    bool finite = false;
    /* The file has everything that the step needs, so no server is asked. */
    status s = failed_step_load(&step, path, &err);
    if (s == STATUS_OK) {
        /* Only the same kernels give the same bits; with others the step may still fail. */
        if (kernels_select(step.kernels, &err) != STATUS_OK) {
            fprintf(stderr, "hindcast-learner: %s; using %s\n", err.text, kernels_name());
        }
        s = post_mortem(&step, stdout, &finite, &err);
        failed_step_free(&step);
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-learner: rerun_step: %s\n", err.text);
        return EXIT_BROKEN;
    }
    /* The step was taken: 1 says that it fails here, too. */
    return finite ? 0 : 1;
}

int commands_run(const struct experiment *experiment, const struct learner_options *options)
{
    log_open("learner", LOG_WARN);
    /* Where both commands are given, --rerun_step is the one. */
    int code = options->rerun_step[0] != '\0' ? rerun_step(options->rerun_step)
                                              : take_profile(experiment, options);
    /* A table that was cut short by a full disk must not look complete. */
    return fflush(stdout) == 0 ? code : EXIT_BROKEN;
}
