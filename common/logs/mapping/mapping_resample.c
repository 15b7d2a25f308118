/* Reads and writes the keys of a mapping that are about time. */
#include "common/logs/mapping/mapping_resample.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/files/log_file.h"
#include "common/logs/mapping/mapping_yaml.h"

#define PATH_SIZE 4096

/* In the order of the enumerations; the first word of each is never written. */
static const char *const methods[] = {"default", "hold", "linear", "slerp", "sum"};
static const char *const clocks[] = {"default", "log", "publish", "header"};
static const char *const gaps[] = {"split", "bad"};

void mapping_resample_fini(struct mapping_resample *resample)
{
    mem_free(resample->groups);
    mem_free(resample->columns);
    mem_free(resample->times);
    *resample = (struct mapping_resample){0};
}

struct resample_group *mapping_resample_group(struct mapping_resample *resample, const char *name)
{
    if (strlen(name) >= RECORDING_NAME_SIZE || resample->n_groups >= RESAMPLE_GROUPS_MAX) {
        return NULL;
    }
    struct resample_group *grown =
        mem_resize(resample->groups, resample->n_groups + 1, sizeof *grown);
    if (grown == NULL) {
        return NULL;
    }
    resample->groups = grown;
    struct resample_group *group = &resample->groups[resample->n_groups++];
    *group = (struct resample_group){0};
    memcpy(group->name, name, strlen(name) + 1);
    return group;
}

struct resample_column *mapping_resample_column(struct mapping_resample *resample, const char *name)
{
    if (strlen(name) >= RECORDING_NAME_SIZE || resample->n_columns >= RECORDING_COLUMNS_MAX) {
        return NULL;
    }
    struct resample_column *grown =
        mem_resize(resample->columns, resample->n_columns + 1, sizeof *grown);
    if (grown == NULL) {
        return NULL;
    }
    resample->columns = grown;
    struct resample_column *column = &resample->columns[resample->n_columns++];
    *column = (struct resample_column){0};
    memcpy(column->name, name, strlen(name) + 1);
    return column;
}

/* ---- reading ---- */

/* Reads a number of seconds above 0. */
static status read_positive(struct mapping_document *d, const yaml_node_t *value, const char *key,
                            double *number)
{
    double read = 0;
    const status s = mapping_read_number(d, value, key, &read);
    if (s == STATUS_OK && !(read > 0)) {
        return mapping_refuse(d, value, "%s: expected a number of seconds above 0", key);
    }
    *number = s == STATUS_OK ? read : *number;
    return s;
}

static status read_method(struct mapping_document *d, const yaml_node_t *value, const char *key,
                          enum resample_method *method)
{
    int choice = 0;
    const status s = mapping_read_choice(d, value, key, methods + 1, 4, &choice);
    *method = s == STATUS_OK ? (enum resample_method)(choice + 1) : *method;
    return s;
}

static status read_clock(struct mapping_document *d, const yaml_node_t *value, const char *key,
                         enum resample_clock *clock)
{
    int choice = 0;
    const status s = mapping_read_choice(d, value, key, clocks + 1, 3, &choice);
    *clock = s == STATUS_OK ? (enum resample_clock)(choice + 1) : *clock;
    return s;
}

/* A key of a group. */
static status read_group_key(struct mapping_document *d, const char *key,
                             const yaml_node_t *key_node, const yaml_node_t *value, void *arg)
{
    struct resample_group *group = arg;
    if (strcmp(key, "clock") == 0) {
        return read_clock(d, value, key, &group->clock);
    }
    if (strcmp(key, "time") == 0) {
        return mapping_read_text(d, value, key, group->time, sizeof group->time);
    }
    if (strcmp(key, "method") == 0) {
        return read_method(d, value, key, &group->method);
    }
    if (strcmp(key, "delay_s") == 0) {
        return mapping_read_number(d, value, key, &group->delay_s);
    }
    if (strcmp(key, "max_gap_s") == 0) {
        return read_positive(d, value, key, &group->max_gap_s);
    }
    return mapping_refuse(
        d, key_node, "groups: \"%s\": expected clock, time, method, delay_s or max_gap_s", key);
}

/* A key of `groups`: the name of a topic. */
static status read_group(struct mapping_document *d, const char *key, const yaml_node_t *key_node,
                         const yaml_node_t *value, void *arg)
{
    struct resample_group *group = mapping_resample_group(arg, key);
    if (group == NULL) {
        return mapping_refuse(d, key_node, "groups: too many, or too long a name");
    }
    return mapping_read_keys(d, value, key, read_group_key, group);
}

/* A key of `columns`: the name of a column. */
static status read_column(struct mapping_document *d, const char *key, const yaml_node_t *key_node,
                          const yaml_node_t *value, void *arg)
{
    struct resample_column *column = mapping_resample_column(arg, key);
    if (column == NULL) {
        return mapping_refuse(d, key_node, "columns: too many, or too long a name");
    }
    return read_method(d, value, key, &column->method);
}

/* A key of `resample`. */
static status read_key(struct mapping_document *d, const char *key, const yaml_node_t *key_node,
                       const yaml_node_t *value, void *arg)
{
    struct mapping_resample *resample = arg;
    if (strcmp(key, "clock") == 0) {
        return read_clock(d, value, key, &resample->clock);
    }
    if (strcmp(key, "time") == 0) {
        return mapping_read_text(d, value, key, resample->time, sizeof resample->time);
    }
    if (strcmp(key, "method") == 0) {
        return read_method(d, value, key, &resample->method);
    }
    if (strcmp(key, "max_gap_s") == 0) {
        return read_positive(d, value, key, &resample->max_gap_s);
    }
    if (strcmp(key, "gaps") == 0) {
        int choice = 0;
        const status s = mapping_read_choice(d, value, key, gaps, 2, &choice);
        resample->gaps_are_bad = choice == 1;
        return s;
    }
    if (strcmp(key, "groups") == 0) {
        return mapping_read_keys(d, value, key, read_group, resample);
    }
    if (strcmp(key, "columns") == 0) {
        return mapping_read_keys(d, value, key, read_column, resample);
    }
    return mapping_refuse(
        d, key_node,
        "resample: \"%s\": expected clock, time, method, max_gap_s, gaps, groups or columns", key);
}

status mapping_resample_read(struct mapping_document *d, const yaml_node_t *value,
                             struct mapping_resample *resample)
{
    resample->on = true;
    return mapping_read_keys(d, value, "resample", read_key, resample);
}

status mapping_resample_read_gap(struct mapping_document *d, const yaml_node_t *value,
                                 struct mapping_resample *resample)
{
    return read_positive(d, value, "gap_s", &resample->gap_s);
}

/* ---- a table of times ---- */

/* Appends an episode's times. Returns NULL, or what is wrong with them. */
static const char *add_times(struct mapping_resample *resample, double start, double end)
{
    if (!isfinite(start) || !isfinite(end) || !(start < end)) {
        return "expected a start and a later end, in seconds";
    }
    if (resample->n_times >= RESAMPLE_TIMES_MAX) {
        return "too many episodes";
    }
    /* Doubling keeps the cost of growing linear: room is made at every power of two. */
    const uint32_t n = resample->n_times;
    if ((n & (n - 1)) == 0) {
        double(*grown)[2] = mem_resize(resample->times, n == 0 ? 1 : 2 * (size_t)n, sizeof *grown);
        if (grown == NULL) {
            return "out of memory";
        }
        resample->times = grown;
    }
    resample->times[n][0] = start;
    resample->times[n][1] = end;
    resample->n_times++;
    return NULL;
}

status mapping_resample_read_times(struct mapping_document *d, const yaml_node_t *value,
                                   struct mapping_resample *resample)
{
    if (value->type != YAML_SEQUENCE_NODE) {
        return mapping_refuse(d, value, "times: expected a list of [start, end]");
    }
    for (yaml_node_item_t *item = value->data.sequence.items.start;
         item < value->data.sequence.items.top; item++) {
        const yaml_node_t *pair = mapping_node(d, *item);
        double times[2] = {0};
        if (pair->type != YAML_SEQUENCE_NODE ||
            pair->data.sequence.items.top - pair->data.sequence.items.start != 2) {
            return mapping_refuse(d, pair, "times: expected [start, end]");
        }
        for (int i = 0; i < 2; i++) {
            const status s = mapping_read_number(
                d, mapping_node(d, pair->data.sequence.items.start[i]), "times", &times[i]);
            if (s != STATUS_OK) {
                return s;
            }
        }
        const char *why = add_times(resample, times[0], times[1]);
        if (why != NULL) {
            return mapping_refuse(d, pair, "times: %s", why);
        }
    }
    return STATUS_OK;
}

/* Reads a column of a table. The caller frees it. */
static status read_table_column(struct log_file *file, const struct recording *recording,
                                const char *name, double **values, uint64_t *rows, struct err *err)
{
    const struct recording_column *column = recording_find(recording, name);
    if (column == NULL || column->width != 1) {
        return err_set(err, STATUS_INVALID, "expected columns start and end, in seconds");
    }
    *rows = column->rows;
    *values = mem_array(column->rows + 1, sizeof **values);
    if (*values == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "table of times");
    }
    return log_file_read(file, 0, column, 0, column->rows, *values, err);
}

/* Adds the rows of a table that is open. */
static status read_table(struct log_file *file, struct mapping_resample *resample, struct err *err)
{
    struct recording recording = {0};
    double *start = NULL, *end = NULL;
    uint64_t rows = 0;
    status s = log_file_recordings(file) == 1
                   ? log_file_describe(file, 0, &recording, err)
                   : err_set(err, STATUS_INVALID, "expected a table with columns start and end");
    if (s == STATUS_OK) {
        s = read_table_column(file, &recording, "start", &start, &rows, err);
    }
    if (s == STATUS_OK) {
        s = read_table_column(file, &recording, "end", &end, &rows, err);
    }
    for (uint64_t i = 0; s == STATUS_OK && i < rows; i++) {
        const char *why = add_times(resample, start[i], end[i]);
        if (why != NULL) {
            s = err_set(err, STATUS_INVALID, "row %llu: %g, %g: %s", (unsigned long long)i,
                        start[i], end[i], why);
        }
    }
    mem_free(start);
    mem_free(end);
    recording_fini(&recording);
    return s;
}

status mapping_resample_read_file(struct mapping_document *d, const yaml_node_t *value,
                                  struct mapping_resample *resample)
{
    /* A relative path is relative to the mapping, so that the two files can move together. */
    char name[PATH_SIZE], path[2 * PATH_SIZE];
    status s = mapping_read_text(d, value, "file", name, sizeof name);
    if (s != STATUS_OK) {
        return s;
    }
    const char *slash = name[0] == '/' ? NULL : strrchr(d->path, '/');
    snprintf(path, sizeof path, "%.*s%s", slash == NULL ? 0 : (int)(slash - d->path + 1), d->path,
             name);
    struct log_file *file;
    s = log_file_open(&file, path, d->err);
    if (s == STATUS_OK) {
        s = read_table(file, resample, d->err);
        log_file_close(file);
        if (s != STATUS_OK) {
            (void)err_context(d->err, s, "%s", path);
        }
    }
    return s == STATUS_OK
               ? s
               : err_context(d->err, s, "%s:%zu: file", d->path, value->start_mark.line + 1);
}

/* ---- writing ---- */

static void write_number(struct text *text, const char *key, double value)
{
    text_add(text, key);
    text_add_number(text, value);
}

/* Writes what differs from the mapping's own values. */
static void write_group(const struct resample_group *group, struct text *text)
{
    const char *separator = "";
    text_add(text, "    ");
    text_add_quoted(text, group->name);
    text_add(text, ": {");
    if (group->clock != RESAMPLE_CLOCK_DEFAULT) {
        text_format(text, "clock: %s", clocks[group->clock]);
        separator = ", ";
    }
    if (group->time[0] != 0) {
        text_format(text, "%stime: ", separator);
        text_add_quoted(text, group->time);
        separator = ", ";
    }
    if (group->method != RESAMPLE_DEFAULT) {
        text_format(text, "%smethod: %s", separator, methods[group->method]);
        separator = ", ";
    }
    if (group->delay_s != 0) {
        text_add(text, separator);
        write_number(text, "delay_s: ", group->delay_s);
        separator = ", ";
    }
    if (group->max_gap_s != 0) {
        text_add(text, separator);
        write_number(text, "max_gap_s: ", group->max_gap_s);
    }
    text_add(text, "}\n");
}

void mapping_resample_write(const struct mapping_resample *resample, struct text *text)
{
    if (!resample->on) {
        return;
    }
    text_add(text, "resample:\n");
    if (resample->clock != RESAMPLE_CLOCK_DEFAULT) {
        text_format(text, "  clock: %s\n", clocks[resample->clock]);
    }
    if (resample->time[0] != 0) {
        text_add(text, "  time: ");
        text_add_quoted(text, resample->time);
        text_add(text, "\n");
    }
    text_format(text, "  method: %s\n",
                methods[resample->method == RESAMPLE_DEFAULT ? RESAMPLE_HOLD : resample->method]);
    if (resample->max_gap_s != 0) {
        write_number(text, "  max_gap_s: ", resample->max_gap_s);
        text_add(text, "\n");
    }
    text_format(text, "  gaps: %s\n", gaps[resample->gaps_are_bad]);
    text_add(text, resample->n_groups > 0 ? "  groups:\n" : "");
    for (uint32_t i = 0; i < resample->n_groups; i++) {
        write_group(&resample->groups[i], text);
    }
    text_add(text, resample->n_columns > 0 ? "  columns:\n" : "");
    for (uint32_t i = 0; i < resample->n_columns; i++) {
        text_add(text, "    ");
        text_add_quoted(text, resample->columns[i].name);
        text_format(text, ": %s\n", methods[resample->columns[i].method]);
    }
}

void mapping_resample_write_times(const struct mapping_resample *resample, struct text *text)
{
    text_add(text, ", times: [");
    for (uint32_t i = 0; i < resample->n_times; i++) {
        write_number(text, i == 0 ? "[" : ", [", resample->times[i][0]);
        write_number(text, ", ", resample->times[i][1]);
        text_add(text, "]");
    }
    text_add(text, "]");
}
