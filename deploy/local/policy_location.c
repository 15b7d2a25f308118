/* From what a user names (a run folder, an experiment file, a policy file) to the package on
 * disk. The names of the files are those that evaluators and learners write; nothing is opened
 * here. */
#include "deploy/local/policy_location.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/experiment.h"
#include "common/base/memory.h"

/* Copies a path that leaves room for what is appended to it. */
static status copy_path(char to[POLICY_LOCATION_PATH_SIZE], const char *path, struct err *err)
{
    const size_t length = strlen(path);
    /* What is appended: a file's name, and that of a temporary file. */
    if (length == 0 || length + 64 > POLICY_LOCATION_PATH_SIZE) {
        return err_set(err, STATUS_INVALID, "\"%.64s\": expected a path of 1..%d bytes", path,
                       POLICY_LOCATION_PATH_SIZE - 64);
    }
    memcpy(to, path, length + 1);
    return STATUS_OK;
}

/* name <- the last part of `path`, without slashes at its end, and without what follows the last
 * dot of a file's. */
static void name_of(char name[POLICY_LOCATION_NAME_SIZE], const char *path, bool is_file)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        /* A path may end with slashes, as shells complete it. */
        end--;
    }
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    /* Only a file has a suffix; a run may be called "lr-0.1". */
    const char *dot = is_file ? memrchr(path + begin, '.', end - begin) : NULL;
    if (dot != NULL && dot > path + begin) {
        end = (size_t)(dot - path);
    }
    snprintf(name, POLICY_LOCATION_NAME_SIZE, "%.*s", (int)(end - begin), path + begin);
}

/* By its name: an experiment file and a package are both plain files. */
static bool is_experiment(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

/* run_dir <- where the experiment of this file runs. */
static status read_experiment(char run_dir[POLICY_LOCATION_PATH_SIZE], const char *path,
                              struct err *err)
{
    struct experiment *experiment = mem_new(sizeof *experiment);
    if (experiment == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    /* Only the section `experiment` is read; unknown options of the others are for their
     * processes. */
    struct config_section section = experiment_section(experiment);
    char program[] = "hindcast", flag[POLICY_LOCATION_PATH_SIZE + 16];
    snprintf(flag, sizeof flag, "--config=%s", path);
    /* The loader of all programs reads the file, as if it were called with --config=FILE. */
    char *arguments[] = {program, flag, NULL};
    bool done = false;
    status s = config_load(&section, 1, "hindcast policy", 2, arguments, &done, err);
    if (s == STATUS_OK) {
        experiment_finish(experiment);
        s = copy_path(run_dir, experiment->run_dir, err);
    }
    mem_free(experiment);
    return s;
}

/* Why a run has no such file. */
static status tell_missing(const struct policy_location *location, const char *file,
                           struct err *err)
{
    /* With up.seeds each seed has a run of its own below the folder. */
    char pattern[POLICY_LOCATION_PATH_SIZE + 64];
    snprintf(pattern, sizeof pattern, "%s/seed-*/%s", location->run_dir, file);
    glob_t seeds = {0};
    const bool has_seeds = glob(pattern, 0, NULL, &seeds) == 0 && seeds.gl_pathc > 0;
    if (has_seeds) {
        err_set(err, STATUS_NOT_FOUND, "%s: a run for each seed: name one, as %s",
                location->run_dir, seeds.gl_pathv[0]);
        /* Otherwise the message says when and by whom the file is written. */
    } else {
        err_set(err, STATUS_NOT_FOUND,
                "%s: no %s: an evaluator keeps the best policy there, and the last when the run "
                "has ended; a learner without one its policy_learner.safetensors",
                location->run_dir, file);
    }
    globfree(&seeds);
    return STATUS_NOT_FOUND;
}

/* path <- RUN_DIR/FILE. Is it there? */
static bool is_there(struct policy_location *location, const char *file)
{
    struct stat there;
    const int length =
        snprintf(location->path, sizeof location->path, "%s/%s", location->run_dir, file);
    return length > 0 && length < (int)sizeof location->path && stat(location->path, &there) == 0;
}

/* What evaluators keep; a run without one has what the learner left, which is its last. */
static status find_in_run(struct policy_location *location, const char *version, struct err *err)
{
    /* Without --version: the best of the run, or what the learner left; with it, exactly that
     * one. */
    const bool last = version != NULL && strcmp(version, "last") == 0;
    const bool best = version != NULL && !last;
    const char *file = last ? "policy_last.safetensors" : "policy.safetensors";
    name_of(location->name, location->run_dir, false);
    return is_there(location, file) || (!best && is_there(location, "policy_learner.safetensors"))
               ? STATUS_OK
               : tell_missing(location, file, err);
}

status policy_location_find(struct policy_location *out, const char *text, const char *version,
                            struct err *err)
{
    struct policy_location location = {0};
    struct stat there;
    if (version != NULL && strcmp(version, "best") != 0 && strcmp(version, "last") != 0) {
        return err_set(err, STATUS_INVALID, "--version=%.32s: expected best or last", version);
    }
    if (stat(text, &there) != 0) {
        return err_set(err, STATUS_NOT_FOUND,
                       "%s: expected a run folder, an experiment file or a policy file", text);
    }
    /* Only the kind of a path says what it is; its content is read later. */
    /* A folder is a run, a .yaml file names one, anything else is a package. */
    status s = copy_path(location.path, text, err);
    if (s == STATUS_OK && S_ISDIR(there.st_mode)) {
        s = copy_path(location.run_dir, text, err);
    } else if (s == STATUS_OK && is_experiment(text)) {
        s = read_experiment(location.run_dir, text, err);
    }
    if (s == STATUS_OK && location.run_dir[0] != 0) {
        s = find_in_run(&location, version, err);
    } else if (s == STATUS_OK && version != NULL) {
        s = err_set(err, STATUS_INVALID, "--version=%s: %s is one policy, not a run", version,
                    text);
    } else if (s == STATUS_OK) {
        name_of(location.name, text, true);
    }
    if (s == STATUS_OK) {
        *out = location;
    }
    return s;
}
