/* hindcast dataset: shows what logs hold (inspect), proposes an experiment (start), makes a smaller dataset of several (subsample),
 * one with other rewards (relabel), or one for Minari (export). Logs of other formats become a dataset by `map`, which proposes how
 * to read them, and `import`. This file parses arguments and prints errors; the work is done
 * elsewhere. Every command returns 2 where the command line is wrong, and 1 where the work failed;
 * inspect, import and export return 1 also where an episode is bad. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/trajectory/dataset.h"
#include "deploy/local/commands.h"
#include "deploy/local/dataset_inspect.h"
#include "deploy/local/dataset_relabel.h"
#include "deploy/local/export_dataset.h"
#include "deploy/local/log_import.h"
#include "deploy/local/start_experiment.h"
#include "deploy/local/subsample.h"

static const char usage[] =
    "usage: hindcast dataset inspect [--mapping=FILE] [--filter=CONDITION,..]\n"
    "                                [--bad_rows=split] [--min_piece=N] [--actions=clip]\n"
    "                                [--history=N] [--history_actions=true]\n"
    "                                [--holdout=SHARE | --folds=K --fold=I]\n"
    "                                [--plot=FILE.svg] LOGS\n"
    "           what a dataset, or logs of another format, holds: sizes, returns, actions,\n"
    "           and every episode that is bad, and why; with options of the restorer: what\n"
    "           it would use; --plot draws it\n"
    "       hindcast dataset start [--mapping=FILE] LOGS\n"
    "           an experiment for these logs, to be redirected into a file and given to\n"
    "           hindcast up\n"
    "       hindcast dataset map LOGS\n"
    "           how the logs in LOGS (a file or a folder: CSV, npz, HDF5, Parquet, LeRobot,\n"
    "           MCAP) would be read: a mapping, to be checked\n"
    "       hindcast dataset import --to=FOLDER [--mapping=FILE] LOGS\n"
    "           all good episodes of LOGS as a dataset, read as the mapping says\n"
    "       hindcast dataset subsample --to=FOLDER [--every=K] [--shard_episodes=M] FOLDER ..\n"
    "           the first of each K episodes of every FOLDER, one after another, into a new\n"
    "           dataset with returns.csv\n";

/* What a command knows of logs that it has read whole. */
struct looked {
    struct sources *sources;
    struct dataset_summary *summary;
    struct selection selection; /* by rules that a mapping file has */
    struct text notes;          /* about a mapping that was proposed */
};

/* Also after look_at has failed. */
static void look_away(struct looked *looked)
{
    dataset_summary_free(looked->summary);
    sources_close(looked->sources);
    selection_fini(&looked->selection);
    text_fini(&looked->notes);
}

/* Opens a dataset or other logs and reads all of it. Bad episodes are part of what is seen. */
static status look_at(const char *path, const char *mapping, struct looked *looked, struct err *err)
{
    *looked = (struct looked){0};
    struct episode_rules rules;
    episode_rules_init(&rules);
    status s =
        sources_open(&looked->sources, path, mapping != NULL ? mapping : "", &looked->notes, err);
    if (s == STATUS_OK) {
        s = sources_select(looked->sources, &looked->selection, &rules, false, NULL, err);
    }
    return s == STATUS_OK ? source_summary_make(&looked->summary, looked->sources, NULL, err) : s;
}

/* The arguments of a command that reads one place of logs: [--mapping=FILE] LOGS. */
static bool parse_logs(int argc, char **argv, const char **mapping)
{
    *mapping = argc == 2 && strncmp(argv[0], "--mapping=", 10) == 0 ? argv[0] + 10 : NULL;
    if (argc != (*mapping != NULL ? 2 : 1) || strncmp(argv[argc - 1], "--", 2) == 0) {
        fputs(usage, stderr);
        return false;
    }
    return true;
}

/* Looks at logs; 2 where the command line is wrong. */
static int inspect(int argc, char **argv)
{
    const int result = dataset_inspect(argc, argv);
    if (result == 2) {
        fputs(usage, stderr);
    }
    return result;
}

/* `hindcast dataset start`: prints an experiment, and on stderr what the user has to confirm. */
static int start(int argc, char **argv)
{
    struct start_inputs inputs = {0};
    if (!parse_logs(argc, argv, &inputs.mapping)) {
        return 2;
    }
    struct err err;
    struct looked looked;
    inputs.path = argv[argc - 1];
    status s = look_at(inputs.path, inputs.mapping, &looked, &err);
    if (s == STATUS_OK) {
        inputs.notes = looked.notes.bytes;
        inputs.signature = sources_signature(looked.sources);
        inputs.summary = looked.summary;
        s = start_experiment(&inputs, stdout, stderr, &err);
    }
    look_away(&looked);
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast dataset start: %s\n", err.text);
    }
    return s != STATUS_OK;
}

/* A whole number, without the leniency of strtoull (signs, trailing text). */
static bool parse_count(const char *text, uint64_t *value)
{
    /* strtoull takes "-1" as a huge number and stops silently at the first other character. */
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno || *end || end == text || text[0] == '-' || number < 1 || number > 1000000) {
        fprintf(stderr, "hindcast dataset subsample: \"%s\": expected a number 1..1000000\n", text);
        return false;
    }
    *value = number;
    return true;
}

/* `hindcast dataset subsample`: 2 where the command line is wrong, 1 where the work fails. */
static int subsample(int argc, char **argv)
{
    /* Flags stand before the folders. Without any, every episode is kept, in shards of 32. */
    struct subsample_options options = {.every = 1, .shard_episodes = 32};
    int first = 0;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        const char *argument = argv[first];
        if (strncmp(argument, "--to=", 5) == 0) {
            options.to = argument + 5;
        } else if (strncmp(argument, "--every=", 8) == 0) {
            if (!parse_count(argument + 8, &options.every)) {
                return 2;
            }
        } else if (strncmp(argument, "--shard_episodes=", 17) == 0) {
            if (!parse_count(argument + 17, &options.shard_episodes)) {
                return 2;
            }
        } else {
            fprintf(stderr, "hindcast dataset subsample: unknown flag \"%s\"\n", argument);
            return 2;
        }
    }
    /* Without a folder to write to and at least one source there is nothing to do. */
    if (!options.to || first == argc) {
        fputs(usage, stderr);
        return 2;
    }
    struct err err;
    /* subsample.c does the work and prints what was left out. */
    if (subsample_datasets(&options, (const char *const *)argv + first, (size_t)(argc - first),
                           stdout, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast dataset subsample: %s\n", err.text);
        return 1;
    }
    return 0;
}

/* `hindcast dataset map`: prints the mapping that would be used, and reads no episode. */
static int map(int argc, char **argv)
{
    if (argc != 1) {
        fputs(usage, stderr);
        return 2;
    }
    struct err err = {0};
    /* stdout has the mapping alone, so that it can be redirected into a file. */
    if (log_import_map(argv[0], stdout, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast dataset map: %s\n", err.text);
        return 1;
    }
    return 0;
}

/* `hindcast dataset import`: 1 where an episode is bad, though the others are imported. */
static int import_logs(int argc, char **argv)
{
    /* Without --mapping the importer looks for one beside the logs, and then proposes one. */
    struct log_import_options options = {0};
    int first = 0;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        const char *argument = argv[first];
        if (strncmp(argument, "--to=", 5) == 0) {
            options.to = argument + 5;
        } else if (strncmp(argument, "--mapping=", 10) == 0) {
            options.mapping = argument + 10;
        } else {
            fprintf(stderr, "hindcast dataset import: unknown flag \"%s\"\n", argument);
            return 2;
        }
    }
    /* Exactly one place of logs; several kinds of logs need a mapping each. */
    if (!options.to || first + 1 != argc) {
        fputs(usage, stderr);
        return 2;
    }
    options.from = argv[first];
    struct err err = {0};
    uint64_t n_bad = 0;
    /* Episodes that were left out are in the exit status, too, for scripts. */
    if (log_import(&options, stdout, &n_bad, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast dataset import: %s\n", err.text);
        return 1;
    }
    return n_bad > 0;
}

/* The first word chooses the function, which gets the words behind it. */
int command_dataset(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "inspect") == 0) {
        return inspect(argc - 2, argv + 2);
    }
    if (argc >= 2 && strcmp(argv[1], "start") == 0) {
        return start(argc - 2, argv + 2);
    }
    if (argc >= 2 && strcmp(argv[1], "map") == 0) {
        return map(argc - 2, argv + 2);
    }
    if (argc >= 2 && strcmp(argv[1], "import") == 0) {
        return import_logs(argc - 2, argv + 2);
    }
    /* The old name of subsample works for one release and warns. */
    if (argc >= 2 && strcmp(argv[1], "thin") == 0) {
        fprintf(stderr,
                "WARNING: `hindcast dataset thin` is now called `hindcast dataset subsample`; "
                "the old name will be removed in the next release\n");
        return subsample(argc - 2, argv + 2);
    }
    if (argc >= 2 && strcmp(argv[1], "subsample") == 0) {
        return subsample(argc - 2, argv + 2);
    }
    if (argc >= 2 && strcmp(argv[1], "relabel") == 0) {
        return dataset_relabel(argc - 2, argv + 2);
    }
    if (argc >= 2 && strcmp(argv[1], "export") == 0) {
        return export_dataset(argc - 2, argv + 2);
    }
    /* Help goes to stdout and is no error. */
    bool help = argc >= 2 && strcmp(argv[1], "--help") == 0;
    fprintf(help ? stdout : stderr, "%s%s%s", usage, dataset_relabel_usage, export_dataset_usage);
    return help ? 0 : 2;
}
