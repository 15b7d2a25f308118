/* Lines, metrics, points, Progress. See reporter.h.
 *
 * Times are summed over the steps between two reports, so that a line tells where the time of all
 * of them went, not only of the one that was reported. A resumed run first removes from the file
 * what it will report again (cut_file): a step has one line, whatever happened in between. */
#include "learner/run/reporter.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/event_file.h"
#include "common/base/line_file.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

#define LOG_MODULE "reporter"
#include "common/base/log.h"

struct reporter {
    /* learner.jsonl, and the same values for TensorBoard. */
    struct line_file lines;
    struct event_file *events;
    /* holdout.jsonl, which is there where episodes are held out: opened for its first line. */
    struct line_file validations;
    char validations_path[PATH_MAX];
    bool validates;
    struct metric *steps, *step, *step_seconds, *wait_seconds, *rate, *phases[PHASES];
    uint64_t since_ns; /* of the counts below */
    uint64_t n_steps;
    /* Where the time of those steps went. */
    struct phases spent;
};

/* ---- The file ---- */

/* The step that a line reports; -1: none, or the line is not JSON. */
static double step_of_line(const char *line, size_t size)
{
    cJSON *json = cJSON_ParseWithLength(line, size);
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(json, "step");
    double number = cJSON_IsNumber(step) ? step->valuedouble : -1.0;
    cJSON_Delete(json);
    return number;
}

/* What cut_line finds, as it reads the file backwards. */
struct cutting {
    uint64_t step; /* of the run */
    off_t end;     /* of the lines that stay */
};

/* From the last line to the first: lines of later steps go, the first other one ends the search. A
 * line that cannot be read says nothing, and the lines before it decide. */
static bool cut_line(void *arg, const char *line, size_t size, off_t offset)
{
    struct cutting *cutting = arg;
    const double number = line != NULL ? step_of_line(line, size) : -1.0;
    if (number > (double)cutting->step) {
        cutting->end = offset;
    }
    /* True: the search goes on with the line before. */
    return number < 0 || number > (double)cutting->step;
}

/* Removes from the file what a run at `step` will report again. */
static status cut_file(const char *path, uint64_t step, struct err *err)
{
    /* Another run: its file is kept beside the new one. */
    if (step == 0) {
        char previous[PATH_MAX + 16];
        snprintf(previous, sizeof(previous), "%s.previous", path);
        if (rename(path, previous) != 0 && errno != ENOENT) {
            return err_errno(err, errno, "rename %s", path);
        }
        return STATUS_OK;
    }
    /* A resumed run: where do the lines of later steps begin? */
    struct cutting cutting = {.step = step, .end = -1};
    off_t whole = 0;
    const status s = line_file_backwards(path, cut_line, &cutting, &whole, err);
    /* Without a file there is nothing to remove. */
    if (s == STATUS_NOT_FOUND) {
        return STATUS_OK;
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* At the least an unfinished line goes. */
    if (truncate(path, cutting.end >= 0 ? cutting.end : whole) != 0) {
        return err_errno(err, errno, "truncate %s", path);
    }
    return STATUS_OK;
}

/* Finds or makes all metrics, so that they exist before the first step. */
static void make_metrics(struct reporter *made)
{
    size_t n = 0;
    const double *bounds = metric_latency_bounds(&n);
    made->steps =
        metric_counter("hindcast_learner_steps_total", "Learner steps taken since the start", NULL);
    made->step = metric_gauge("hindcast_learner_step", "Learner steps of the run", NULL);
    made->rate = metric_gauge("hindcast_learner_steps_per_second",
                              "Steps per second, between reports", NULL);
    made->step_seconds = metric_histogram("hindcast_learner_step_seconds",
                                          "Time of one step, without waiting", NULL, bounds, n);
    made->wait_seconds =
        metric_histogram("hindcast_learner_wait_seconds", "Time that one step waited for its batch",
                         NULL, bounds, n);
    /* One counter for each phase, so that their rates add up to one second per second. */
    for (int i = 0; i < PHASES; i++) {
        char label[48];
        snprintf(label, sizeof(label), "phase=\"%s\"", phase_name((enum phase)i));
        made->phases[i] = metric_counter("hindcast_learner_seconds_total",
                                         "Where the training thread's time goes", label);
    }
}

status reporter_open(struct reporter **reporter, const char *run_dir, uint64_t step,
                     struct err *err)
{
    char path[PATH_MAX], folder[PATH_MAX];
    snprintf(path, sizeof(path), "%s/learner.jsonl", run_dir);
    snprintf(folder, sizeof(folder), "%s/tensorboard/learner", run_dir);
    /* The file is cut before it is opened, because an open one only grows. */
    status s = cut_file(path, step, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct reporter *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "reporter");
    }
    snprintf(made->validations_path, sizeof(made->validations_path), "%s/holdout.jsonl", run_dir);
    s = cut_file(made->validations_path, step, err);
    s = s != STATUS_OK ? s : line_file_open(&made->lines, path, err);
    if (s != STATUS_OK) {
        goto free_made;
    }
    /* Points that this run adds again make those of an earlier start void. */
    s = event_file_open(&made->events, folder, step == 0 ? 0 : step + 1, err);
    if (s != STATUS_OK) {
        goto close_file;
    }
    make_metrics(made);
    /* Times count from here on, so the wait for the first batch is among them. */
    made->since_ns = clock_now_ns();
    *reporter = made;
    return STATUS_OK;

close_file:
    line_file_close(&made->lines);
free_made:
    mem_free(made);
    return s;
}

void reporter_close(struct reporter *reporter)
{
    if (reporter != NULL) {
        event_file_close(reporter->events);
        line_file_close(&reporter->lines);
        if (reporter->validates) {
            line_file_close(&reporter->validations);
        }
        mem_free(reporter);
    }
}

/* ---- Counting ---- */

void reporter_spent(struct reporter *reporter, const struct phases *phases)
{
    phases_add(&reporter->spent, phases);
    for (int i = 0; i < PHASES; i++) {
        if (phases->ns[i] > 0) {
            metric_add(reporter->phases[i], (double)phases->ns[i] / 1e9);
        }
    }
    /* Points wait in memory; old ones are written now. */
    event_file_flush_if_due(reporter->events);
}

void reporter_step(struct reporter *reporter, uint64_t step, const struct phases *phases)
{
    /* The step's own time: neither waiting for the batch nor what follows it. */
    uint64_t step_ns = 0;
    for (int i = PHASE_LOAD; i <= PHASE_APPLY; i++) {
        step_ns += phases->ns[i];
    }
    /* The metrics, then the phases, which also hold what is not the step's own time. */
    reporter->n_steps++;
    metric_add(reporter->steps, 1);
    metric_set(reporter->step, (double)step);
    metric_observe(reporter->step_seconds, (double)step_ns / 1e9);
    metric_observe(reporter->wait_seconds, (double)phases->ns[PHASE_WAIT] / 1e9);
    reporter_spent(reporter, phases);
}

struct reporter_rates reporter_rates(const struct reporter *reporter)
{
    /* Everything is counted from the last report on. */
    double seconds = (double)(clock_now_ns() - reporter->since_ns) / 1e9;
    if (seconds <= 0) {
        return (struct reporter_rates){0};
    }
    /* Waiting is a share of the time on the clock, not of that in steps. */
    return (struct reporter_rates){.steps_per_second = (double)reporter->n_steps / seconds,
                                   .wait_share =
                                       (double)reporter->spent.ns[PHASE_WAIT] / 1e9 / seconds};
}

/* ---- Reports ---- */

/* The report as gauges; the elements of a vector are labelled by their index. */
static void set_metrics(const char *prefix, const struct report_value *value)
{
    char name[96];
    snprintf(name, sizeof(name), "hindcast_learner_%s%s", prefix, value->name);
    for (int i = 0; i < value->size; i++) {
        /* A single number needs no label. */
        char label[32];
        snprintf(label, sizeof(label), "index=\"%d\"", i);
        metric_set(metric_gauge(name, report_meaning(value->name), value->size > 1 ? label : NULL),
                   value->values[i]);
    }
}

/* Floats have seven digits; more would only make the file of a long run larger. JSON has no name for
 * what is not finite. */
static cJSON *number(double value)
{
    char text[40];
    if (!isfinite(value)) {
        return cJSON_CreateNull();
    }
    snprintf(text, sizeof(text), "%.7g", value);
    return cJSON_CreateRaw(text);
}

/* An array of numbers, each as short as a single one. */
static cJSON *numbers(const double *values, int n)
{
    cJSON *array = cJSON_CreateArray();
    for (int i = 0; i < n; i++) {
        cJSON_AddItemToArray(array, number(values[i]));
    }
    return array;
}

/* Mean of a phase over the steps since the last line. */
static double phase_ms(const struct reporter *reporter, int phase)
{
    /* Before the first step there is nothing to divide by. */
    const double steps = reporter->n_steps > 0 ? (double)reporter->n_steps : 1;
    return (double)reporter->spent.ns[phase] / 1e6 / steps;
}

static cJSON *phases_of(const struct reporter *reporter)
{
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; i < PHASES; i++) {
        cJSON_AddItemToObject(object, phase_name((enum phase)i), number(phase_ms(reporter, i)));
    }
    return object;
}

/* The quantities of a report, each under its own name. */
static void add_quantities(cJSON *to, const struct report *report)
{
    for (int i = 0; i < report->n_values; i++) {
        const struct report_value *value = &report->values[i];
        cJSON_AddItemToObject(to, value->name,
                              value->size == 1 ? number(value->values[0])
                                               : numbers(value->values, value->size));
    }
}

/* The line of a report, as JSON. */
static cJSON *line_of(const struct reporter *reporter, const struct report *report,
                      double learning_seconds, uint64_t version)
{
    struct reporter_rates rates = reporter_rates(reporter);
    /* Which step, when, and how fast the run is. */
    cJSON *line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, "step", (double)report->step);
    /* Whole milliseconds. NOLINTNEXTLINE(bugprone-integer-division) */
    cJSON_AddNumberToObject(line, "time", (double)(clock_wall_ns() / NS_PER_MS) / 1e3);
    cJSON_AddItemToObject(line, "learning_seconds", number(learning_seconds));
    cJSON_AddItemToObject(line, "steps_per_second", number(rates.steps_per_second));
    cJSON_AddItemToObject(line, "wait_share", number(rates.wait_share));
    cJSON_AddNumberToObject(line, "version", (double)version);
    cJSON_AddItemToObject(line, "phase_ms", phases_of(reporter));
    add_quantities(line, report);
    return line;
}

/* ---- Points ---- */

/* The points of one report, gathered so that they are added in one call. */
struct points {
    size_t n;
    struct event_scalar items[EVENT_SCALARS_MAX];
};

/* Adds a point under this tag. Points beyond EVENT_SCALARS_MAX are left out. */
static void add_point(struct points *points, double value, const char *format, ...)
    PRINTF_LIKE(3, 4);
static void add_point(struct points *points, double value, const char *format, ...)
{
    if (points->n < EVENT_SCALARS_MAX) {
        struct event_scalar *scalar = &points->items[points->n++];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(scalar->tag, sizeof(scalar->tag), format, arguments);
        va_end(arguments);
        scalar->value = value;
    }
}

/* The values of a report for TensorBoard, where the elements of a vector are a group of tags. */
static void add_values(struct points *points, const char *prefix, const struct report *report)
{
    for (int i = 0; i < report->n_values; i++) {
        const struct report_value *value = &report->values[i];
        for (int j = 0; j < value->size; j++) {
            if (value->size == 1) {
                add_point(points, value->values[j], "%s%s", prefix, value->name);
            } else {
                add_point(points, value->values[j], "%s%s/%02d", prefix, value->name, j);
            }
        }
    }
}

/* The same values for TensorBoard. */
static void add_points(struct reporter *reporter, const struct report *report)
{
    struct points *points = mem_new(sizeof(*points));
    if (points == NULL) {
        log_warn("no memory for points for TensorBoard");
        return;
    }
    /* How fast the run is, and where its time goes. */
    struct reporter_rates rates = reporter_rates(reporter);
    add_point(points, rates.steps_per_second, "steps_per_second");
    add_point(points, rates.wait_share, "wait_share");
    for (int i = 0; i < PHASES; i++) {
        add_point(points, phase_ms(reporter, i), "phase_ms/%s", phase_name((enum phase)i));
    }
    add_values(points, "", report);
    event_file_add(reporter->events, report->step, points->items, points->n);
    mem_free(points);
}

/* Appends a line and deletes it. Where it cannot be written the others must not suffer: line_file
 * sees to it. A full disk costs lines of the report, but does not stop learning. */
static void append(struct line_file *lines, cJSON *line, const char *name)
{
    char *text = cJSON_PrintUnformatted(line);
    cJSON_Delete(line);
    if (text != NULL) {
        struct err err = {0};
        if (line_file_append(lines, text, strlen(text), &err) != STATUS_OK) {
            log_warn("a line of %s is lost: %s", name, err.text);
        }
        cJSON_free(text);
    }
}

void reporter_line(struct reporter *reporter, const struct report *report, double learning_seconds,
                   uint64_t version)
{
    /* The gauges, for those who watch the admin page. */
    metric_set(reporter->rate, reporter_rates(reporter).steps_per_second);
    for (int i = 0; i < report->n_values; i++) {
        set_metrics("", &report->values[i]);
    }
    append(&reporter->lines, line_of(reporter, report, learning_seconds, version), "learner.jsonl");
    add_points(reporter, report);
    /* Counting begins again. */
    reporter->since_ns = clock_now_ns();
    reporter->n_steps = 0;
    memset(&reporter->spent, 0, sizeof(reporter->spent));
}

/* One side of a validation, as JSON. */
static cJSON *side_of(const struct validation *validation, enum validation_side side)
{
    const struct replay_sampler_table table = validation_table(validation, side);
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "episodes", (double)table.episodes);
    cJSON_AddNumberToObject(object, "transitions", (double)table.transitions);
    add_quantities(object, validation_report(validation, side));
    return object;
}

void reporter_validation(struct reporter *reporter, const struct validation *validation,
                         double learning_seconds, uint64_t version)
{
    const uint64_t step = validation_report(validation, VALIDATION_TRAIN)->step;
    struct err err = {0};
    if (!reporter->validates) {
        reporter->validates =
            line_file_open(&reporter->validations, reporter->validations_path, &err) == STATUS_OK;
    }
    cJSON *line = cJSON_CreateObject();
    cJSON_AddNumberToObject(line, "step", (double)step);
    /* Whole milliseconds. NOLINTNEXTLINE(bugprone-integer-division) */
    cJSON_AddNumberToObject(line, "time", (double)(clock_wall_ns() / NS_PER_MS) / 1e3);
    cJSON_AddItemToObject(line, "learning_seconds", number(learning_seconds));
    cJSON_AddNumberToObject(line, "version", (double)version);
    struct points *points = mem_new(sizeof(*points));
    for (int side = 0; side < VALIDATION_SIDES; side++) {
        const char *name = validation_side_name((enum validation_side)side);
        const struct report *report = validation_report(validation, (enum validation_side)side);
        char prefix[16];
        snprintf(prefix, sizeof(prefix), "%s_", name);
        for (int i = 0; i < report->n_values; i++) {
            set_metrics(prefix, &report->values[i]);
        }
        snprintf(prefix, sizeof(prefix), "%s/", name);
        if (points != NULL) {
            add_values(points, prefix, report);
        }
        cJSON_AddItemToObject(line, name, side_of(validation, (enum validation_side)side));
    }
    if (points != NULL) {
        event_file_add(reporter->events, step, points->items, points->n);
    }
    mem_free(points);
    if (reporter->validates) {
        append(&reporter->validations, line, "holdout.jsonl");
    } else {
        log_warn("a line of holdout.jsonl is lost: %s", err.text);
        cJSON_Delete(line);
    }
}

/* One number for a vector, where there is no room for more. */
static double mean_of(const struct report_value *value)
{
    double sum = 0;
    for (int i = 0; i < value->size; i++) {
        sum += value->values[i];
    }
    return sum / value->size;
}

double reporter_mean(const struct report *report, const char *name)
{
    const struct report_value *value = report_find(report, name);
    /* NAN says that the report has no such quantity. */
    return value != NULL ? mean_of(value) : (double)NAN;
}

void reporter_progress(const struct report *report, struct publisher_progress *progress)
{
    progress->n_reports = 0;
    for (int i = 0; i < report->n_values && progress->n_reports < PUBLISHER_REPORTS_MAX; i++) {
        progress->reports[progress->n_reports++] = (struct publisher_report){
            .name = report->values[i].name, .value = mean_of(&report->values[i])};
    }
}
