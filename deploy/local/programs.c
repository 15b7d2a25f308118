/* Installed programs are in one folder, built ones in one folder each. */
#include "deploy/local/programs.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/installation.h"

/* Those that `up` starts come first: they say what an option means that several know. */
static const struct program programs[] = {
    {"hindcast-replay-server", "replay_server", true},
    {"hindcast-restorer", "restorer", true},
    {"hindcast-collector", "collector", true},
    {"hindcast-learner", "learner", true},
    {"hindcast-evaluator", "evaluator", true},
    {"hindcast-offline-evaluator", "offline_evaluator", true},
    {"hindcast-robot-sim", "robot_sim", false},
    {"hindcast-robot-operator", "robot_sim", false},
};
#define N_PROGRAMS (sizeof programs / sizeof programs[0])

const struct program *programs_get(size_t i)
{
    return i < N_PROGRAMS ? &programs[i] : NULL;
}

status programs_find(const char *name, char path[PATH_MAX], struct err *err)
{
    char here[PATH_MAX];
    const status s = installation_programs(here, sizeof here, err);
    if (s != STATUS_OK) {
        return s;
    }
    for (size_t i = 0; i < N_PROGRAMS; i++) {
        if (strcmp(programs[i].name, name) != 0) {
            continue;
        }
        const char *const folders[] = {".", programs[i].folder};
        for (size_t k = 0; k < 2; k++) {
            if (snprintf(path, PATH_MAX, "%s/%s/%s", here, folders[k], name) < PATH_MAX &&
                access(path, X_OK) == 0) {
                return STATUS_OK;
            }
        }
    }
    return err_set(err, STATUS_NOT_FOUND, "%s: not beside this program in %s", name, here);
}
