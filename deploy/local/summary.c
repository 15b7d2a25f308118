/* RUN_DIR/summary.json and the table on stdout: what a run came to.
 *
 * Nothing is measured here. Each part comes from a file that one role left in the run's folder
 * (restorer.json, evaluation.json, learner.jsonl, holdout.jsonl, offline_evaluation.json); a run
 * without that role has no such part. A file that is there but cannot be read is an error, since a
 * summary with a gap would look like one of a run without that role. */
#include "deploy/local/summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "common/base/line_file.h"
#include "common/base/memory.h"
#include "common/logs/source/selection.h"
#include "common/logs/source/source_summary.h"
#include "deploy/local/offline_table.h"

#define PATH_SIZE 1200
/* More than any of the JSON files has; a larger one is refused. */
#define FILE_MAX_BYTES (64u << 20)

/* Paths of runs are shorter than 1100 bytes: the configuration limits them. */
static void path_of(char path[PATH_SIZE], const char *run_dir, const char *name)
{
    snprintf(path, PATH_SIZE, "%.1100s/%s", run_dir, name);
}

bool summary_is_there(const char *run_dir)
{
    char path[PATH_SIZE];
    path_of(path, run_dir, "summary.json");
    return access(path, F_OK) == 0;
}

/* Copies object[key] to summary[name] where it is a number. */
static void copy_number(cJSON *summary, const char *name, const cJSON *object, const char *key)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, key);
    if (cJSON_IsNumber(value)) {
        cJSON_AddNumberToObject(summary, name, value->valuedouble);
    }
}

/* Reads RUN_DIR/NAME; *json stays NULL where no process of the run made it. */
static status read_part(cJSON **json, const char *run_dir, const char *name, struct err *err)
{
    char path[PATH_SIZE];
    path_of(path, run_dir, name);
    *json = NULL;
    status s = json_read(path, FILE_MAX_BYTES, json, err);
    return s == STATUS_NOT_FOUND ? STATUS_OK : s;
}

/* The rules about episodes by which the restorers read, from the manifest; *clip as well. */
static status read_rules(const cJSON *manifest, struct episode_rules *rules, bool *clip,
                         struct err *err)
{
    const cJSON *options = cJSON_GetObjectItemCaseSensitive(manifest, "rules");
    const char *bad_rows =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(options, "bad_rows"));
    const char *actions =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(options, "actions"));
    const cJSON *min_piece = cJSON_GetObjectItemCaseSensitive(options, "min_piece");
    episode_rules_init(rules);
    *clip = actions != NULL && strcmp(actions, "clip") == 0;
    rules->split_bad_rows = bad_rows != NULL && strcmp(bad_rows, "split") == 0;
    if (cJSON_IsNumber(min_piece) && min_piece->valuedouble >= 1 &&
        min_piece->valuedouble <= EPISODE_TRANSITIONS_MAX) {
        rules->min_piece = (uint32_t)min_piece->valuedouble;
    }
    status s = STATUS_OK;
    const cJSON *condition;
    cJSON_ArrayForEach(condition, cJSON_GetObjectItemCaseSensitive(options, "filter"))
    {
        if (s == STATUS_OK && cJSON_IsString(condition)) {
            s = episode_filter_add(&rules->filter, condition->valuestring, err);
        }
    }
    return s;
}

/* Opens all sources that the restorer named. */
static status open_sources(struct source **sources, size_t *n, const cJSON *manifest, bool clip,
                           struct err *err)
{
    const cJSON *mapping = cJSON_GetObjectItemCaseSensitive(manifest, "mapping");
    struct text notes = {0};
    status s = STATUS_OK;
    const cJSON *folder;
    cJSON_ArrayForEach(folder, cJSON_GetObjectItemCaseSensitive(manifest, "datasets"))
    {
        if (s != STATUS_OK || !cJSON_IsString(folder)) {
            continue;
        }
        s = source_open(&sources[*n], folder->valuestring, cJSON_GetStringValue(mapping), &notes,
                        err);
        if (s == STATUS_OK) {
            source_set_clip(sources[(*n)++], clip);
        }
    }
    text_fini(&notes);
    return s == STATUS_OK && *n == 0
               ? err_set(err, STATUS_CORRUPT, "restorer.json: datasets: expected a list of folders")
               : s;
}

/* One summary of all sources, read by the restorers' rules. */
static status summarise(struct dataset_summary **logs, const cJSON *manifest, struct err *err)
{
    const int most = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(manifest, "datasets"));
    struct source **sources = mem_array((size_t)most + 1, sizeof(*sources));
    struct selection selection = {0};
    struct episode_rules rules;
    size_t n = 0;
    bool clip;
    *logs = NULL;
    if (sources == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "restorer.json");
    }
    status s = read_rules(manifest, &rules, &clip, err);
    if (s == STATUS_OK) {
        s = open_sources(sources, &n, manifest, clip, err);
    }
    if (s == STATUS_OK) {
        s = selection_make(&selection, sources, n, &rules, NULL, NULL, err);
    }
    /* The first one gives the signature. */
    if (s == STATUS_OK) {
        s = dataset_summary_new(logs, source_signature(sources[0]), err);
    }
    for (size_t i = 0; i < n; i++) {
        s = s == STATUS_OK ? source_summary_add(*logs, sources[i], err) : s;
        source_close(sources[i]);
    }
    selection_fini(&selection);
    mem_free(sources);
    return s;
}

/* The returns of the logs: of the task that comes first. The restorer has counted them where it
 * went through all logs in one go; else they are read again. */
static status add_logs(cJSON *summary, const char *run_dir, struct err *err)
{
    /* A run without restorers has no logs of its own. */
    cJSON *restorer;
    status s = read_part(&restorer, run_dir, "restorer.json", err);
    if (s != STATUS_OK || !restorer) {
        return s;
    }
    /* `counted` points to the numbers, `read` owns them where they are made here. */
    struct dataset_summary *logs = NULL;
    cJSON *read = NULL;
    const cJSON *counted = restorer;
    /* Reading all logs again takes a while, but the numbers are the same. */
    if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(restorer, "returns"))) {
        s = summarise(&logs, restorer, err);
        counted = read = s == STATUS_OK ? dataset_summary_json(logs) : NULL;
    }
    /* The first task stands for the run in its curves, and so it does here. */
    const cJSON *returns = cJSON_GetObjectItemCaseSensitive(counted, "returns");
    const cJSON *first = returns ? returns->child : NULL;
    copy_number(summary, "logged_return_mean", first, "mean");
    copy_number(summary, "logged_return_p90", first, "p90");
    copy_number(summary, "logged_return_max", first, "max");
    cJSON_Delete(read);
    dataset_summary_free(logs);
    cJSON_Delete(restorer);
    return s;
}

/* What the evaluator measured afresh. */
static status add_policy(cJSON *summary, const char *run_dir, struct err *err)
{
    /* A run without evaluators has no measured policy. */
    cJSON *evaluation;
    status s = read_part(&evaluation, run_dir, "evaluation.json", err);
    if (s != STATUS_OK || !evaluation) {
        return s;
    }
    copy_number(summary, "policy_return_mean", evaluation, "return_mean");
    copy_number(summary, "prior_return_mean", evaluation, "prior_return_mean");
    copy_number(summary, "policy_learner_step", evaluation, "learner_step");
    /* The last policy tells how far learning came, and is written when the run ends. */
    const cJSON *last = cJSON_GetObjectItemCaseSensitive(evaluation, "last");
    copy_number(summary, "last_policy_return_mean", last, "return_mean");
    copy_number(summary, "learner_steps", last, "learner_step");
    const cJSON *algorithm = cJSON_GetObjectItemCaseSensitive(evaluation, "algorithm");
    if (cJSON_IsString(algorithm)) {
        cJSON_AddStringToObject(summary, "algorithm", algorithm->valuestring);
    }
    cJSON_Delete(evaluation);
    return STATUS_OK;
}

/* The policy that an off-policy evaluation chose; NULL where it says of none. */
static const cJSON *chosen_of(const cJSON *policies)
{
    const cJSON *policy;
    cJSON_ArrayForEach(policy, policies)
    {
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(policy, "chosen")) &&
            cJSON_IsString(cJSON_GetObjectItemCaseSensitive(policy, "name"))) {
            return policy;
        }
    }
    return NULL;
}

/* The ranking of an off-policy evaluation, and the policy that it chose. */
static status add_choice(cJSON *summary, const char *run_dir, FILE *out, struct err *err)
{
    cJSON *report;
    status s = read_part(&report, run_dir, "offline_evaluation.json", err);
    if (s != STATUS_OK || !report) {
        return s;
    }
    const cJSON *policies = cJSON_GetObjectItemCaseSensitive(report, "policies");
    const cJSON *chosen = chosen_of(policies);
    if (chosen == NULL) {
        cJSON_Delete(report);
        return err_set(err, STATUS_CORRUPT,
                       "offline_evaluation.json: expected policies, one of them chosen");
    }
    fputc('\n', out);
    offline_table_print(report, out);
    cJSON_AddStringToObject(summary, "chosen_policy",
                            cJSON_GetObjectItemCaseSensitive(chosen, "name")->valuestring);
    copy_number(summary, "offline_value", chosen, "value");
    copy_number(summary, "offline_value_low", chosen, "value_low");
    copy_number(summary, "offline_value_high", chosen, "value_high");
    copy_number(summary, "policy_learner_step", chosen, "learner_step");
    cJSON *ranking = cJSON_Duplicate(policies, true);
    s = json_put(summary, "ranking", ranking) ? STATUS_OK
                                              : err_set(err, STATUS_NO_MEMORY, "ranking");
    cJSON_Delete(report);
    return s;
}

/* Keeps the first line shown that is JSON with step and learning_seconds. */
static bool keep_report(void *arg, const char *line, size_t size, off_t offset)
{
    /* NULL stands for a line that could not be read; it is skipped like one that is no report. */
    (void)offset;
    cJSON **report = arg;
    /* The line is not terminated, so its size is passed. */
    cJSON *json = line != NULL ? cJSON_ParseWithLength(line, size) : NULL;
    if (cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(json, "step")) &&
        cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(json, "learning_seconds"))) {
        *report = json;
        return false;
    }
    cJSON_Delete(json);
    return true;
}

/* How far the learner came, from its last readable report, unless the last policy is known to be of
 * some steps after it. The file grows with the run, without a limit, so it is read from its end. */
static status add_learner(cJSON *summary, const char *run_dir, struct err *err)
{
    /* The last line may be cut by a crash, so the search goes on to the first sound one. */
    char path[PATH_SIZE];
    path_of(path, run_dir, "learner.jsonl");
    cJSON *line = NULL;
    off_t size = 0;
    status s = line_file_backwards(path, keep_report, &line, &size, err);
    if (s != STATUS_OK) {
        return s == STATUS_NOT_FOUND ? STATUS_OK : s;
    }
    /* Both are NULL where the search found no line, and the file may then only be empty. */
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(line, "step");
    const cJSON *seconds = cJSON_GetObjectItemCaseSensitive(line, "learning_seconds");
    if (cJSON_IsNumber(step) && cJSON_IsNumber(seconds)) {
        /* A report and the last policy may be of different steps; the later one is right. */
        cJSON *steps = cJSON_GetObjectItemCaseSensitive(summary, "learner_steps");
        if (!steps) {
            cJSON_AddNumberToObject(summary, "learner_steps", step->valuedouble);
        } else if (steps->valuedouble < step->valuedouble) {
            cJSON_SetNumberValue(steps, step->valuedouble);
        }
        /* The report has both numbers over the whole run, restarts included. */
        cJSON_AddNumberToObject(summary, "learner_steps_per_second",
                                seconds->valuedouble > 0 ? step->valuedouble / seconds->valuedouble
                                                         : 0);
        cJSON_AddNumberToObject(summary, "learning_seconds", seconds->valuedouble);
    } else if (size > 0) {
        s = err_set(err, STATUS_CORRUPT, "%s: no line has step and learning_seconds", path);
    }
    cJSON_Delete(line);
    return s;
}

/* Keeps the first line shown that has both sides of a validation. */
static bool keep_validation(void *arg, const char *line, size_t size, off_t offset)
{
    (void)offset;
    cJSON **validation = arg;
    cJSON *json = line != NULL ? cJSON_ParseWithLength(line, size) : NULL;
    if (cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(json, "train")) &&
        cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(json, "holdout"))) {
        *validation = json;
        return false;
    }
    cJSON_Delete(json);
    return true;
}

/* The figures of one side under its name; vectors, one number for each task, as their mean. */
static void add_side(cJSON *summary, const char *side, const cJSON *figures)
{
    const cJSON *figure;
    cJSON_ArrayForEach(figure, figures)
    {
        char name[80];
        snprintf(name, sizeof name, "%s_%.60s", side, figure->string);
        const int n = cJSON_GetArraySize(figure);
        double sum = 0;
        const cJSON *one;
        cJSON_ArrayForEach(one, figure)
        {
            sum += cJSON_IsNumber(one) ? one->valuedouble : (double)NAN;
        }
        if (cJSON_IsNumber(figure)) {
            cJSON_AddNumberToObject(summary, name, figure->valuedouble);
        } else if (n > 0 && isfinite(sum)) {
            cJSON_AddNumberToObject(summary, name, sum / n);
        }
    }
}

/* Where episodes are held out: how the last version did on both sides. */
static status add_validation(cJSON *summary, const char *run_dir, struct err *err)
{
    char path[PATH_SIZE];
    path_of(path, run_dir, "holdout.jsonl");
    cJSON *line = NULL;
    off_t size = 0;
    const status s = line_file_backwards(path, keep_validation, &line, &size, err);
    if (s != STATUS_OK) {
        return s == STATUS_NOT_FOUND ? STATUS_OK : s;
    }
    static const char *const sides[] = {"train", "holdout"};
    for (size_t i = 0; i < 2; i++) {
        add_side(summary, sides[i], cJSON_GetObjectItemCaseSensitive(line, sides[i]));
    }
    cJSON_Delete(line);
    return STATUS_OK;
}

/* Prints the summary for people: whole numbers without decimals, others with two. */
static void print_table(const cJSON *summary, const char *run_dir, FILE *out)
{
    fprintf(out, "\n%s\n", run_dir);
    const cJSON *item;
    cJSON_ArrayForEach(item, summary)
    {
        if (cJSON_IsNumber(item)) {
            fprintf(out, "  %-26s %12.*f\n", item->string,
                    fabs(item->valuedouble - round(item->valuedouble)) < 1e-9 ? 0 : 2,
                    item->valuedouble);
        } else if (cJSON_IsString(item)) {
            fprintf(out, "  %-26s %12s\n", item->string, item->valuestring);
        }
    }
    fflush(out);
}

status summary_make(const char *run_dir, bool chose_offline, double wall_seconds, FILE *out,
                    struct err *err)
{
    cJSON *summary = cJSON_CreateObject();
    if (!summary) {
        return err_set(err, STATUS_NO_MEMORY, "summary");
    }
    /* Each part adds its keys; the order is that of the table. */
    status s = add_logs(summary, run_dir, err);
    s = s != STATUS_OK ? s : add_policy(summary, run_dir, err);
    s = s != STATUS_OK ? s : add_learner(summary, run_dir, err);
    s = s != STATUS_OK ? s : add_validation(summary, run_dir, err);
    /* A report that an earlier start of the run left says nothing about this one's policy. */
    s = s != STATUS_OK || !chose_offline ? s : add_choice(summary, run_dir, out, err);
    cJSON_AddNumberToObject(summary, "wall_seconds", wall_seconds);
    /* The file is written before the table, so that what is shown can be read again. */
    if (s == STATUS_OK) {
        char path[PATH_SIZE];
        path_of(path, run_dir, "summary.json");
        s = json_write(path, summary, err);
    }
    if (s == STATUS_OK) {
        print_table(summary, run_dir, out);
    }
    cJSON_Delete(summary);
    return s == STATUS_OK ? s : err_context(err, s, "summary of %s", run_dir);
}
