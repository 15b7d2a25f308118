/* The state of the run that is followed: its evaluations, best policy, stop rule, metrics and
 * curves.
 *
 * All of it can be rebuilt from disk (standing_begin). An evaluation is written in this order: the
 * policy, where it is the best; then its line. A crash in between repeats the evaluation, which
 * gives the same result. In the other order a crash would leave a line that says "best" without its
 * policy.
 *
 * Everything runs on the evaluating thread. Another thread prints the history, which has a lock of
 * its own. */
#include "evaluator/standing.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LOG_MODULE "follow"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "evaluator/policy_file.h"
#include "evaluator/statistics.h"

/* May jump with the wall clock; it has to count the time between two starts of the evaluator
 * too. */
double standing_wall_s(const struct standing *standing)
{
    return (double)clock_wall_ns() / 1e9 - history_started_s(standing->history);
}

/* ---- Opening ---- */

/* Registered once, before the first run is known. */
static void make_metrics(struct standing_metrics *metrics)
{
    metrics->evaluations =
        metric_counter("hindcast_evaluator_evaluations_total", "Snapshots measured", NULL);
    metrics->episodes = metric_counter("hindcast_evaluator_episodes_total", "Episodes acted", NULL);
    metrics->failed = metric_counter("hindcast_evaluator_failed_episodes_total",
                                     "Episodes in which the environment failed; not counted", NULL);
    metrics->steps = metric_counter("hindcast_evaluator_steps_total", "Control steps", NULL);
    metrics->seconds = metric_gauge("hindcast_evaluator_evaluation_seconds",
                                    "How long the last evaluation took", NULL);
    metrics->version =
        metric_gauge("hindcast_evaluator_version", "Version of the parameters measured last", NULL);
    metrics->learner_step = metric_gauge("hindcast_evaluator_learner_step",
                                         "Learner step of the parameters measured last", NULL);
    metrics->mean = metric_gauge("hindcast_evaluator_return_mean",
                                 "Mean return of the last evaluation, over tasks", NULL);
    metrics->best = metric_gauge("hindcast_evaluator_best_return_mean",
                                 "The best mean return of the run so far", NULL);
}

status standing_open(struct standing *standing, const struct run_files *files,
                     const struct evaluator_options *options, struct err *err)
{
    *standing = (struct standing){.files = files, .options = options};
    make_metrics(&standing->metrics);
    return history_open(&standing->history, files->history, err);
}

void standing_close(struct standing *standing)
{
    curves_close(standing->curves);
    history_close(standing->history);
}

/* ---- Beginning or resuming a run ---- */

/* Opens the curves for the points to come. Where that fails, everything else goes on. */
static void begin_curves(struct standing *standing, double seen_step)
{
    /* A restart writes into a new file of the folder; TensorBoard shows all of them as one
     * curve. */
    struct err err = {0};
    curves_close(standing->curves);
    standing->curves = NULL;
    if (curves_open(&standing->curves, standing->files->curves, seen_step, &err) != STATUS_OK) {
        log_warn("points for TensorBoard cannot be written: %s", err.text);
    }
}

/* Gives the returns of one evaluation, as they are in its record, to the stop rule. */
static void judge(struct standing *standing, const cJSON *record)
{
    double means[SIGNATURE_TASKS_MAX] = {measurement_number(record, "return_mean")};
    uint32_t n = 1;
    /* Lines of an older program may lack tasks. */
    const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(record, "tasks");
    if (strcmp(standing->options->improvement, "any_task") == 0 && cJSON_GetArraySize(tasks) > 0) {
        const cJSON *task;
        n = 0;
        cJSON_ArrayForEach(task, tasks)
        {
            if (n < SIGNATURE_TASKS_MAX) {
                means[n++] = measurement_number(task, "mean");
            }
        }
    }
    standing->stop_wanted = stop_rule_add(&standing->rule, means, n);
}

void standing_begin(struct standing *standing, const char *run_id)
{
    struct policy_notes notes;
    struct err err;
    const cJSON *record;
    double furthest_step = -1;
    /* Nothing is known of the run yet, but for what the file has of it. A run that is seen for the
     * first time starts like this; one that is continued finds its lines below. */
    snprintf(standing->run_id, sizeof standing->run_id, "%s", run_id);
    standing->seen = 0;
    standing->seen_step = -1;
    standing->best = -INFINITY;
    standing->stop_wanted = false;
    stop_rule_init(&standing->rule, (uint32_t)standing->options->patience,
                   standing->options->min_delta, (uint32_t)standing->options->stop_window);
    cJSON_ArrayForEach(record, history_records(standing->history))
    {
        const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "run_id"));
        double version = measurement_number(record, "version");
        /* Lines of other runs in the same folder are left alone. The rule takes the returns in
         * their order, and so arrives at the state that it had. */
        if (id != NULL && strcmp(id, run_id) == 0 && version >= 1) {
            judge(standing, record);
            standing->seen = (uint64_t)version;
            standing->seen_step = measurement_number(record, "learner_step");
            furthest_step = fmax(furthest_step, standing->seen_step);
        }
    }
    begin_curves(standing, furthest_step);
    /* The best return comes from the policy file itself, so that a crash between the policy and its
     * line changes nothing. */
    if (policy_file_load(standing->files->policy, NULL, &notes, &err) == STATUS_OK &&
        strcmp(notes.run_id, run_id) == 0 && isfinite(notes.return_mean)) {
        standing->best = notes.return_mean;
    }
    log_info("following run=%s evaluated_before=%u last_version=%" PRIu64 " best=%.3f", run_id,
             standing->rule.n, standing->seen, standing->best);
}

/* ---- Keeping an evaluation ---- */

/* A gauge per task and statistic, named when the tasks are known. */
static void set_task_metrics(const struct measurement *measurement, const cJSON *record)
{
    const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(record, "tasks");
    for (uint32_t k = 0; k < measurement->n_tasks; k++) {
        const cJSON *task = cJSON_GetArrayItem(tasks, (int)k);
        /* metric_gauge gives the same gauge for the same labels, so this does not add one per
         * evaluation. */
        for (size_t i = 0; i < STATISTICS_N; i++) {
            char labels[SIGNATURE_NAME_SIZE + 48];
            snprintf(labels, sizeof labels, "task=\"%s\",statistic=\"%s\"", measurement->tasks[k],
                     statistics_names[i]);
            metric_set(metric_gauge("hindcast_evaluator_return",
                                    "Return of the last evaluation's episodes", labels),
                       measurement_number(task, statistics_names[i]));
        }
    }
}

/* Counters and gauges of one evaluation. */
static void count_evaluation(struct standing *standing, const struct parameters_snapshot *snapshot,
                             const struct measurement *measurement)
{
    struct standing_metrics *metrics = &standing->metrics;
    /* Totals, which only grow. */
    metric_add(metrics->evaluations, 1);
    metric_add(metrics->episodes, (double)measurement->n_tasks * measurement->episodes);
    metric_add(metrics->failed, measurement->failed);
    metric_add(metrics->steps, (double)measurement->steps);
    /* The last evaluation. */
    metric_set(metrics->seconds, measurement->seconds);
    metric_set(metrics->version, (double)snapshot->version);
    metric_set(metrics->learner_step, (double)snapshot->learner_step);
    metric_set(metrics->mean, measurement_mean(measurement));
    metric_set(metrics->best, standing->best);
}

/* Adds the line of one evaluation to the history, and its points to the curves. `at_s`: when the
 * snapshot was taken. */
static status record_evaluation(struct standing *standing,
                                const struct parameters_snapshot *snapshot,
                                const struct measurement *measurement, bool best, double at_s,
                                struct err *err)
{
    /* The same record goes to the curves and to the file. */
    cJSON *record = cJSON_CreateObject();
    bool ok =
        cJSON_AddStringToObject(record, "run_id", standing->run_id) &&
        cJSON_AddNumberToObject(record, "version", (double)snapshot->version) &&
        cJSON_AddNumberToObject(record, "learner_step", (double)snapshot->learner_step) &&
        cJSON_AddNumberToObject(record, "time", history_started_s(standing->history) + at_s) &&
        cJSON_AddNumberToObject(record, "wall_s", at_s) &&
        cJSON_AddBoolToObject(record, "best", best) &&
        measurement_to_json(measurement, record) == STATUS_OK;
    if (!ok) {
        cJSON_Delete(record);
        return err_set(err, STATUS_NO_MEMORY, "evaluation: out of memory");
    }
    /* What is lost when the append below fails is on the metrics and the curves already; the
     * evaluator stops then, and its next start continues from the lines that are on disk. */
    judge(standing, record);
    set_task_metrics(measurement, record);
    if (standing->curves != NULL) {
        curves_add(standing->curves, record, standing->best);
    }
    return history_append(standing->history, record, err);
}

/* The notes that a kept policy carries. */
static struct policy_notes notes_of(const struct standing *standing,
                                    const struct parameters_snapshot *snapshot, double mean,
                                    double at_s)
{
    struct policy_notes notes = {.version = snapshot->version,
                                 .learner_step = snapshot->learner_step,
                                 .return_mean = mean,
                                 .wall_s = at_s};
    /* Both have PARAMETERS_RUN_ID_SIZE bytes and end with a 0. */
    memcpy(notes.run_id, standing->run_id, sizeof notes.run_id);
    return notes;
}

status standing_keep(struct standing *standing, const struct parameters_snapshot *snapshot,
                     const struct measurement *measurement, double at_s, struct err *err)
{
    double mean = measurement_mean(measurement);
    /* The policy is on disk before its line: see above. */
    bool best = mean > standing->best;
    if (best) {
        struct policy_notes notes = notes_of(standing, snapshot, mean, at_s);
        status s = policy_file_keep(standing->files->policy, snapshot->package,
                                    snapshot->package_size, &notes, err);
        if (s != STATUS_OK) {
            return s;
        }
        standing->best = mean;
    }
    /* From here on the evaluation counts, on disk or not. */
    standing->seen = snapshot->version;
    standing->seen_step = (double)snapshot->learner_step;
    count_evaluation(standing, snapshot, measurement);
    log_info("evaluated version=%" PRIu64 " learner_step=%" PRIu64
             " return_mean=%.3f best=%.3f seconds=%.2f",
             snapshot->version, snapshot->learner_step, mean, standing->best, measurement->seconds);
    return record_evaluation(standing, snapshot, measurement, best, at_s, err);
}

status standing_keep_last(struct standing *standing, const struct parameters_snapshot *snapshot,
                          struct err *err)
{
    /* NaN unless the last version was evaluated while the run went on. */
    struct policy_notes notes = notes_of(standing, snapshot, NAN, standing_wall_s(standing));
    /* The version that ended the run may be a copy of one that was evaluated; the learner step
     * tells, not the version. Where there are several lines the newest counts. */
    const cJSON *record;
    cJSON_ArrayForEach(record, history_records(standing->history))
    {
        const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "run_id"));
        if (id != NULL && strcmp(id, standing->run_id) == 0 &&
            measurement_number(record, "learner_step") == (double)snapshot->learner_step) {
            notes.return_mean = measurement_number(record, "return_mean");
        }
    }
    return policy_file_keep(standing->files->policy_last, snapshot->package, snapshot->package_size,
                            &notes, err);
}
