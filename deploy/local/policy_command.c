/* hindcast policy: look at a policy (inspect), give it to others (export), ask for its actions
 * (act), time it (bench), ask what several are worth (evaluate, in policy_evaluate.c). The policy that is meant is found by policy_location.h and read whole before anything else
 * happens, so that a damaged package is refused by all of them. Output files are written whole or not
 * at all, and never over the policy itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/networks/policy_onnx.h"
#include "deploy/local/commands.h"
#include "deploy/local/policy_act.h"
#include "deploy/local/policy_bench.h"
#include "deploy/local/policy_evaluate.h"
#include "deploy/local/policy_inspect.h"
#include "deploy/local/policy_location.h"

static const char usage[] =
    "usage: hindcast policy inspect [--version=best|last] RUN|FILE\n"
    "           what a policy is: algorithm, step, observation, action limits, returns\n"
    "       hindcast policy export --onnx[=OUT] [--safetensors[=OUT]] [--acting=RULE]\n"
    "                              [--task=NAME|K] [--version=best|last] RUN|FILE\n"
    "           the policy for ONNX runtimes, and as plain arrays; without OUT: NAME.onnx,\n"
    "           NAME.safetensors here, as the run is called\n"
    "       hindcast policy act --inputs=IN --to=OUT [--acting=RULE] [--task=NAME|K]\n"
    "                           [--version=best|last] RUN|FILE\n"
    "           its actions at the observations (and noise) in IN, to hold others against;\n"
    "           both are safetensors files\n"
    "       hindcast policy bench [--rate=HZ] [--seconds=S] [--acting=RULE]\n"
    "                             [--version=best|last] RUN|FILE\n"
    "           how long libhindcast_policy takes for an action, in a control loop of\n"
    "           1000 Hz or HZ; 0: in a row\n"
    "       hindcast policy evaluate --offline [--to=OUT.json]\n"
    "                                [--offline_evaluator.NAME=VALUE ..] RUN\n"
    "                                [--policies FILE ..]\n"
    "           what policies are worth, from the logs of RUN alone\n"
    "RUN is a run folder (runs/cheetah-run) or an experiment file, FILE a policy.safetensors.\n"
    "RULE is mean, sample (given noise) or argmax (of candidates, given noise); the default is\n"
    "what evaluators do. With several tasks, --task chooses one for good; else it is an input.\n"
    "docs/policies.md has inputs, outputs, metadata and examples.\n";

#define BARE "" /* a flag without =OUT */

/* The command line, as it was given. All pointers point into argv. */
struct arguments {
    const char *what; /* "export": for messages */
    const char *source;
    const char *version, *acting, *task; /* NULL: not given */
    const char *onnx, *safetensors;      /* BARE: the default name */
    const char *inputs, *to;
    const char *rate, *seconds;
};

/* ---- Arguments ---- */

/* One --name=value or, where that is allowed, --name. */
static bool take_flag(const char *argument, const char *name, bool bare, const char **value)
{
    /* The caller has checked for the two dashes. */
    const size_t n = strlen(name);
    if (strncmp(argument + 2, name, n) != 0) {
        return false;
    }
    if (argument[2 + n] == '=' && argument[3 + n] != 0) {
        *value = argument + 3 + n;
        return true;
    }
    if (argument[2 + n] == 0 && bare) {
        *value = BARE;
        return true;
    }
    return false;
}

/* Takes a flag of this command; the commands know different ones. False for any other. */
static bool take_any(const char *argument, struct arguments *arguments)
{
    const bool is_export = strcmp(arguments->what, "export") == 0;
    const bool is_act = strcmp(arguments->what, "act") == 0;
    const bool is_bench = strcmp(arguments->what, "bench") == 0;
    return take_flag(argument, "version", false, &arguments->version) ||
           ((is_export || is_act) && (take_flag(argument, "acting", false, &arguments->acting) ||
                                      take_flag(argument, "task", false, &arguments->task))) ||
           (is_export && (take_flag(argument, "onnx", true, &arguments->onnx) ||
                          take_flag(argument, "safetensors", true, &arguments->safetensors))) ||
           (is_act && (take_flag(argument, "inputs", false, &arguments->inputs) ||
                       take_flag(argument, "to", false, &arguments->to))) ||
           (is_bench && (take_flag(argument, "acting", false, &arguments->acting) ||
                         take_flag(argument, "rate", false, &arguments->rate) ||
                         take_flag(argument, "seconds", false, &arguments->seconds)));
}

/* Flags stand before or after RUN. */
static bool parse_arguments(struct arguments *arguments, int argc, char **argv)
/* One word is the policy; everything else must be a flag that this command knows. */
{
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0 && arguments->source == NULL) {
            arguments->source = argv[i];
        } else if (strncmp(argv[i], "--", 2) != 0) {
            fprintf(stderr, "hindcast policy %s: \"%s\": expected one RUN or FILE\n",
                    arguments->what, argv[i]);
            return false;
        } else if (!take_any(argv[i], arguments)) {
            fprintf(stderr, "hindcast policy %s: \"%s\": no such flag, or without its value\n",
                    arguments->what, argv[i]);
            return false;
        }
    }
    /* Without a policy there is nothing to do, and the usage says how it is named. */
    if (arguments->source == NULL) {
        fputs(usage, stderr);
    }
    return arguments->source != NULL;
}

/* The number of the task called `text`, which may also be a number; -1 for NULL. */
static status find_task(int *task, const struct policy *policy, const char *text, struct err *err)
{
    const struct policy_info *info = policy_info(policy);
    *task = -1;
    if (text == NULL) {
        return STATUS_OK;
    }
    /* A number needs no signature. */
    char *end;
    errno = 0;
    const long number = strtol(text, &end, 10);
    if (end != text && *end == 0 && errno == 0 && number >= 0 && number < info->K) {
        *task = (int)number;
        return STATUS_OK;
    }
    /* A name is looked up in the signature; all names are collected for the message. */
    char names[256] = "";
    if (info->signature_json != NULL) {
        struct signature *signature = mem_new(sizeof *signature);
        status s = signature == NULL ? err_set(err, STATUS_NO_MEMORY, "signature")
                                     : policy_info_signature(signature, info, err);
        for (uint32_t k = 0; s == STATUS_OK && k < signature->K; k++) {
            /* A list that is too long for the message is cut. */
            const size_t at = strlen(names);
            snprintf(names + at, sizeof names - at, ", %s", signature->rewards[k]);
            *task = strcmp(signature->rewards[k], text) == 0 ? (int)k : *task;
        }
        mem_free(signature);
        if (s != STATUS_OK) {
            return s;
        }
    }
    /* Without a signature, only numbers can be meant. */
    return *task >= 0 ? STATUS_OK
                      : err_set(err, STATUS_INVALID, "--task=%.64s: expected 0..%d%s", text,
                                info->K - 1, names);
}

/* The policy that was asked for, the rule and the task. */
/* What it opens belongs to the caller, who frees it with policy_free(). */
static status open_policy(const struct arguments *arguments, struct policy_location *location,
                          struct policy **policy, enum policy_rule *rule, int *task,
                          struct err *err)
{
    struct policy *made;
    status s = policy_location_find(location, arguments->source, arguments->version, err);
    s = s != STATUS_OK ? s : policy_read(&made, location->path, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The rule and the task are checked against the policy before anything is written. */
    s = policy_rule_find(rule, policy_info(made), arguments->acting, err);
    s = s != STATUS_OK ? s : find_task(task, made, arguments->task, err);
    if (s != STATUS_OK) {
        policy_free(made);
        return err_context(err, s, "%s", location->path);
    }
    *policy = made;
    return STATUS_OK;
}

/* ---- Export ---- */

/* True for two names of one file, also through links; false where one of them is not there. */
static bool same_file(const char *a, const char *b)
{
    struct stat there[2];
    return stat(a, &there[0]) == 0 && stat(b, &there[1]) == 0 &&
           there[0].st_dev == there[1].st_dev && there[0].st_ino == there[1].st_ino;
}

/* path <- where to write, as asked or by the run's name. The policy itself is never written over.
 */
static status choose_path(char path[POLICY_LOCATION_PATH_SIZE], const char *asked,
                          const struct policy_location *location, const char *suffix,
                          struct err *err)
{
    /* An empty `asked` stands for a flag without a value. */
    const int length =
        asked[0] != 0 ? snprintf(path, POLICY_LOCATION_PATH_SIZE, "%s", asked)
                      : snprintf(path, POLICY_LOCATION_PATH_SIZE, "%s%s", location->name, suffix);
    if (length < 0 || length >= POLICY_LOCATION_PATH_SIZE) {
        return err_set(err, STATUS_INVALID, "\"%.64s..\": the path is too long", path);
    }
    /* Writing there would replace what is being read. */
    return same_file(path, location->path)
               ? err_set(err, STATUS_EXISTS, "%s: is the policy itself", path)
               : STATUS_OK;
}

/* Writes a whole file or none: a reader never sees a part of it. */
static status write_bytes(const char *path, const void *bytes, size_t size, struct err *err)
{
    const struct file_part part = {bytes, size};
    return file_replace(path, &part, 1, err);
}

/* The package as it is; it was read and checked already, and is checked again as copied. */
static status export_safetensors(const struct policy_location *location, const char *path,
                                 struct err *err)
{
    /* The file is read again, not written from memory: the copy has the very same bytes. */
    void *bytes;
    size_t size;
    struct policy *again;
    status s = file_read(location->path, POLICY_BYTES_MAX, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* A damaged copy must not reach other programs. */
    s = policy_parse(&again, bytes, size, err);
    if (s != STATUS_OK) {
        s = err_context(err, s, "%s", location->path);
    } else {
        /* A run in progress may have replaced the file since; the step that is printed is that of
         * the copy. */
        const unsigned long long step = policy_info(again)->learner_step;
        s = write_bytes(path, bytes, size, err);
        if (s == STATUS_OK) {
            printf("%s: %s, learner step %llu\n", path, policy_info(again)->algorithm, step);
        }
        policy_free(again);
    }
    mem_free(bytes);
    return s;
}

/* Writes the ONNX model of the policy, with the rule and the task built in. */
static status export_onnx(const struct policy_location *location, const struct policy *policy,
                          enum policy_rule rule, int task, const char *path, struct err *err)
{
    void *bytes;
    size_t size;
    status s = policy_onnx(policy, rule, task, &bytes, &size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "%s", location->path);
    }
    s = write_bytes(path, bytes, size, err);
    mem_free(bytes);
    if (s == STATUS_OK) {
        printf("%s: %s, learner step %llu, %s\n", path, policy_info(policy)->algorithm,
               (unsigned long long)policy_info(policy)->learner_step, policy_rule_name(rule));
    }
    return s;
}

/* Writes all files that were asked for. Where one of two cannot be written, the first one stays. */
static status export_to(const struct arguments *arguments, struct err *err)
{
    struct policy_location location;
    struct policy *policy = NULL;
    enum policy_rule rule;
    int task;
    char onnx[POLICY_LOCATION_PATH_SIZE], safetensors[POLICY_LOCATION_PATH_SIZE];
    status s = open_policy(arguments, &location, &policy, &rule, &task, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* All paths are checked before the first file is written. */
    if (arguments->onnx != NULL) {
        s = choose_path(onnx, arguments->onnx, &location, ".onnx", err);
    }
    if (s == STATUS_OK && arguments->safetensors != NULL) {
        s = choose_path(safetensors, arguments->safetensors, &location, ".safetensors", err);
    }
    if (s == STATUS_OK && arguments->onnx != NULL) {
        s = export_onnx(&location, policy, rule, task, onnx, err);
    }
    if (s == STATUS_OK && arguments->safetensors != NULL) {
        s = export_safetensors(&location, safetensors, err);
    }
    policy_free(policy);
    return s;
}

/* ---- Commands ---- */

/* Prints the error of a command, if any. Returns the exit status. */
static int tell(const struct arguments *arguments, status s, const struct err *err)
{
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast policy %s: %s\n", arguments->what, err->text);
    }
    return s != STATUS_OK;
}

/* `hindcast policy export`: 2 where the flags make no sense together. */
static int export_policy(const struct arguments *arguments)
{
    struct err err = {0};
    /* An export without a format would do nothing and look like success. */
    if (arguments->onnx == NULL && arguments->safetensors == NULL) {
        fputs("hindcast policy export: expected --onnx, --safetensors or both\n", stderr);
        return 2;
    }
    /* A package holds all rules and tasks; only the ONNX model has a fixed choice. */
    if (arguments->onnx == NULL && (arguments->acting != NULL || arguments->task != NULL)) {
        fputs("hindcast policy export: --acting and --task concern --onnx alone\n", stderr);
        return 2;
    }
    const status s = export_to(arguments, &err);
    return tell(arguments, s, &err);
}

/* `hindcast policy inspect`: prints to stdout. */
static int inspect(const struct arguments *arguments)
{
    struct err err = {0};
    struct policy_location location;
    struct policy *policy = NULL;
    enum policy_rule rule;
    int task;
    status s = open_policy(arguments, &location, &policy, &rule, &task, &err);
    if (s == STATUS_OK) {
        s = policy_inspect(policy, &location, stdout, &err);
        s = s == STATUS_OK ? s : err_context(&err, s, "%s", location.path);
        policy_free(policy);
    }
    return tell(arguments, s, &err);
}

/* `hindcast policy act`: both files are required, since a policy may have many inputs. */
static int act(const struct arguments *arguments)
{
    struct err err = {0};
    struct policy_location location;
    struct policy *policy = NULL;
    enum policy_rule rule;
    int task;
    if (arguments->inputs == NULL || arguments->to == NULL) {
        fputs("hindcast policy act: expected --inputs=IN and --to=OUT\n", stderr);
        return 2;
    }
    status s = open_policy(arguments, &location, &policy, &rule, &task, &err);
    /* The output must not replace the policy. */
    if (s == STATUS_OK) {
        s = same_file(arguments->to, location.path)
                ? err_set(&err, STATUS_EXISTS, "%s: is the policy itself", arguments->to)
                : policy_act_files(policy, rule, task, arguments->inputs, arguments->to, &err);
        policy_free(policy);
    }
    return tell(arguments, s, &err);
}

/* *value <- what the flag says, from `min` to `max`, or what it is now if there is no flag. */
static status take_number(double *value, const char *name, const char *text, double min, double max,
                          struct err *err)
{
    if (text == NULL) {
        return STATUS_OK;
    }
    char *end;
    *value = strtod(text, &end);
    return end != text && *end == 0 && *value >= min && *value <= max
               ? STATUS_OK
               : err_set(err, STATUS_INVALID, "--%s=%.32s: expected a number from %g to %g", name,
                         text, min, max);
}

/* `hindcast policy bench`: prints to stdout. */
static int bench(const struct arguments *arguments)
{
    struct err err = {0};
    struct policy_location location;
    struct policy_bench settings = {.acting = arguments->acting, .rate_hz = 1000, .seconds = 5};
    status s = take_number(&settings.rate_hz, "rate", arguments->rate, 0, 100000, &err);
    if (s == STATUS_OK) {
        s = take_number(&settings.seconds, "seconds", arguments->seconds, 0.01, 3600, &err);
    }
    if (s == STATUS_OK) {
        s = policy_location_find(&location, arguments->source, arguments->version, &err);
    }
    if (s == STATUS_OK) {
        settings.path = location.path;
        s = policy_bench(&settings, stdout, &err);
    }
    return tell(arguments, s, &err);
}

int command_policy(int argc, char **argv)
{
    /* Every subcommand has the same arguments, and flags that do not concern it are refused. */
    static const struct {
        const char *name;
        int (*run)(const struct arguments *arguments);
    } commands[] = {
        {"inspect", inspect}, {"export", export_policy}, {"act", act}, {"bench", bench}};
    /* Its arguments are those of the process that does the work. */
    if (argc >= 2 && strcmp(argv[1], "evaluate") == 0) {
        return policy_evaluate(argc - 2, argv + 2);
    }
    for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            struct arguments arguments = {.what = commands[i].name};
            return parse_arguments(&arguments, argc - 2, argv + 2) ? commands[i].run(&arguments)
                                                                   : 2;
        }
    }
    const bool help = argc >= 2 && strcmp(argv[1], "--help") == 0;
    fputs(usage, help ? stdout : stderr);
    return help ? 0 : 2;
}
