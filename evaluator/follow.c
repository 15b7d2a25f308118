/* One thread: a snapshot, a measurement, a line, and again. */
#include "evaluator/follow.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "evaluator/curves.h"
#include "evaluator/history.h"
#include "evaluator/report.h"
#include "evaluator/stop_rule.h"

#define LOG_MODULE "follow"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

#define TAKE_MS        500
#define FINISH_MS      5000
#define ABSENT_SHOWN_S 5
#define RESUME_MS      5000 /* how long a run that has ended is asked whether it has begun anew */
#define STATISTICS_N   5

struct follow_metrics {
    struct metric *evaluations, *episodes, *failed, *steps, *seconds;
    struct metric *version, *learner_step, *mean, *best;
};

struct follow {
    struct process *process;
    const struct experiment *experiment;
    const struct evaluator_options *options;
    pthread_t thread;
    char who[32]; /* "evaluator-0" */
    struct run_files files;
    struct history *history;
    struct curves *curves; /* of the run that is followed; NULL: none, or no room for them */
    struct parameters_client *client;
    struct follow_metrics metrics;
    const struct parameters_snapshot *pending; /* taken, not yet looked at; NULL: none */

    /* Of the run that is followed; begin_run sets them. */
    char run_id[PARAMETERS_RUN_ID_SIZE]; /* empty: none yet */
    uint64_t seen;    /* version evaluated last, or known to be that one's twin */
    double seen_step; /* learner step of what was evaluated last; -1: nothing */
    double best;      /* mean return of the policy kept; -inf: none */
    struct stop_rule rule;
    bool stop_wanted; /* the stop rule has spoken */
};

static bool follow_stopping(void *arg)
{
    const struct follow *follow = arg;
    return process_stopping(follow->process);
}

static double wall_s(const struct follow *follow)
{
    return (double)clock_wall_ns() / 1e9 - history_started_s(follow->history);
}

static double number_of(const cJSON *record, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(record, key);
    return cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
}

/* ---- Where a run stands ---- */

/* Points go on behind what the run has already. Without them all else goes on, too. */
static void begin_curves(struct follow *follow, double seen_step)
{
    struct err err = {0};
    curves_close(follow->curves);
    follow->curves = NULL;
    if (curves_open(&follow->curves, follow->files.curves, seen_step, &err) != STATUS_OK) {
        log_warn("no points for TensorBoard: %s", err.text);
    }
}

/* Takes up run `run_id` from the lines and the policy that an earlier start left. */
static void begin_run(struct follow *follow, const char *run_id)
{
    struct policy_notes notes;
    struct err err;
    const cJSON *record;
    double furthest_step = -1;
    snprintf(follow->run_id, sizeof follow->run_id, "%s", run_id);
    follow->seen = 0;
    follow->seen_step = -1;
    follow->best = -INFINITY;
    follow->stop_wanted = false;
    stop_rule_init(&follow->rule, (uint32_t)follow->options->patience, follow->options->min_delta);
    cJSON_ArrayForEach(record, history_records(follow->history))
    {
        const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "run_id"));
        double version = number_of(record, "version");
        if (id != NULL && strcmp(id, run_id) == 0 && version >= 1) {
            follow->stop_wanted = stop_rule_add(&follow->rule, number_of(record, "return_mean"));
            follow->seen = (uint64_t)version;
            follow->seen_step = number_of(record, "learner_step");
            furthest_step = fmax(furthest_step, follow->seen_step);
        }
    }
    begin_curves(follow, furthest_step);
    /* The file says what it holds: a crash between policy and line changes nothing. */
    if (policy_file_load(follow->files.policy, NULL, &notes, &err) == STATUS_OK &&
        strcmp(notes.run_id, run_id) == 0 && isfinite(notes.return_mean)) {
        follow->best = notes.return_mean;
    }
    log_info("following run=%s evaluated_before=%u last_version=%" PRIu64 " best=%.3f", run_id,
             follow->rule.n, follow->seen, follow->best);
}

/* ---- One evaluation ---- */

static void set_task_metrics(const struct measurement *measurement, const cJSON *record)
{
    static const char *const names[STATISTICS_N] = {"mean", "min", "median", "max", "std"};
    const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(record, "tasks");
    for (uint32_t k = 0; k < measurement->n_tasks; k++) {
        const cJSON *task = cJSON_GetArrayItem(tasks, (int)k);
        for (size_t i = 0; i < STATISTICS_N; i++) {
            char labels[SIGNATURE_NAME_SIZE + 48];
            snprintf(labels, sizeof labels, "task=\"%s\",statistic=\"%s\"", measurement->tasks[k],
                     names[i]);
            metric_set(metric_gauge("hindcast_evaluator_return",
                                    "Return of the last evaluation's episodes", labels),
                       number_of(task, names[i]));
        }
    }
}

static void count_evaluation(struct follow *follow, const struct parameters_snapshot *snapshot,
                             const struct measurement *measurement)
{
    struct follow_metrics *metrics = &follow->metrics;
    metric_add(metrics->evaluations, 1);
    metric_add(metrics->episodes, (double)measurement->n_tasks * measurement->episodes);
    metric_add(metrics->failed, measurement->failed);
    metric_add(metrics->steps, (double)measurement->steps);
    metric_set(metrics->seconds, measurement->seconds);
    metric_set(metrics->version, (double)snapshot->version);
    metric_set(metrics->learner_step, (double)snapshot->learner_step);
    metric_set(metrics->mean, measurement_mean(measurement));
    metric_set(metrics->best, follow->best);
}

static status record_evaluation(struct follow *follow, const struct parameters_snapshot *snapshot,
                                const struct measurement *measurement, bool best, double at_s,
                                struct err *err)
{
    cJSON *record = cJSON_CreateObject();
    bool ok = cJSON_AddStringToObject(record, "run_id", follow->run_id) &&
              cJSON_AddNumberToObject(record, "version", (double)snapshot->version) &&
              cJSON_AddNumberToObject(record, "learner_step", (double)snapshot->learner_step) &&
              cJSON_AddNumberToObject(record, "time", history_started_s(follow->history) + at_s) &&
              cJSON_AddNumberToObject(record, "wall_s", at_s) &&
              cJSON_AddBoolToObject(record, "best", best) &&
              measurement_to_json(measurement, record) == STATUS_OK;
    if (!ok) {
        cJSON_Delete(record);
        return err_set(err, STATUS_NO_MEMORY, "evaluation: out of memory");
    }
    set_task_metrics(measurement, record);
    if (follow->curves != NULL) {
        curves_add(follow->curves, record, follow->best);
    }
    return history_append(follow->history, record, err);
}

static struct policy_notes notes_of(const struct follow *follow,
                                    const struct parameters_snapshot *snapshot, double mean,
                                    double at_s)
{
    struct policy_notes notes = {.version = snapshot->version,
                                 .learner_step = snapshot->learner_step,
                                 .return_mean = mean,
                                 .wall_s = at_s};
    memcpy(notes.run_id, follow->run_id, sizeof notes.run_id);
    return notes;
}

/* Keeps the policy where it is the best, then the line. */
static status keep_evaluation(struct follow *follow, const struct parameters_snapshot *snapshot,
                              const struct measurement *measurement, double at_s, struct err *err)
{
    double mean = measurement_mean(measurement);
    bool best = mean > follow->best;
    if (best) {
        struct policy_notes notes = notes_of(follow, snapshot, mean, at_s);
        status s = policy_file_keep(follow->files.policy, snapshot->package, snapshot->package_size,
                                    &notes, err);
        if (s != STATUS_OK) {
            return s;
        }
        follow->best = mean;
    }
    follow->seen = snapshot->version;
    follow->seen_step = (double)snapshot->learner_step;
    follow->stop_wanted = stop_rule_add(&follow->rule, mean);
    count_evaluation(follow, snapshot, measurement);
    log_info("evaluated version=%" PRIu64 " learner_step=%" PRIu64
             " return_mean=%.3f best=%.3f seconds=%.2f",
             snapshot->version, snapshot->learner_step, mean, follow->best, measurement->seconds);
    process_report(follow->process, -1,
                   "evaluation %u  learner step %" PRIu64 "  return %.1f  best %.1f",
                   follow->rule.n, snapshot->learner_step, mean, follow->best);
    return record_evaluation(follow, snapshot, measurement, best, at_s, err);
}

static status evaluate(struct follow *follow, const struct parameters_snapshot *snapshot,
                       struct err *err)
{
    const struct evaluator_options *options = follow->options;
    struct measurement_settings settings = {
        .environment = follow->experiment->environment,
        .seed = (uint64_t)follow->experiment->seed,
        .stream = MEASUREMENT_WINDOW,
        .index = (uint64_t)options->index,
        .episodes = (uint32_t)options->window_episodes,
        .threads = (uint32_t)options->threads,
        .sample = strcmp(options->act, "sample") == 0,
        .stopping = follow_stopping,
        .arg = follow,
    };
    struct policy *policy;
    struct measurement *measurement;
    double at_s = wall_s(follow); /* when the snapshot was taken */
    status s = policy_parse(&policy, snapshot->package, snapshot->package_size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "version %" PRIu64, snapshot->version);
    }
    s = measurement_take(&measurement, policy, &settings, err);
    policy_free(policy);
    if (s == STATUS_OK) {
        s = keep_evaluation(follow, snapshot, measurement, at_s, err);
        measurement_free(measurement);
    }
    return s;
}

/* ---- The run's end ---- */

/* The stop rule has spoken: ends the run. Not reaching the learner is no error: it is tried again.
 * */
static void ask_to_finish(struct follow *follow)
{
    char reason[128];
    struct err err;
    snprintf(reason, sizeof reason, "no improvement in %u evaluations (best mean return %.3f)",
             follow->rule.without, follow->best);
    status s = parameters_client_finish(follow->client, follow->seen, reason, follow->who,
                                        FINISH_MS, &err);
    if (s == STATUS_OK) {
        log_info("the run ends: %s", reason);
        follow->stop_wanted = false;
    } else if (!process_stopping(follow->process)) {
        log_warn("cannot end the run yet: %s", err.text);
    }
}

/* Keeps the last policy: the mark that the run has ended. */
static status keep_last(struct follow *follow, const struct parameters_snapshot *snapshot,
                        struct err *err)
{
    struct policy_notes notes = notes_of(follow, snapshot, NAN, wall_s(follow));
    const cJSON *record;
    cJSON_ArrayForEach(record, history_records(follow->history))
    {
        const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "run_id"));
        if (id != NULL && strcmp(id, follow->run_id) == 0 &&
            number_of(record, "learner_step") == (double)snapshot->learner_step) {
            notes.return_mean = number_of(record, "return_mean");
        }
    }
    return policy_file_keep(follow->files.policy_last, snapshot->package, snapshot->package_size,
                            &notes, err);
}

/* Measures what is reported. */
static status report_end(struct follow *follow, struct err *err)
{
    struct report_settings settings = {follow->experiment, follow->options, follow_stopping,
                                       follow};
    cJSON *report;
    process_report(follow->process, -1, "the run has ended; measuring the best policy");
    status s = report_run(&report, &follow->files, &settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    process_report(follow->process, 1, "done: return %.1f (last policy %.1f)",
                   number_of(report, "return_mean"),
                   number_of(cJSON_GetObjectItemCaseSensitive(report, "last"), "return_mean"));
    log_info("reported return_mean=%.3f last=%.3f file=%s", number_of(report, "return_mean"),
             number_of(cJSON_GetObjectItemCaseSensitive(report, "last"), "return_mean"),
             follow->files.report);
    cJSON_Delete(report);
    return STATUS_OK;
}

/* ---- The thread ---- */

/* What to do with a snapshot. *ended: it was the run's last. */
static status handle_snapshot(struct follow *follow, const struct parameters_snapshot *snapshot,
                              bool *ended, struct err *err)
{
    status s = STATUS_OK;
    if (strcmp(follow->run_id, snapshot->run_id) != 0) {
        begin_run(follow, snapshot->run_id);
    }
    if (snapshot->finished && (double)snapshot->learner_step == follow->seen_step) {
        /* The run ended with the step of the version before: the same policy under two numbers. */
        follow->seen = snapshot->version;
    } else if (snapshot->version > follow->seen) {
        s = evaluate(follow, snapshot, err);
    }
    if (s == STATUS_CORRUPT && !snapshot->finished) {
        log_error("this version is passed over: %s", err->text);
        follow->seen = snapshot->version;
        s = STATUS_OK;
    }
    if (s == STATUS_OK && snapshot->finished) {
        s = keep_last(follow, snapshot, err);
        *ended = true;
    }
    return s;
}

/* The next snapshot; TIMEOUT: none yet. Before the time, only the run's end (or another run) is
 * news. */
static status next_snapshot(struct follow *follow, uint64_t not_before_ns,
                            const struct parameters_snapshot **snapshot)
{
    if (follow->pending != NULL) {
        *snapshot = follow->pending;
        follow->pending = NULL;
        return STATUS_OK;
    }
    uint64_t now_ns = clock_now_ns();
    if (now_ns >= not_before_ns) {
        return parameters_client_take(follow->client, follow->seen, TAKE_MS, snapshot);
    }
    uint64_t wait_ms = (not_before_ns - now_ns) / NS_PER_MS + 1;
    return parameters_client_take(follow->client, UINT64_MAX, wait_ms < TAKE_MS ? wait_ms : TAKE_MS,
                                  snapshot);
}

/* Nothing came: is there a learner at all? UNAVAILABLE: none for too long. */
static status check_learner(struct follow *follow, uint64_t *absent_since_ns, struct err *err)
{
    const uint64_t now_ns = clock_now_ns();
    if (parameters_client_connected(follow->client)) {
        *absent_since_ns = 0;
        return STATUS_OK;
    }
    if (*absent_since_ns == 0) {
        *absent_since_ns = now_ns;
    }
    const double absent_s = (double)(now_ns - *absent_since_ns) * 1e-9;
    const double most_s = follow->options->learner_timeout_s;
    if (most_s > 0 && absent_s > most_s) {
        return err_set(err, STATUS_UNAVAILABLE,
                       "no learner at %s for %.0f s (evaluator.learner_timeout_s)",
                       follow->experiment->parameters, absent_s);
    }
    if (absent_s >= ABSENT_SHOWN_S) {
        process_report(follow->process, -1, "no learner at %s for %.0f s%s",
                       follow->experiment->parameters, absent_s,
                       follow->seen > 0 ? "; if its run has ended, this has missed it" : "");
    }
    return STATUS_OK;
}

/* Snapshot after snapshot until the run has ended. CLOSED: the process stops before. */
static status follow_run(struct follow *follow, struct err *err)
{
    bool ended = false;
    uint64_t absent_since_ns = 0; /* 0: the learner was there when we looked last */
    uint64_t not_before_ns = 0;   /* of the next evaluation */
    while (!ended) {
        const struct parameters_snapshot *snapshot;
        if (process_stopping(follow->process)) {
            return STATUS_CLOSED;
        }
        if (follow->stop_wanted) {
            ask_to_finish(follow);
        }
        status s = next_snapshot(follow, not_before_ns, &snapshot);
        if (s == STATUS_TIMEOUT) {
            s = check_learner(follow, &absent_since_ns, err);
            if (s == STATUS_OK) {
                continue;
            }
        }
        if (s != STATUS_OK) {
            return s;
        }
        absent_since_ns = 0;
        not_before_ns = clock_now_ns() + (uint64_t)(follow->options->min_interval_s * 1e9);
        s = handle_snapshot(follow, snapshot, &ended, err);
        parameters_snapshot_release(snapshot);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* Had the run that this folder holds ended before this start, and is it not going on? Its learner
 * may be gone for good: it is asked for a while. */
static bool ended_before(struct follow *follow)
{
    struct policy_notes last;
    struct err err;
    if (policy_file_load(follow->files.policy_last, NULL, &last, &err) != STATUS_OK) {
        return false;
    }
    uint64_t until_ns = clock_now_ns() + RESUME_MS * NS_PER_MS;
    while (clock_now_ns() < until_ns && !process_stopping(follow->process)) {
        if (parameters_client_take(follow->client, 0, TAKE_MS, &follow->pending) == STATUS_OK) {
            return follow->pending->finished && follow->pending->version == last.version &&
                   strcmp(follow->pending->run_id, last.run_id) == 0;
        }
    }
    return true;
}

static status work(struct follow *follow, struct err *err)
{
    if (ended_before(follow)) {
        log_info("the run had ended before this start");
    } else {
        /* The mark of an ended run must not outlive it. */
        unlink(follow->files.policy_last);
        status s = follow_run(follow, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return report_end(follow, err);
}

static void *follow_main(void *arg)
{
    struct follow *follow = arg;
    struct err err = {0};
    status s = work(follow, &err);
    if (s != STATUS_OK && s != STATUS_CLOSED) {
        log_error("cannot go on: %s", err.text);
    }
    process_stop(follow->process, s == STATUS_OK || s == STATUS_CLOSED ? 0 : 1);
    return NULL;
}

static void make_metrics(struct follow_metrics *metrics)
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

status follow_start(struct follow **follow, struct process *process,
                    const struct experiment *experiment, const struct evaluator_options *options,
                    struct err *err)
{
    struct follow *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "follow: out of memory");
    }
    made->process = process;
    made->experiment = experiment;
    made->options = options;
    snprintf(made->who, sizeof made->who, "evaluator-%" PRId64, options->index);
    run_files_init(&made->files, experiment->run_dir, (int)options->index);
    make_metrics(&made->metrics);
    status s = history_open(&made->history, made->files.history, err);
    s = s != STATUS_OK ? s : parameters_client_open(&made->client, experiment, err);
    if (s == STATUS_OK) {
        int number = pthread_create(&made->thread, NULL, follow_main, made);
        s = number == 0 ? STATUS_OK : err_errno(err, number, "start the evaluating thread");
    }
    if (s != STATUS_OK) {
        if (made->client != NULL) {
            parameters_client_close(made->client);
        }
        history_close(made->history);
        mem_free(made);
        return s;
    }
    *follow = made;
    return STATUS_OK;
}

void follow_join(struct follow *follow)
{
    if (follow != NULL) {
        pthread_join(follow->thread, NULL);
        if (follow->pending != NULL) {
            parameters_snapshot_release(follow->pending);
        }
        parameters_client_close(follow->client);
    }
}

void follow_free(struct follow *follow)
{
    if (follow != NULL) {
        curves_close(follow->curves);
        history_close(follow->history);
        mem_free(follow);
    }
}

char *follow_page(void *follow)
{
    return history_page(((struct follow *)follow)->history);
}
