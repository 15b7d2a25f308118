/* CSV: text with a header row of column names, one recording a file.
 *
 * The separator is the one of comma, semicolon and tab that the header has most of. Cells may be
 * quoted (RFC 4180); lines end with LF or CRLF; a byte order mark is skipped. A cell is a number,
 * true or false, or empty: no value. A column whose first value is something else is text, and is
 * left out; a cell of a column of numbers that is none is an error with its line.
 *
 * The whole file is read and parsed once: a table of doubles, row by row. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/log_file.h"

#define CELL_SIZE 256u /* of a cell that is read as a number, or a name */

struct csv {
    struct log_file base;
    char *path;
    struct recording recording;
    uint64_t rows, capacity;
    double *values; /* (rows, n columns) */
};

/* Where parsing stands. */
struct cursor {
    const char *at, *end;
    char separator;
    uint64_t line; /* from 1 */
};

static bool csv_recognise(const unsigned char *head, size_t n)
{
    /* Text without control characters, with a separator in its first line. */
    bool separated = false, in_first = true;
    for (size_t i = 0; i < n; i++) {
        if (head[i] < 0x20 && head[i] != '\t' && head[i] != '\n' && head[i] != '\r') {
            return false;
        }
        in_first = in_first && head[i] != '\n';
        separated = separated || (in_first && strchr(",;\t", head[i]) != NULL);
    }
    return separated && n > 0 && head[0] != '{' && head[0] != '[';
}

/* The cell at the cursor, unquoted, into `cell`; the cursor stands behind it, at a separator, a line
 * end or the end. */
static status next_cell(struct cursor *c, char cell[CELL_SIZE], struct err *err)
{
    size_t n = 0;
    const bool quoted = c->at < c->end && *c->at == '"';
    c->at += quoted;
    for (;; c->at++) {
        if (c->at == c->end) {
            if (quoted) {
                return err_set(err, STATUS_INVALID, "line %" PRIu64 ": a quote is not closed",
                               c->line);
            }
            break;
        }
        if (quoted && *c->at == '"') {
            if (c->at + 1 == c->end || c->at[1] != '"') {
                c->at++;
                break;
            }
            c->at++; /* two quotes stand for one */
        } else if (!quoted && (*c->at == c->separator || *c->at == '\n' || *c->at == '\r')) {
            break;
        }
        c->line += *c->at == '\n';
        if (n + 1 >= CELL_SIZE) {
            return err_set(err, STATUS_INVALID, "line %" PRIu64 ": a cell of more than %u bytes",
                           c->line, CELL_SIZE - 1);
        }
        cell[n++] = *c->at;
    }
    cell[n] = 0;
    if (c->at < c->end && *c->at != c->separator && *c->at != '\n' && *c->at != '\r') {
        return err_set(err, STATUS_INVALID, "line %" PRIu64 ": text behind a closing quote",
                       c->line);
    }
    return STATUS_OK;
}

/* Steps over a separator: true. At a line end: steps over it, and false. */
static bool next_in_line(struct cursor *c)
{
    if (c->at < c->end && *c->at == c->separator) {
        c->at++;
        return true;
    }
    c->at += c->at < c->end && *c->at == '\r';
    if (c->at < c->end && *c->at == '\n') {
        c->at++;
        c->line++;
    }
    return false;
}

static char separator_of(const char *text, const char *end)
{
    static const char candidates[] = ",;\t";
    size_t most = 0;
    char separator = ',';
    for (const char *candidate = candidates; *candidate != 0; candidate++) {
        size_t n = 0;
        for (const char *at = text; at < end && *at != '\n'; at++) {
            n += *at == *candidate;
        }
        if (n > most) {
            most = n;
            separator = *candidate;
        }
    }
    return separator;
}

/* The cell without spaces around it. */
static char *trim(char *cell)
{
    while (isspace((unsigned char)*cell)) {
        cell++;
    }
    size_t n = strlen(cell);
    while (n > 0 && isspace((unsigned char)cell[n - 1])) {
        cell[--n] = 0;
    }
    return cell;
}

static bool parse_number(const char *cell, double *value)
{
    if (cell[0] == 0) {
        *value = NAN;
        return true;
    }
    if (strcasecmp(cell, "true") == 0 || strcasecmp(cell, "false") == 0) {
        *value = tolower((unsigned char)cell[0]) == 't';
        return true;
    }
    char *end;
    errno = 0;
    *value = strtod(cell, &end);
    return *end == 0 && end != cell;
}

static status read_header(struct csv *csv, struct cursor *c, struct err *err)
{
    char cell[CELL_SIZE];
    do {
        status s = next_cell(c, cell, err);
        if (s == STATUS_OK) {
            s = recording_add(&csv->recording, trim(cell), RECORDING_NUMBERS, 1, 0, err);
        }
        if (s != STATUS_OK) {
            return err_context(err, s, "header");
        }
    } while (next_in_line(c));
    return STATUS_OK;
}

static status make_row(struct csv *csv, struct err *err)
{
    if (csv->rows < csv->capacity) {
        return STATUS_OK;
    }
    const uint64_t capacity = csv->capacity == 0 ? 1024 : 2 * csv->capacity;
    const uint64_t n = csv->recording.n;
    if (capacity > LOG_FILE_ROWS_MAX || capacity > 2 * LOG_FILE_BYTES_MAX / (n * sizeof(double))) {
        return err_set(err, STATUS_INVALID, "more than %llu bytes of values",
                       (unsigned long long)LOG_FILE_BYTES_MAX);
    }
    double *values = mem_resize(csv->values, capacity * n, sizeof *values);
    if (values == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%" PRIu64 " rows", capacity);
    }
    csv->values = values;
    csv->capacity = capacity;
    return STATUS_OK;
}

/* One row of cells. `seen` (columns): has this column had a value before? */
static status read_row(struct csv *csv, struct cursor *c, bool *seen, struct err *err)
{
    status s = make_row(csv, err);
    if (s != STATUS_OK) {
        return s;
    }
    const uint64_t line = c->line;
    double *row = &csv->values[csv->rows * csv->recording.n];
    uint32_t i = 0;
    bool more = true;
    for (; more; i++) {
        char cell[CELL_SIZE];
        s = next_cell(c, cell, err);
        if (s != STATUS_OK) {
            return s;
        }
        more = next_in_line(c);
        if (i >= csv->recording.n) {
            continue; /* counted, and refused below */
        }
        struct recording_column *column = &csv->recording.columns[i];
        const char *text = trim(cell);
        row[i] = NAN;
        if (column->kind == RECORDING_TEXT || text[0] == 0) {
            continue;
        }
        if (!parse_number(text, &row[i])) {
            if (seen[i]) {
                return err_set(err, STATUS_INVALID,
                               "line %" PRIu64 ", column %s: expected a number, not \"%.40s\"",
                               line, column->name, text);
            }
            column->kind = RECORDING_TEXT;
        }
        seen[i] = true;
    }
    if (i != csv->recording.n) {
        return err_set(err, STATUS_INVALID, "line %" PRIu64 ": has %u cells, the header has %u",
                       line, i, csv->recording.n);
    }
    csv->rows++;
    return STATUS_OK;
}

static status parse(struct csv *csv, const char *text, size_t size, struct err *err)
{
    const size_t mark = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    struct cursor c = {text + mark, text + size, 0, 1};
    c.separator = separator_of(c.at, c.end);
    status s = read_header(csv, &c, err);
    if (s != STATUS_OK) {
        return s;
    }
    bool *seen = mem_array(csv->recording.n, sizeof *seen);
    if (seen == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%u columns", csv->recording.n);
    }
    while (s == STATUS_OK && c.at < c.end) {
        /* An empty line says nothing, unless there is one column only: then it is a missing value. */
        if ((*c.at == '\n' || *c.at == '\r') && csv->recording.n > 1) {
            (void)next_in_line(&c);
            continue;
        }
        s = read_row(csv, &c, seen, err);
    }
    mem_free(seen);
    for (uint32_t i = 0; i < csv->recording.n; i++) {
        csv->recording.columns[i].rows = csv->rows;
    }
    return s;
}

static void csv_close(struct log_file *file)
{
    struct csv *csv = (struct csv *)file;
    recording_fini(&csv->recording);
    mem_free(csv->values);
    mem_free(csv->path);
    mem_free(csv);
}

static status csv_open(struct log_file **file, const char *path, struct err *err)
{
    struct csv *csv = mem_new(sizeof *csv);
    if (csv == NULL || (csv->path = mem_text(path)) == NULL) {
        mem_free(csv);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    csv->base.format = &log_format_csv;

    void *text;
    size_t size;
    status s = file_read(path, LOG_FILE_BYTES_MAX, &text, &size, err);
    if (s == STATUS_OK) {
        s = parse(csv, text, size, err);
        mem_free(text);
        if (s != STATUS_OK) {
            (void)err_context(err, s, "%s", path);
        }
    }
    if (s != STATUS_OK) {
        csv_close(&csv->base);
        return s;
    }
    *file = &csv->base;
    return STATUS_OK;
}

static uint64_t csv_recordings(const struct log_file *file)
{
    (void)file;
    return 1;
}

static status csv_describe(struct log_file *file, uint64_t recording_i, struct recording *recording,
                           struct err *err)
{
    (void)recording_i;
    const struct csv *csv = (const struct csv *)file;
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < csv->recording.n; i++) {
        const struct recording_column *column = &csv->recording.columns[i];
        s = recording_add(recording, column->name, column->kind, 1, column->rows, err);
    }
    return s;
}

static status csv_read(struct log_file *file, uint64_t recording_i,
                       const struct recording_column *column, uint64_t first, uint64_t n,
                       double *values, struct err *err)
{
    (void)recording_i;
    (void)err;
    const struct csv *csv = (const struct csv *)file;
    for (uint64_t i = 0; i < n; i++) {
        values[i] = csv->values[(first + i) * csv->recording.n + column->index];
    }
    return STATUS_OK;
}

const struct log_format log_format_csv = {
    .name = "csv",
    .what = "text with a header row",
    .recognise = csv_recognise,
    .open = csv_open,
    .close = csv_close,
    .n_recordings = csv_recordings,
    .describe = csv_describe,
    .read = csv_read,
};
