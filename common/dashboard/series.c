/* Columns are found as lines come, so a column that begins late has NaN before. The newest row may be
 * one that is not kept: it is overwritten by the next line. */
#include "common/dashboard/series.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"

#define NAME_SIZE   128
#define BLOCK_BYTES (1u << 20)
#define LINE_MAX    (16u << 20) /* a longer line is passed over */
#define DEPTH_MAX   3

struct column {
    char name[NAME_SIZE];
    double *values; /* (SERIES_ROWS_MAX) */
};

struct series {
    char *path;
    dev_t device; /* of the file that was read; a file that is made anew has another inode */
    ino_t inode;
    off_t offset; /* behind the last whole line that was read */

    size_t lines, stride; /* every stride-th line is kept */
    size_t n_rows;
    bool last_kept; /* the newest row is one that stays */
    size_t n_columns;
    struct column *columns; /* (SERIES_COLUMNS_MAX) */
};

struct series *series_new(const char *path)
{
    struct series *series = mem_new(sizeof *series);
    if (series == NULL) {
        return NULL;
    }
    series->stride = 1;
    series->path = mem_text(path);
    series->columns = mem_array(SERIES_COLUMNS_MAX, sizeof *series->columns);
    if (series->path == NULL || series->columns == NULL) {
        series_free(series);
        return NULL;
    }
    return series;
}

/* Forgets all rows. */
static void clear(struct series *series)
{
    for (size_t i = 0; i < series->n_columns; i++) {
        mem_free(series->columns[i].values);
    }
    series->n_columns = series->n_rows = series->lines = 0;
    series->stride = 1;
    series->offset = 0;
    series->last_kept = false;
}

void series_free(struct series *series)
{
    if (series != NULL) {
        if (series->columns != NULL) {
            clear(series);
        }
        mem_free(series->columns);
        mem_free(series->path);
        mem_free(series);
    }
}

/* ---- rows ---- */

static const struct column *find_column(const struct series *series, const char *name)
{
    for (size_t i = 0; i < series->n_columns; i++) {
        if (strcmp(series->columns[i].name, name) == 0) {
            return &series->columns[i];
        }
    }
    return NULL;
}

/* Sets a value of the newest row; a new name makes a column, as long as there is room. */
static void set_value(struct series *series, const char *name, double value)
{
    const struct column *found = find_column(series, name);
    if (found == NULL && series->n_columns < SERIES_COLUMNS_MAX) {
        struct column *column = &series->columns[series->n_columns];
        column->values = mem_array(SERIES_ROWS_MAX, sizeof *column->values);
        if (column->values == NULL) {
            return;
        }
        snprintf(column->name, sizeof column->name, "%s", name);
        for (size_t i = 0; i < SERIES_ROWS_MAX; i++) {
            column->values[i] = NAN;
        }
        series->n_columns++;
        found = column;
    }
    if (found != NULL) {
        found->values[series->n_rows - 1] = value;
    }
}

/* Drops every second row. */
static void thin(struct series *series)
{
    const size_t n = (series->n_rows + 1) / 2;
    for (size_t c = 0; c < series->n_columns; c++) {
        double *values = series->columns[c].values;
        for (size_t i = 0; i < n; i++) {
            values[i] = values[2 * i];
        }
    }
    series->n_rows = n;
    series->stride *= 2;
}

/* Begins the row of the next line, in place of one that is not to be kept. */
static void begin_row(struct series *series)
{
    if (series->n_rows > 0 && !series->last_kept) {
        series->n_rows--;
    }
    if (series->n_rows == SERIES_ROWS_MAX) {
        thin(series);
    }
    series->last_kept = series->lines % series->stride == 0;
    series->lines++;
    series->n_rows++;
    for (size_t i = 0; i < series->n_columns; i++) {
        series->columns[i].values[series->n_rows - 1] = NAN;
    }
}

/* ---- lines ---- */

/* The mean of a list of numbers; NaN if it is none. */
static double mean_of(const cJSON *list)
{
    double sum = 0;
    int n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsNumber(item)) {
            return NAN;
        }
        sum += item->valuedouble;
        n++;
    }
    return n > 0 ? sum / n : (double)NAN;
}

static void add_values(struct series *series, const char *prefix, const cJSON *object, int depth);

/* Adds a list: of objects that name their tasks, or of numbers. */
static void add_list(struct series *series, const char *name, const cJSON *list, int depth)
{
    const cJSON *item;
    if (!cJSON_IsObject(list->child)) {
        if (depth == 0) {
            set_value(series, name, mean_of(list));
        }
        return;
    }
    cJSON_ArrayForEach(item, list)
    {
        const char *task = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "task"));
        char below[NAME_SIZE];
        if (task != NULL &&
            (size_t)snprintf(below, sizeof below, "%s/%s/", name, task) < sizeof below) {
            add_values(series, below, item, depth + 1);
        }
    }
}

/* Adds the numbers of an object, with `prefix` before their names. */
static void add_values(struct series *series, const char *prefix, const cJSON *object, int depth)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        char name[NAME_SIZE], below[NAME_SIZE];
        if (item->string == NULL ||
            (size_t)snprintf(name, sizeof name, "%s%s", prefix, item->string) >= sizeof name) {
            continue;
        }
        if (cJSON_IsNumber(item)) {
            set_value(series, name, item->valuedouble);
        } else if (cJSON_IsBool(item)) {
            set_value(series, name, cJSON_IsTrue(item));
        } else if (cJSON_IsArray(item)) {
            add_list(series, name, item, depth);
        } else if (cJSON_IsObject(item) && depth < DEPTH_MAX &&
                   (size_t)snprintf(below, sizeof below, "%s/", name) < sizeof below) {
            add_values(series, below, item, depth + 1);
        }
    }
}

static void add_line(struct series *series, const char *line, size_t size)
{
    cJSON *json;
    if (size == 0 || json_parse(line, size, false, &json, NULL) != STATUS_OK) {
        return;
    }
    if (cJSON_IsObject(json)) {
        begin_row(series);
        add_values(series, "", json, 0);
    }
    cJSON_Delete(json);
}

/* ---- the file ---- */

/* Adds the whole lines of bytes(n). Returns their bytes. */
static size_t add_lines(struct series *series, const char *bytes, size_t n)
{
    size_t done = 0;
    const char *end;
    while (done < n && (end = memchr(bytes + done, '\n', n - done)) != NULL) {
        const size_t size = (size_t)(end - (bytes + done));
        add_line(series, bytes + done, size);
        done += size + 1;
    }
    return done;
}

/* Reads from the offset to the last whole line. */
static void read_on(struct series *series, int fd)
{
    size_t room = BLOCK_BYTES;
    char *block = mem_new(room);
    while (block != NULL) {
        const ssize_t n = pread(fd, block, room, series->offset);
        if (n <= 0) {
            break;
        }
        const size_t done = add_lines(series, block, (size_t)n);
        series->offset += (off_t)done;
        if (done == 0 && (size_t)n < room) {
            break; /* the last line is being written */
        }
        if (done == 0 && room >= LINE_MAX) {
            series->offset += n; /* the rest of this line will be no JSON */
        } else if (done == 0) {
            char *larger = mem_resize(block, 2 * room, 1);
            if (larger == NULL) {
                break;
            }
            block = larger;
            room *= 2;
        }
    }
    mem_free(block);
}

void series_update(struct series *series)
{
    int fd;
    struct stat about;
    if (file_open_regular(series->path, &fd, NULL) != STATUS_OK) {
        return;
    }
    if (fstat(fd, &about) == 0) {
        if (about.st_dev != series->device || about.st_ino != series->inode ||
            about.st_size < series->offset) {
            clear(series);
            series->device = about.st_dev;
            series->inode = about.st_ino;
        }
        read_on(series, fd);
    }
    close(fd);
}

/* ---- what there is ---- */

size_t series_rows(const struct series *series)
{
    return series->n_rows;
}

size_t series_lines(const struct series *series)
{
    return series->lines;
}

const double *series_values(const struct series *series, const char *name)
{
    const struct column *column = find_column(series, name);
    return column == NULL ? NULL : column->values;
}

double series_last(const struct series *series, const char *name)
{
    const struct column *column = find_column(series, name);
    return column == NULL || series->n_rows == 0 ? (double)NAN : column->values[series->n_rows - 1];
}

double series_since_best(const struct series *series, const char *name)
{
    const struct column *column = find_column(series, name);
    size_t best = SIZE_MAX;
    for (size_t i = 0; column != NULL && i < series->n_rows; i++) {
        if (!isnan(column->values[i]) &&
            (best == SIZE_MAX || column->values[i] > column->values[best])) {
            best = i;
        }
    }
    return best == SIZE_MAX ? (double)NAN : (double)((series->n_rows - 1 - best) * series->stride);
}

void series_names(const struct series *series, struct text *names)
{
    for (size_t i = 0; i < series->n_columns; i++) {
        text_format(names, "%s%s", names->size > 0 ? ", " : "", series->columns[i].name);
    }
}

/* Six digits are more than a chart shows; steps and times of day have more. */
static void print_value(struct text *text, double value)
{
    if (isfinite(value)) {
        text_format(text, fabs(value) < 1e6 ? "%.6g" : "%.13g", value);
    } else {
        text_add(text, "null");
    }
}

cJSON *series_to_json(const struct series *series)
{
    struct text text = {0};
    text_add(&text, "{");
    for (size_t c = 0; c < series->n_columns; c++) {
        text_add(&text, c > 0 ? "," : "");
        text_add_quoted(&text, series->columns[c].name);
        text_add(&text, ":[");
        for (size_t i = 0; i < series->n_rows; i++) {
            text_add(&text, i > 0 ? "," : "");
            print_value(&text, series->columns[c].values[i]);
        }
        text_add(&text, "]");
    }
    text_add(&text, "}");
    char *printed = text_take(&text, NULL);
    cJSON *json = printed == NULL ? NULL : cJSON_CreateRaw(printed);
    mem_free(printed);
    return json;
}
