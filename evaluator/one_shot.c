/* Prints a report twice: as a table for people and as one line of JSON for programs.
 *
 * They go to two streams, so that a script can take the JSON from stdout while the table stays on
 * the terminal. No run is involved: there is no learner, no history and no admin page. */
#include "evaluator/one_shot.h"

#include <string.h>

#include "evaluator/report.h"
#include "evaluator/video.h"

/* One row per task of `measured`; nothing where it is NULL (no prior). */
static void print_tasks(FILE *table, const char *who, const cJSON *measured)
{
    const cJSON *task;
    cJSON_ArrayForEach(task, cJSON_GetObjectItemCaseSensitive(measured, "tasks"))
    {
        const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(task, "task"));
        fprintf(table, "%-8s %-20s %4.0f %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f (%.3f .. %.3f)", who,
                name == NULL ? "" : name, measurement_number(task, "n"),
                measurement_number(task, "mean"), measurement_number(task, "std"),
                measurement_number(task, "min"), measurement_number(task, "median"),
                measurement_number(task, "max"), measurement_number(task, "iqm"),
                measurement_number(task, "iqm_low"), measurement_number(task, "iqm_high"));
        /* Only some environments define it. */
        if (cJSON_HasObjectItem(task, "success_rate")) {
            fprintf(table, "   success %5.1f%% (%.1f .. %.1f)",
                    100.0 * measurement_number(task, "success_rate"),
                    100.0 * measurement_number(task, "success_low"),
                    100.0 * measurement_number(task, "success_high"));
        }
        fprintf(table, "\n");
    }
}

/* For people: columns, then what it cost. */
static void print_table(FILE *table, const cJSON *report)
{
    fprintf(table, "%-8s %-20s %4s %9s %9s %9s %9s %9s %9s (95%% interval)\n", "", "task", "n",
            "mean", "std", "min", "median", "max", "iqm");
    print_tasks(table, "policy", report);
    print_tasks(table, "prior", cJSON_GetObjectItemCaseSensitive(report, "prior"));
    fprintf(table, "%.0f control steps in %.2f s, %.0f failed episodes\n",
            measurement_number(report, "steps"), measurement_number(report, "seconds"),
            measurement_number(report, "failed_episodes"));
}

/* Films the policy, where that was asked for. */
static status make_video(struct environment_pool *pool, const struct experiment *experiment,
                         const struct evaluator_options *options, struct err *err)
{
    struct policy *policy;
    const struct video_settings settings = {.seed = (uint64_t)experiment->seed,
                                            .index = (uint64_t)options->index,
                                            .sample = strcmp(options->act, "sample") == 0};
    if (options->video[0] == '\0') {
        return STATUS_OK;
    }
    status s = policy_file_load(options->policy, &policy, NULL, err);
    if (s == STATUS_OK) {
        policy_limit_candidates(policy, (int)options->candidates);
        s = video_make(policy, pool->environments[0], options->video, &settings, err);
        policy_free(policy);
    }
    return s == STATUS_OK ? s : err_context(err, s, "evaluator.video");
}

status one_shot(const struct experiment *experiment, const struct evaluator_options *options,
                FILE *table, FILE *json, struct err *err)
{
    /* No `stopping`: the measurement runs to its end, or until a signal ends the program. */
    struct report_settings settings = {.experiment = experiment, .options = options};
    cJSON *report;
    status s =
        environment_pool_open(&settings.pool, experiment->environment, (uint32_t)options->threads,
                              (uint32_t)options->environments, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Measuring may take long: what cannot be filmed is said before. */
    s = make_video(settings.pool, experiment, options, err);
    s = s != STATUS_OK ? s : report_policy(&report, options->policy, &settings, err);
    /* The report holds numbers only; the environments are no longer needed. */
    environment_pool_close(settings.pool);
    if (s != STATUS_OK) {
        return s;
    }
    /* The JSON line is made first: without it nothing is printed. */
    char *line = cJSON_PrintUnformatted(report);
    if (line != NULL) {
        print_table(table, report);
        fprintf(json, "%s\n", line);
        cJSON_free(line);
    } else {
        s = err_set(err, STATUS_NO_MEMORY, "report: out of memory");
    }
    cJSON_Delete(report);
    return s;
}
