/* Parses the arguments and calls the export of the format. */
#include "deploy/local/export_dataset.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/logs/source/lerobot_export.h"
#include "common/trajectory/d4rl_export.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/minari_export.h"

const char export_dataset_usage[] =
    "       hindcast dataset export --format=minari --name=NAME-vN --to=FOLDER [--reward=TASK]\n"
    "                               FOLDER\n"
    "           all good episodes as a dataset of Python's minari, which finds it by name in\n"
    "           MINARI_DATASETS_PATH/NAME-vN\n"
    "       hindcast dataset export --format=lerobot --to=FOLDER [--reward=TASK] [--task=TEXT]\n"
    "                               [--fps=N] FOLDER\n"
    "           the same in LeRobot's layout (v3.0); --task says in words what the robot does\n"
    "       hindcast dataset export --format=d4rl --to=FILE.hdf5 [--reward=TASK] FOLDER\n"
    "           the same as one HDF5 file in D4RL's layout\n";

/* The arguments of the command. */
struct arguments {
    const char *format, *from, *to, *name, *reward, *task;
    double fps; /* 0: from the control period */
};

/* Stores the value of an argument such as --to=X. Returns false if it is another one. */
static bool take(const char *argument, const char *flag, const char **value)
{
    const size_t n = strlen(flag);
    if (strncmp(argument, flag, n) != 0) {
        return false;
    }
    *value = argument + n;
    return true;
}

/* Reads the flags and the folder. Prints what is wrong and returns false. */
static bool parse(int argc, char **argv, struct arguments *arguments)
{
    const char *fps = NULL;
    int first = 0;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        const char *argument = argv[first];
        if (take(argument, "--minari=", &arguments->name)) {
            arguments->format = "minari"; /* the earlier form of --format=minari --name=X */
        } else if (!take(argument, "--format=", &arguments->format) &&
                   !take(argument, "--to=", &arguments->to) &&
                   !take(argument, "--name=", &arguments->name) &&
                   !take(argument, "--reward=", &arguments->reward) &&
                   !take(argument, "--task=", &arguments->task) &&
                   !take(argument, "--fps=", &fps)) {
            fprintf(stderr, "hindcast dataset export: unknown flag \"%s\"\n", argument);
            return false;
        }
    }
    if (fps != NULL) {
        char *end;
        arguments->fps = strtod(fps, &end);
        if (*fps == 0 || *end != 0 || !(arguments->fps > 0) || arguments->fps > 1e6) {
            fprintf(stderr,
                    "hindcast dataset export: --fps=%s: expected a number above 0, at most 1e6\n",
                    fps);
            return false;
        }
    }
    const char *format = arguments->format;
    if (format != NULL && strcmp(format, "minari") != 0 && strcmp(format, "lerobot") != 0 &&
        strcmp(format, "d4rl") != 0) {
        fprintf(stderr, "hindcast dataset export: --format=%s: expected minari, lerobot or d4rl\n",
                format);
        return false;
    }
    /* Exactly one folder is exported, and Minari needs a name. */
    if (format == NULL || arguments->to == NULL || first + 1 != argc ||
        (strcmp(format, "minari") == 0 && arguments->name == NULL)) {
        fprintf(stderr, "usage:\n%s", export_dataset_usage);
        return false;
    }
    arguments->from = argv[first];
    return true;
}

/* Stores the number of the reward in the signature; the first without a name. */
static bool find_reward(const struct signature *signature, const char *name, uint32_t *k)
{
    /* Most logs have one reward, and need no --reward. Names are those that `inspect` shows. */
    *k = 0;
    if (name == NULL) {
        return true;
    }
    for (uint32_t i = 0; i < signature->K; i++) {
        if (strcmp(signature->rewards[i], name) == 0) {
            *k = i;
            return true;
        }
    }
    fprintf(stderr, "hindcast dataset export: --reward=%s: no such reward in the logs\n", name);
    return false;
}

static status export_as(const struct arguments *arguments, const struct dataset *dataset,
                        uint32_t reward_k, uint64_t *n_bad, struct err *err)
{
    if (strcmp(arguments->format, "minari") == 0) {
        return minari_export(dataset, arguments->to, arguments->name, reward_k, n_bad, err);
    }
    if (strcmp(arguments->format, "d4rl") == 0) {
        return d4rl_export(dataset, arguments->to, reward_k, n_bad, err);
    }
    const struct lerobot_export_options options = {
        .to = arguments->to,
        .task = arguments->task != NULL ? arguments->task : "unknown",
        .reward_k = reward_k,
        .fps = arguments->fps,
    };
    return lerobot_export(dataset, &options, n_bad, err);
}

int export_dataset(int argc, char **argv)
{
    struct arguments arguments = {0};
    if (!parse(argc, argv, &arguments)) {
        return 2;
    }
    struct err err = {0};
    struct dataset *dataset;
    if (dataset_open(&dataset, arguments.from, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast dataset export: %s\n", err.text);
        return 1;
    }
    uint32_t reward_k;
    uint64_t n_bad = 0;
    int result = 1;
    if (!find_reward(dataset_signature(dataset), arguments.reward, &reward_k)) {
        result = 2;
    } else if (export_as(&arguments, dataset, reward_k, &n_bad, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast dataset export: %s\n", err.text);
    } else {
        printf("%s: %llu episodes were bad and left out\n", arguments.to,
               (unsigned long long)n_bad);
        result = n_bad > 0;
    }
    dataset_close(dataset);
    return result;
}
