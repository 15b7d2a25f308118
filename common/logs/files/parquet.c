/* Parquet files, by the library carquet. A file is one recording, and its rows are the rows of the
 * recording.
 *
 * A file consists of row groups, and each holds its part of every column. Opening a file reads the
 * footer and, for lists, the length of the first one. Values are decoded by row group when they
 * are first used, and a column keeps the values of the row group that was read last, so episodes
 * that are read in order decode everything once.
 *
 * carquet checks sizes and checksums of pages. What it returns is checked here against the schema:
 * types, levels, and the number of rows and values. Null is a missing value. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/files/carquet_memory.h"
#include "common/logs/files/log_file.h"
#include "common/logs/files/parquet_columns.h"
#include "common/logs/files/parquet_rows.h"

/* The largest stored value: a byte array, which carquet returns as pointer and length. */
#define STORED_SIZE_MAX sizeof(carquet_byte_array_t)

/* The values (rows, width) of one row group of a column, as floats where parquet_is_float says so.
 * The memory is used again for the next row group. */
struct chunk {
    int32_t group_i;   /* -1: none */
    uint64_t capacity; /* bytes */
    union {
        void *memory;
        float *floats;
        double *values;
    };
};

struct parquet {
    struct log_file base;
    char *path;
    FILE *file;
    carquet_reader_t *reader;
    struct recording recording;
    struct parquet_column *columns; /* (recording.n) */
    struct chunk *chunks;           /* (recording.n) */
    int32_t n_groups;
    uint64_t *first_rows; /* (n_groups + 1) the first row of each row group, and the end */
    uint64_t bytes;       /* of all chunks */

    /* Buffers for one batch. */
    unsigned char *stored;
    double *numbers;
    int16_t *definitions, *repetitions;
};

static bool parquet_recognise(const unsigned char *head, size_t n)
{
    /* PARE is an encrypted file, for which carquet has its own message. */
    return n >= 12 && (memcmp(head, "PAR1", 4) == 0 || memcmp(head, "PARE", 4) == 0);
}

/* Sets an error with carquet's text. `column` may be NULL. */
static status library_error(const struct parquet *parquet, const struct recording_column *column,
                            const carquet_error_t *error, struct err *err)
{
    const bool unsupported = error->code == CARQUET_ERROR_NOT_IMPLEMENTED ||
                             error->code == CARQUET_ERROR_UNSUPPORTED_CODEC ||
                             error->code == CARQUET_ERROR_OUT_OF_MEMORY;
    return err_set(err, unsupported ? STATUS_INVALID : STATUS_CORRUPT, "%s%s%s: %s%s",
                   parquet->path, column == NULL ? "" : ": column ",
                   column == NULL ? "" : column->name,
                   error->message[0] == 0 ? "damaged" : error->message,
                   error->code == CARQUET_ERROR_OUT_OF_MEMORY
                       ? " (the memory for reading Parquet files is limited)"
                       : "");
}

/* ---- opening ---- */

/* Opens a regular file. A named pipe must not make it wait. */
static status open_file(struct parquet *parquet, struct err *err)
{
    int fd;
    const status s = file_open_regular(parquet->path, &fd, err);
    if (s != STATUS_OK) {
        return s;
    }
    parquet->file = fdopen(fd, "rb");
    if (parquet->file == NULL) {
        close(fd);
        return err_set(err, STATUS_NO_MEMORY, "%s", parquet->path);
    }
    return STATUS_OK;
}

/* Reads the footer. */
static status open_reader(struct parquet *parquet, struct err *err)
{
    carquet_reader_options_t options;
    carquet_error_t error = CARQUET_ERROR_INIT;
    carquet_memory_limit();
    carquet_reader_options_init(&options);
    options.num_threads = 1;
    parquet->reader = carquet_reader_open_file(parquet->file, &options, &error);
    return parquet->reader == NULL ? library_error(parquet, NULL, &error, err) : STATUS_OK;
}

/* Adds up the rows of the row groups. */
static status read_groups(struct parquet *parquet, struct err *err)
{
    parquet->n_groups = carquet_reader_num_row_groups(parquet->reader);
    const int64_t rows = carquet_reader_num_rows(parquet->reader);
    if (parquet->n_groups < 0 || rows < 0 || (uint64_t)rows > RECORDING_ROWS_MAX) {
        return err_set(err, STATUS_INVALID,
                       "%s: %" PRId64 " rows in %d row groups, expected at most %llu rows",
                       parquet->path, rows, parquet->n_groups, RECORDING_ROWS_MAX);
    }
    parquet->first_rows = mem_array((size_t)parquet->n_groups + 1, sizeof *parquet->first_rows);
    if (parquet->first_rows == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: row groups", parquet->path);
    }
    uint64_t sum = 0;
    for (int32_t i = 0; i < parquet->n_groups; i++) {
        /* The sum cannot overflow, as it never exceeds the number of rows. */
        carquet_row_group_metadata_t group;
        if (carquet_reader_row_group_metadata(parquet->reader, i, &group) != CARQUET_OK ||
            group.num_rows < 0 || (uint64_t)group.num_rows > (uint64_t)rows - sum) {
            return err_set(err, STATUS_CORRUPT, "%s: row group %d: damaged", parquet->path, i);
        }
        sum += (uint64_t)group.num_rows;
        parquet->first_rows[i + 1] = sum;
    }
    if (sum != (uint64_t)rows) {
        return err_set(err, STATUS_CORRUPT,
                       "%s: the row groups have %" PRIu64 " rows, the file has %" PRId64,
                       parquet->path, sum, rows);
    }
    return STATUS_OK;
}

/* Starts reading a row group of a column. */
static status open_column(struct parquet *parquet, uint32_t column_i, int32_t group_i,
                          carquet_column_reader_t **reader, struct err *err)
{
    /* carquet reads values of the type that the row group has, and the buffer is made for the type
     * that the schema has. */
    const struct recording_column *column = &parquet->recording.columns[column_i];
    const int32_t leaf_i = parquet->columns[column_i].leaf_i;
    const carquet_schema_t *schema = carquet_reader_schema(parquet->reader);
    carquet_column_chunk_metadata_t about;
    if (carquet_reader_column_chunk_metadata(parquet->reader, group_i, leaf_i, &about) !=
            CARQUET_OK ||
        about.type != carquet_schema_column_type(schema, leaf_i) || about.num_values < 0) {
        return err_set(err, STATUS_CORRUPT, "%s: column %s: row group %d: damaged", parquet->path,
                       column->name, group_i);
    }
    if ((uint64_t)about.num_values > LOG_FILE_BYTES_MAX / sizeof(double)) {
        return err_set(err, STATUS_INVALID, "%s: column %s: %" PRId64 " values in a row group",
                       parquet->path, column->name, about.num_values);
    }
    carquet_error_t error = CARQUET_ERROR_INIT;
    *reader = carquet_reader_get_column(parquet->reader, group_i, leaf_i, &error);
    return *reader == NULL ? library_error(parquet, column, &error, err) : STATUS_OK;
}

/* Returns whether all levels are 0 .. max. */
static bool levels_within(const int16_t *levels, uint32_t n, int32_t max)
{
    int16_t low = 0, high = 0;
    for (uint32_t i = 0; i < n; i++) {
        low = levels[i] < low ? levels[i] : low;
        high = levels[i] > high ? levels[i] : high;
    }
    return low >= 0 && high <= max;
}

/* Reads the next values and their levels into the buffers. Stores their number, 0 at the end. */
static status read_batch(struct parquet *parquet, uint32_t column_i,
                         carquet_column_reader_t *reader, uint32_t *n, struct err *err)
{
    const struct parquet_column *column = &parquet->columns[column_i];
    carquet_error_t error = CARQUET_ERROR_INIT;
    const int64_t got = carquet_column_read_batch_ex(
        reader, parquet->stored, PARQUET_BATCH,
        column->definition_max > 0 ? parquet->definitions : NULL,
        column->repetition_max > 0 ? parquet->repetitions : NULL, &error);
    if (got < 0 || got > PARQUET_BATCH || error.code != CARQUET_OK) {
        return library_error(parquet, &parquet->recording.columns[column_i], &error, err);
    }
    *n = (uint32_t)got;

    /* The buffers of levels are always valid, which keeps later loops simple. */
    if (column->definition_max == 0) {
        memset(parquet->definitions, 0, *n * sizeof *parquet->definitions);
    }
    if (column->repetition_max == 0) {
        memset(parquet->repetitions, 0, *n * sizeof *parquet->repetitions);
    }
    const bool valid = levels_within(parquet->definitions, *n, column->definition_max) &&
                       levels_within(parquet->repetitions, *n, column->repetition_max);
    return valid ? STATUS_OK
                 : err_set(err, STATUS_CORRUPT, "%s: column %s: a level is out of range",
                           parquet->path, parquet->recording.columns[column_i].name);
}

/* Stores the length of the first list of the column that has elements; 0 if there is none. */
static status first_length(struct parquet *parquet, uint32_t column_i, uint64_t *length,
                           struct err *err)
{
    *length = 0;
    status s = STATUS_OK;
    bool ended = false;
    for (int32_t group_i = 0; s == STATUS_OK && !ended && group_i < parquet->n_groups; group_i++) {
        carquet_column_reader_t *reader;
        s = open_column(parquet, column_i, group_i, &reader, err);
        if (s != STATUS_OK) {
            return s;
        }
        uint32_t n = 1;
        while (s == STATUS_OK && !ended && n > 0) {
            n = 0;
            s = read_batch(parquet, column_i, reader, &n, err);
            for (uint32_t i = 0; s == STATUS_OK && !ended && i < n; i++) {
                /* A new row ends the first list, unless it had no elements. */
                ended = parquet->repetitions[i] == 0 && *length > 0;
                *length += !ended &&
                           parquet->definitions[i] >= parquet->columns[column_i].element_definition;
            }
        }
        carquet_column_reader_free(reader);
        ended = ended || *length > 0; /* lists do not continue in the next row group */
    }
    return s;
}

/* Finds the width of a column of lists. All lists must have the same length; where their number of
 * values says that they have not, the column cannot be read. */
static status find_width(struct parquet *parquet, uint32_t column_i, struct err *err)
{
    struct recording_column *column = &parquet->recording.columns[column_i];
    uint64_t width, n_values = 0;
    status s = first_length(parquet, column_i, &width, err);
    for (int32_t i = 0; s == STATUS_OK && i < parquet->n_groups; i++) {
        carquet_column_chunk_metadata_t about;
        if (carquet_reader_column_chunk_metadata(
                parquet->reader, i, parquet->columns[column_i].leaf_i, &about) != CARQUET_OK ||
            about.num_values < 0) {
            return err_set(err, STATUS_CORRUPT, "%s: column %s: row group %d: damaged",
                           parquet->path, column->name, i);
        }
        n_values += (uint64_t)about.num_values;
    }
    if (s != STATUS_OK) {
        return s;
    }

    /* A missing list counts as one value. */
    const bool even = n_values >= column->rows && width > 0 &&
                      (width == 1 ? n_values == column->rows
                                  : (n_values - column->rows) % (width - 1) == 0 &&
                                        (n_values - column->rows) / (width - 1) <= column->rows);
    if (!even || width > RECORDING_WIDTH_MAX) {
        column->kind = RECORDING_OTHER;
    }
    column->width = (uint32_t)(width > RECORDING_WIDTH_MAX ? RECORDING_WIDTH_MAX : width);
    return STATUS_OK;
}

/* Adds the columns of the schema, and makes the buffers. */
static status read_columns(struct parquet *parquet, struct err *err)
{
    status s = parquet_columns_of(carquet_reader_schema(parquet->reader),
                                  parquet->first_rows[parquet->n_groups], &parquet->recording,
                                  &parquet->columns, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "%s", parquet->path);
    }
    parquet->chunks = mem_array(parquet->recording.n, sizeof *parquet->chunks);
    parquet->stored = mem_array(PARQUET_BATCH, STORED_SIZE_MAX);
    parquet->numbers = mem_array(PARQUET_BATCH, sizeof *parquet->numbers);
    parquet->definitions = mem_array(PARQUET_BATCH, sizeof *parquet->definitions);
    parquet->repetitions = mem_array(PARQUET_BATCH, sizeof *parquet->repetitions);
    if (parquet->chunks == NULL || parquet->stored == NULL || parquet->numbers == NULL ||
        parquet->definitions == NULL || parquet->repetitions == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", parquet->path);
    }
    for (uint32_t i = 0; i < parquet->recording.n; i++) {
        parquet->chunks[i].group_i = -1;
    }
    for (uint32_t i = 0; s == STATUS_OK && i < parquet->recording.n; i++) {
        if (parquet->recording.columns[i].kind == RECORDING_NUMBERS &&
            parquet->columns[i].repetition_max > 0) {
            s = find_width(parquet, i, err);
        }
    }
    return s;
}

/* Also closes a file that was opened only in part. */
static void parquet_close(struct log_file *file)
{
    struct parquet *parquet = (struct parquet *)file;
    for (uint32_t i = 0; parquet->chunks != NULL && i < parquet->recording.n; i++) {
        mem_free(parquet->chunks[i].memory);
    }
    mem_free(parquet->chunks);
    mem_free(parquet->columns);
    mem_free(parquet->first_rows);
    mem_free(parquet->stored);
    mem_free(parquet->numbers);
    mem_free(parquet->definitions);
    mem_free(parquet->repetitions);
    recording_fini(&parquet->recording);
    carquet_reader_close(parquet->reader);
    if (parquet->file != NULL) {
        fclose(parquet->file);
    }
    mem_free(parquet->path);
    mem_free(parquet);
}

static status parquet_open(struct log_file **file, const char *path, struct err *err)
{
    struct parquet *parquet = mem_new(sizeof *parquet);
    if (parquet == NULL || (parquet->path = mem_text(path)) == NULL) {
        mem_free(parquet);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    parquet->base.format = &log_format_parquet;
    status s = open_file(parquet, err);
    if (s == STATUS_OK) {
        s = open_reader(parquet, err);
    }
    if (s == STATUS_OK) {
        s = read_groups(parquet, err);
    }
    if (s == STATUS_OK) {
        s = read_columns(parquet, err);
    }
    if (s != STATUS_OK) {
        parquet_close(&parquet->base);
        return s;
    }
    *file = &parquet->base;
    return STATUS_OK;
}

/* A file is one recording. Several episodes in it are told apart by a column. */
static uint64_t parquet_recordings(const struct log_file *file)
{
    (void)file;
    return 1;
}

static status parquet_describe(struct log_file *file, uint64_t recording_i,
                               struct recording *recording, struct err *err)
{
    (void)recording_i;
    const struct parquet *parquet = (const struct parquet *)file;
    return recording_append(recording, &parquet->recording, err);
}

/* ---- values ---- */

/* Decodes a row group of a column. */
static status decode(struct parquet *parquet, uint32_t column_i, int32_t group_i,
                     struct parquet_rows *rows, struct err *err)
{
    carquet_column_reader_t *reader;
    status s = open_column(parquet, column_i, group_i, &reader, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct parquet_batch batch = {1, parquet->stored, parquet->definitions, parquet->repetitions};
    while (s == STATUS_OK && batch.n > 0) {
        batch.n = 0;
        s = read_batch(parquet, column_i, reader, &batch.n, err);
        if (s == STATUS_OK) {
            s = parquet_rows_add(rows, &batch, err);
            s = s == STATUS_OK ? s : err_context(err, s, "%s", parquet->path);
        }
    }
    carquet_column_reader_free(reader);
    if (s == STATUS_OK) {
        s = parquet_rows_end(rows, err);
        s = s == STATUS_OK ? s : err_context(err, s, "%s: row group %d", parquet->path, group_i);
    }
    return s;
}

/* Releases the values of a column. */
static void drop_chunk(struct parquet *parquet, uint32_t column_i)
{
    struct chunk *chunk = &parquet->chunks[column_i];
    mem_free(chunk->memory);
    parquet->bytes -= chunk->capacity;
    *chunk = (struct chunk){.group_i = -1};
}

/* Makes room for this many bytes in a chunk. If they do not fit beside those of other columns, these
 * are decoded again when they are needed. */
static status reserve_chunk(struct parquet *parquet, uint32_t column_i, uint64_t bytes,
                            struct err *err)
{
    struct chunk *chunk = &parquet->chunks[column_i];
    chunk->group_i = -1;
    if (bytes <= chunk->capacity) {
        return STATUS_OK;
    }
    drop_chunk(parquet, column_i);
    const struct recording_column *column = &parquet->recording.columns[column_i];
    for (uint32_t i = 0; i < parquet->recording.n && bytes > LOG_FILE_BYTES_MAX - parquet->bytes;
         i++) {
        drop_chunk(parquet, i);
    }
    if (bytes > LOG_FILE_BYTES_MAX) {
        return err_set(err, STATUS_INVALID, "%s: column %s: a row group needs more than %llu bytes",
                       parquet->path, column->name, LOG_FILE_BYTES_MAX);
    }
    chunk->memory = mem_resize(NULL, bytes, 1);
    if (chunk->memory == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: column %s", parquet->path, column->name);
    }
    chunk->capacity = bytes;
    parquet->bytes += bytes;
    return STATUS_OK;
}

/* Makes the values of a row group of a column available in its chunk. */
static status load(struct parquet *parquet, uint32_t column_i, int32_t group_i, struct err *err)
{
    struct chunk *chunk = &parquet->chunks[column_i];
    if (chunk->group_i == group_i) {
        return STATUS_OK;
    }
    const struct recording_column *column = &parquet->recording.columns[column_i];
    const uint64_t n = parquet->first_rows[group_i + 1] - parquet->first_rows[group_i];
    const bool floats = parquet_is_float(&parquet->columns[column_i]);
    const size_t size = floats ? sizeof *chunk->floats : sizeof *chunk->values;
    status s = reserve_chunk(parquet, column_i, n * column->width * size, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct parquet_rows rows = {.column = &parquet->columns[column_i],
                                .described = column,
                                .first_row = parquet->first_rows[group_i],
                                .n = n,
                                .floats = floats ? chunk->floats : NULL,
                                .values = floats ? NULL : chunk->values,
                                .numbers = parquet->numbers};
    s = decode(parquet, column_i, group_i, &rows, err);
    if (s == STATUS_OK) {
        chunk->group_i = group_i;
    }
    return s;
}

/* Where rows go to: one of the two. */
struct destination {
    double *values;
    float *floats; /* only from columns of floats */
};

/* Copies n values from place `at` of a chunk to place `to_at` of the destination. */
static void copy_values(const struct destination *to, uint64_t to_at, const struct chunk *chunk,
                        uint64_t at, uint64_t n, bool floats)
{
    if (to->floats != NULL) {
        memcpy(to->floats + to_at, chunk->floats + at, n * sizeof *to->floats);
    } else if (floats) {
        elements_to_doubles(to->values + to_at, chunk->floats + at, n,
                            element_make(ELEMENT_FLOAT, sizeof *chunk->floats));
    } else {
        memcpy(to->values + to_at, chunk->values + at, n * sizeof *to->values);
    }
}

/* Copies rows of a column, whose range has been checked. */
static status copy_rows(struct parquet *parquet, const struct recording_column *column,
                        uint64_t first, uint64_t n, const struct destination *to, struct err *err)
{
    const uint64_t end = first + n;
    const bool floats = parquet_is_float(&parquet->columns[column->index]);
    for (int32_t i = 0; i < parquet->n_groups; i++) {
        /* The part of the range that lies in row group i. */
        const uint64_t group_first = parquet->first_rows[i];
        const uint64_t from = first > group_first ? first : group_first;
        const uint64_t part_end =
            end < parquet->first_rows[i + 1] ? end : parquet->first_rows[i + 1];
        if (from >= part_end) {
            continue;
        }
        const status s = load(parquet, column->index, i, err);
        if (s != STATUS_OK) {
            return s;
        }
        copy_values(to, (from - first) * column->width, &parquet->chunks[column->index],
                    (from - group_first) * column->width, (part_end - from) * column->width,
                    floats);
    }
    return STATUS_OK;
}

static status parquet_read(struct log_file *file, uint64_t recording_i,
                           const struct recording_column *column, uint64_t first, uint64_t n,
                           double *values, struct err *err)
{
    (void)recording_i;
    const struct destination to = {.values = values};
    return copy_rows((struct parquet *)file, column, first, n, &to, err);
}

static status parquet_read_floats(struct log_file *file, uint64_t recording_i,
                                  const struct recording_column *column, uint64_t first, uint64_t n,
                                  float *values, struct err *err)
{
    (void)recording_i;
    struct parquet *parquet = (struct parquet *)file;
    const struct destination to = {.floats = values};
    return parquet_is_float(&parquet->columns[column->index])
               ? copy_rows(parquet, column, first, n, &to, err)
               : STATUS_NOT_FOUND;
}

const struct log_format log_format_parquet = {
    .name = "parquet",
    .what = "Parquet",
    .recognise = parquet_recognise,
    .open = parquet_open,
    .close = parquet_close,
    .n_recordings = parquet_recordings,
    .describe = parquet_describe,
    .read = parquet_read,
    .read_floats = parquet_read_floats,
};
