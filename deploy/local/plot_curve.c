/* Seeds write at steps of their own, so their curves are interpolated at common positions. */
#include "deploy/local/plot_curve.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/dashboard/run_view.h"
#include "common/dashboard/series.h"

#define PATH_SIZE     4096
#define SEEDS_MAX     64
#define COMMON_POINTS 200u

/* The curve of one run. */
struct line {
    size_t n;
    double x[PLOT_CURVE_POINTS], y[PLOT_CURVE_POINTS];
};

/* ---- one run ---- */

/* Positions of a series; NULL where it has none. Evaluations and reports name steps differently. */
static const double *positions(const struct series *series, enum plot_axis axis)
{
    if (axis == PLOT_HOURS) {
        return series_values(series, "time");
    }
    const double *steps = series_values(series, "learner_step");
    return steps != NULL ? steps : series_values(series, "step");
}

/* Copies the points that have a position and a value. A position that goes back (a learner that
 * resumed from a checkpoint) replaces what lies beyond it. */
static void copy_points(struct line *line, const struct series *series, const double *values,
                        enum plot_axis axis)
{
    const double *x = positions(series, axis);
    double first = NAN;
    line->n = 0;
    for (size_t i = 0; x != NULL && i < series_rows(series); i++) {
        if (isnan(x[i]) || isnan(values[i])) {
            continue;
        }
        first = isnan(first) ? x[i] : first;
        const double at = axis == PLOT_HOURS ? (x[i] - first) / 3600 : x[i];
        while (line->n > 0 && line->x[line->n - 1] >= at) {
            line->n--;
        }
        line->x[line->n] = at;
        line->y[line->n++] = values[i];
    }
}

/* Reads the column from one of the run's files. NOT_FOUND without it; `names` collects what there
 * is instead. */
static status read_file(struct line *line, const char *run_dir, const char *file,
                        const char *column, enum plot_axis axis, struct text *names)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%.4000s/%s", run_dir, file);
    struct series *series = series_new(path);
    if (series == NULL) {
        return STATUS_NO_MEMORY;
    }
    series_update(series);
    const double *values = series_values(series, column);
    if (values != NULL) {
        copy_points(line, series, values, axis);
    } else {
        series_names(series, names);
    }
    series_free(series);
    return values != NULL ? STATUS_OK : STATUS_NOT_FOUND;
}

static status read_line(struct line *line, const char *run_dir, const char *column,
                        enum plot_axis axis, struct text *names)
{
    const status s = read_file(line, run_dir, "evaluator.jsonl", column, axis, names);
    return s == STATUS_NOT_FOUND ? read_file(line, run_dir, "learner.jsonl", column, axis, names)
                                 : s;
}

/* ---- several ---- */

/* The value of a line at x, which lies between its ends. */
static double value_at(const struct line *line, double x)
{
    size_t i = 1;
    while (i + 1 < line->n && line->x[i] < x) {
        i++;
    }
    if (line->n == 1 || line->x[i] == line->x[i - 1]) {
        return line->y[0];
    }
    const double share = (x - line->x[i - 1]) / (line->x[i] - line->x[i - 1]);
    return line->y[i - 1] + share * (line->y[i] - line->y[i - 1]);
}

static status make_points(struct plot_curve *curve, size_t n, struct err *err)
{
    curve->n = n;
    curve->x = mem_array(4 * (n > 0 ? n : 1), sizeof *curve->x);
    if (curve->x == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "plot");
    }
    curve->mean = curve->x + n;
    curve->low = curve->x + 2 * n;
    curve->high = curve->x + 3 * n;
    return STATUS_OK;
}

/* A single line as it is. */
static status take_line(struct plot_curve *curve, const struct line *line, struct err *err)
{
    const status s = make_points(curve, line->n, err);
    for (size_t i = 0; s == STATUS_OK && i < line->n; i++) {
        curve->x[i] = line->x[i];
        curve->mean[i] = curve->low[i] = curve->high[i] = line->y[i];
    }
    return s;
}

/* Mean and extremes of several lines, from where the last begins to where the first ends. */
static status take_mean(struct plot_curve *curve, const struct line *lines, size_t n_lines,
                        struct err *err)
{
    double first = -INFINITY, last = INFINITY;
    for (size_t k = 0; k < n_lines; k++) {
        first = fmax(first, lines[k].x[0]);
        last = fmin(last, lines[k].x[lines[k].n - 1]);
    }
    const status s = make_points(curve, last >= first ? COMMON_POINTS : 0, err);
    for (size_t i = 0; s == STATUS_OK && i < curve->n; i++) {
        const double x = first + (last - first) * (double)i / (COMMON_POINTS - 1);
        double sum = 0, low = INFINITY, high = -INFINITY;
        for (size_t k = 0; k < n_lines; k++) {
            const double y = value_at(&lines[k], x);
            sum += y;
            low = fmin(low, y);
            high = fmax(high, y);
        }
        curve->x[i] = x;
        curve->mean[i] = sum / (double)n_lines;
        curve->low[i] = low;
        curve->high[i] = high;
    }
    return s;
}

/* The runs below a folder, else the folder itself; the caller mem_frees each. */
static size_t list_runs(char *runs[SEEDS_MAX], const char *folder)
{
    struct dirent **entries;
    size_t n_runs = 0;
    const int n = scandir(folder, &entries, NULL, versionsort);
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        snprintf(path, sizeof path, "%.3000s/%.255s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && n_runs < SEEDS_MAX && run_view_is_run(path)) {
            runs[n_runs] = mem_text(path);
            n_runs += runs[n_runs] != NULL;
        }
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
    if (n_runs == 0) {
        runs[0] = mem_text(folder);
        n_runs = runs[0] != NULL;
    }
    return n_runs;
}

/* ---- logs ---- */

/* The returns of the logs: of the first task. */
static void read_logs(struct plot_curve *curve, const char *run_dir)
{
    cJSON *logs = run_view_logged_returns(run_dir);
    const cJSON *task = logs == NULL ? NULL : logs->child;
    if (task != NULL) {
        curve->logs_mean = cJSON_GetObjectItemCaseSensitive(task, "mean")->valuedouble;
        curve->logs_best = cJSON_GetObjectItemCaseSensitive(task, "max")->valuedouble;
    }
    cJSON_Delete(logs);
}

/* ---- all of it ---- */

static void set_label(struct plot_curve *curve, const char *run_dir)
{
    size_t n = strlen(run_dir);
    while (n > 1 && run_dir[n - 1] == '/') {
        n--;
    }
    size_t first = n;
    while (first > 0 && run_dir[first - 1] != '/') {
        first--;
    }
    snprintf(curve->label, sizeof curve->label, "%.*s", (int)(n - first), run_dir + first);
}

/* Reads all lines; those of runs that have not begun to write the column are left out. */
static status read_lines(struct line *lines, size_t *n_lines, char *const *runs, size_t n_runs,
                         const char *column, enum plot_axis axis, struct text *names,
                         struct err *err)
{
    *n_lines = 0;
    for (size_t i = 0; i < n_runs; i++) {
        const status s = read_line(&lines[*n_lines], runs[i], column, axis, names);
        if (s == STATUS_NO_MEMORY) {
            return err_set(err, s, "plot");
        }
        *n_lines += s == STATUS_OK && lines[*n_lines].n > 0;
    }
    return STATUS_OK;
}

status plot_curve_read(struct plot_curve *curve, const char *run_dir, const char *column,
                       enum plot_axis axis, struct err *err)
{
    char *runs[SEEDS_MAX];
    struct text names = {0};
    *curve = (struct plot_curve){.logs_mean = NAN, .logs_best = NAN};
    set_label(curve, run_dir);
    const size_t n_runs = list_runs(runs, run_dir);
    struct line *lines = mem_array(n_runs > 0 ? n_runs : 1, sizeof *lines);
    status s = lines == NULL
                   ? err_set(err, STATUS_NO_MEMORY, "plot")
                   : read_lines(lines, &curve->seeds, runs, n_runs, column, axis, &names, err);
    if (s == STATUS_OK && curve->seeds == 0) {
        s = err_set(err, STATUS_NOT_FOUND, "%s: no column %s; there are: %s", run_dir, column,
                    names.size == 0 ? "none yet" : names.bytes);
    }
    if (s == STATUS_OK) {
        s = curve->seeds == 1 ? take_line(curve, lines, err)
                              : take_mean(curve, lines, curve->seeds, err);
    }
    if (s == STATUS_OK && strcmp(column, "return_mean") == 0) {
        read_logs(curve, runs[0]);
    }
    for (size_t i = 0; i < n_runs; i++) {
        mem_free(runs[i]);
    }
    mem_free(lines);
    text_fini(&names);
    return s;
}

void plot_curve_fini(struct plot_curve *curve)
{
    mem_free(curve->x);
    *curve = (struct plot_curve){0};
}
