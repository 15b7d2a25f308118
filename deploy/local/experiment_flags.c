/* The flags are a command line of their own for the loader, which checks them as a process would. */
#include "deploy/local/experiment_flags.h"

#include <string.h>

#define FLAGS_MAX 32

status experiment_flags_read(struct experiment *experiment, int n, char *const *flags,
                             struct err *err)
{
    static char program[] = "hindcast";
    char *own[FLAGS_MAX + 1] = {program};
    if (n > FLAGS_MAX) {
        return err_set(err, STATUS_INVALID, "more than %d flags", FLAGS_MAX);
    }
    for (int i = 0; i < n; i++) {
        if (strncmp(flags[i], EXPERIMENT_FLAG, strlen(EXPERIMENT_FLAG)) != 0) {
            return err_set(err, STATUS_INVALID, "\"%.64s\": expected --experiment.NAME=VALUE",
                           flags[i]);
        }
        own[i + 1] = flags[i];
    }
    const struct config_section section = experiment_section(experiment);
    bool done = false;
    const status s = config_load(&section, 1, program, n + 1, own, &done, err);
    if (s == STATUS_OK) {
        experiment_finish(experiment);
    }
    return s;
}
