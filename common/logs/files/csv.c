/* CSV files: text with a header row of column names. A file is one recording.
 *
 * The separator is comma, semicolon or tab, whichever occurs most often in the header. Cells may be
 * quoted (RFC 4180), lines end with LF or CRLF, and a byte order mark is skipped. A cell holds a
 * number, `true` or `false`; an empty cell is a missing value. A column whose first value is
 * anything else is a text column and is left out. In a column of numbers, a later cell that is not
 * a number is an error that names the line.
 *
 * csv_open reads and parses the whole file into a table of doubles, row by row. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/files/decimal.h"
#include "common/logs/files/log_file.h"

#define CELL_SIZE 256u /* bytes of a cell, with the terminating 0 */

/* An open file. Text columns have a place in `values` too, which keeps the index of a column
 * simple; it holds NaN and is never read. */
struct csv {
    struct log_file base;
    char *path;
    struct recording recording;
    uint64_t rows, capacity;
    double *values; /* (rows, n columns) */
};

/* The position of the parser in the text. */
struct cursor {
    const char *at, *end;
    char separator;
    uint64_t line; /* from 1 */
};

static bool csv_recognise(const unsigned char *head, size_t n)
{
    /* Text without control characters and with a separator in its first line. JSON is not CSV,
     * although it has commas. */
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

/* Stores the cell at the cursor, unquoted, in `cell`, and moves the cursor after it: to a
 * separator, a line end or the end of the text. */
static status next_cell(struct cursor *c, char cell[CELL_SIZE], struct err *err)
{
    size_t n = 0;
    const bool quoted = c->at < c->end && *c->at == '"';
    c->at += quoted;
    for (;; c->at++) {
        /* The end of the text also ends an unquoted cell. */
        if (c->at == c->end) {
            if (quoted) {
                return err_set(err, STATUS_INVALID, "line %" PRIu64 ": a quote is not closed",
                               c->line);
            }
            break;
        }

        /* The end of the cell: a single quote sign, or a separator or line end if unquoted. */
        if (quoted && *c->at == '"') {
            if (c->at + 1 == c->end || c->at[1] != '"') {
                c->at++;
                break;
            }
            c->at++; /* two quotes inside a quoted cell mean one quote */
        } else if (!quoted && (*c->at == c->separator || *c->at == '\n' || *c->at == '\r')) {
            break;
        }

        c->line += *c->at == '\n'; /* quoted cells may contain line ends */
        if (n + 1 >= CELL_SIZE) {
            return err_set(err, STATUS_INVALID, "line %" PRIu64 ": a cell of more than %u bytes",
                           c->line, CELL_SIZE - 1);
        }
        cell[n++] = *c->at;
    }
    cell[n] = 0;

    /* Nothing but a separator or a line end may follow a quoted cell. */
    if (c->at < c->end && *c->at != c->separator && *c->at != '\n' && *c->at != '\r') {
        return err_set(err, STATUS_INVALID, "line %" PRIu64 ": text after a closing quote",
                       c->line);
    }
    return STATUS_OK;
}

/* Moves the cursor past a separator and returns true, or past a line end and returns false. */
static bool next_in_line(struct cursor *c)
{
    if (c->at < c->end && *c->at == c->separator) {
        c->at++;
        return true;
    }
    /* The end of the text is treated as the end of a line. */
    c->at += c->at < c->end && *c->at == '\r';
    if (c->at < c->end && *c->at == '\n') {
        c->at++;
        c->line++;
    }
    return false;
}

/* The candidate that occurs most often in the first line. */
static char separator_of(const char *text, const char *end)
{
    /* A comma inside a quoted name counts too; a header with many of those is not worth a
     * parser. */
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

/* Removes white space at both ends, in place. */
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

/* NaN for an empty cell, 1 or 0 for true or false, else the number. False if it is none of
 * these. */
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

    /* The whole cell must be consumed. Overflow gives infinity, which is refused when an episode
     * with this value is read. */
    char *end;
    errno = 0;
    *value = strtod(cell, &end);
    return *end == 0 && end != cell;
}

/* Adds a column for each cell of the first line. All columns hold numbers until a value says
 * otherwise. */
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

/* Makes room for one more row. The size of the table is limited to LOG_FILE_BYTES_MAX. */
static status make_row(struct csv *csv, struct err *err)
{
    if (csv->rows < csv->capacity) {
        return STATUS_OK;
    }

    /* Doubling keeps the cost of growing linear. The last doubling may exceed the limit. */
    const uint64_t capacity = csv->capacity == 0 ? 1024 : 2 * csv->capacity;
    const uint64_t n = csv->recording.n;
    if (capacity > RECORDING_ROWS_MAX || capacity > 2 * LOG_FILE_BYTES_MAX / (n * sizeof(double))) {
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

/* Reads a plain number at the cursor, up to a separator or line end. Otherwise the cursor stays, and
 * the cell needs next_cell. */
static bool quick_number(struct cursor *c, double *value)
{
    const char *after;
    if (!decimal_read(c->at, c->end, value, &after) ||
        (after < c->end && *after != c->separator && *after != '\n' && *after != '\r')) {
        return false;
    }
    c->at = after;
    return true;
}

/* Reads one row. `seen` (columns) tells whether a column has had a value before, since its first
 * value decides whether it holds numbers or text. */
static status read_row(struct csv *csv, struct cursor *c, bool *seen, struct err *err)
{
    /* The row is filled in place, behind the rows that are complete; `rows` counts it only at the
     * end. So a row with an error is never visible. */
    status s = make_row(csv, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* A quoted cell may span lines; errors name the line on which the row begins. */
    const uint64_t line = c->line;
    double *row = &csv->values[csv->rows * csv->recording.n];

    /* Cells beyond the header are read as well, so that the error can name their number. */
    uint32_t i = 0;
    bool more = true;
    for (; more; i++) {
        /* Nearly all cells are plain numbers in a column of numbers. */
        if (i < csv->recording.n && csv->recording.columns[i].kind == RECORDING_NUMBERS &&
            quick_number(c, &row[i])) {
            seen[i] = true;
            more = next_in_line(c);
            continue;
        }
        char cell[CELL_SIZE];
        s = next_cell(c, cell, err);
        if (s != STATUS_OK) {
            return s;
        }
        more = next_in_line(c);
        if (i >= csv->recording.n) {
            continue; /* counted for the error message below */
        }
        struct recording_column *column = &csv->recording.columns[i];
        const char *text = trim(cell);
        /* NaN stands for a missing value and for the cells of text columns. */
        row[i] = NAN;
        if (column->kind == RECORDING_TEXT || text[0] == 0) {
            continue;
        }

        /* The first value decides the kind of the column. */
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

    /* A row that is too short or too long usually means a wrong separator or an unquoted comma. */
    if (i != csv->recording.n) {
        return err_set(err, STATUS_INVALID, "line %" PRIu64 ": has %u cells, the header has %u",
                       line, i, csv->recording.n);
    }
    csv->rows++;
    return STATUS_OK;
}

/* Parses the whole text into an empty `csv`. On an error the caller releases what has been read so
 * far. */
static status parse(struct csv *csv, const char *text, size_t size, struct err *err)
{
    /* Skip a byte order mark, then read the header. */
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
        /* An empty line is skipped. With a single column it is a row with a missing value. */
        if ((*c.at == '\n' || *c.at == '\r') && csv->recording.n > 1) {
            (void)next_in_line(&c);
            continue;
        }
        s = read_row(csv, &c, seen, err);
    }
    mem_free(seen);

    /* The number of rows is known only now. */
    for (uint32_t i = 0; i < csv->recording.n; i++) {
        csv->recording.columns[i].rows = csv->rows;
    }
    return s;
}

/* Also closes a file that was opened only in part. */
static void csv_close(struct log_file *file)
{
    struct csv *csv = (struct csv *)file;
    recording_fini(&csv->recording);
    mem_free(csv->values);
    mem_free(csv->path);
    mem_free(csv);
}

/* Parses the whole file. Only the numbers are kept; the text is released. */
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
    status s = file_read_regular(path, LOG_FILE_BYTES_MAX, &text, &size, err);
    if (s == STATUS_OK) {
        s = parse(csv, text, size, err);
        mem_free(text);
        if (s != STATUS_OK) {
            (void)err_context(err, s, "%s", path);
        }
    }
    /* The path is part of every error, since a folder may hold thousands of files. */
    if (s != STATUS_OK) {
        csv_close(&csv->base);
        return s;
    }
    *file = &csv->base;
    return STATUS_OK;
}

/* A file is one recording, whatever its rows mean. */
static uint64_t csv_recordings(const struct log_file *file)
{
    (void)file;
    return 1;
}

/* Copies the columns of the table; the caller's recording stays valid after the file is closed. */
static status csv_describe(struct log_file *file, uint64_t recording_i, struct recording *recording,
                           struct err *err)
{
    (void)recording_i;
    const struct csv *csv = (const struct csv *)file;
    return recording_append(recording, &csv->recording, err);
}

/* Gathers one column from the rows. log_file_read has checked the range. */
static status csv_read(struct log_file *file, uint64_t recording_i,
                       const struct recording_column *column, uint64_t first, uint64_t n,
                       double *values, struct err *err)
{
    (void)recording_i;
    (void)err;
    /* The table is stored by rows, as it is parsed, so a column is one value in every n. */
    const struct csv *csv = (const struct csv *)file;
    for (uint64_t i = 0; i < n; i++) {
        values[i] = csv->values[(first + i) * csv->recording.n + column->index];
    }
    return STATUS_OK;
}

/* The table; names and kinds of columns are small beside it. */
static uint64_t csv_memory(const struct log_file *file)
{
    const struct csv *csv = (const struct csv *)file;
    return csv->capacity * csv->recording.n * sizeof *csv->values;
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
    .memory = csv_memory,
};
