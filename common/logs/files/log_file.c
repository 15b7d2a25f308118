/* The table of formats, and the checks that all formats share.
 *
 * A format is recognised by the first bytes of a file, so names and suffixes do not matter. The
 * functions of a format are called through its table, after the arguments have been checked
 * here. */
#include "common/logs/files/log_file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

/* CSV comes last, since it has no magic number and accepts anything that looks like text. */
static const struct log_format *const formats[] = {
    &log_format_hdf5, &log_format_npz,      &log_format_parquet, &log_format_arrow,
    &log_format_mcap, &log_format_tfrecord, &log_format_csv,
};
#define N_FORMATS (sizeof formats / sizeof formats[0])

/* In the order of `formats`. A constant, because messages need it where nothing may fail. */
const char *log_format_names(void)
{
    return "hdf5, npz, parquet, arrow, mcap, tfrecord, csv";
}

/* A linear search, since there are few formats. */
const struct log_format *log_format_named(const char *name)
{
    for (size_t i = 0; i < N_FORMATS; i++) {
        if (strcmp(formats[i]->name, name) == 0) {
            return formats[i];
        }
    }
    return NULL;
}

/* Reads the first bytes of a regular file into head(LOG_FILE_HEAD_SIZE); *n is their number. A device
 * or a pipe, which may never end, is refused. */
static status read_head(const char *path, unsigned char *head, size_t *n, struct err *err)
{
    int fd;
    status s = file_open_regular(path, &fd, err);
    if (s != STATUS_OK) {
        return s;
    }
    const ssize_t got = pread(fd, head, LOG_FILE_HEAD_SIZE, 0);
    if (got < 0) {
        s = err_errno(err, errno, "%s", path);
    }
    *n = got < 0 ? 0 : (size_t)got;
    close(fd);
    return s;
}

/* The first format that accepts the bytes, or NULL. */
static const struct log_format *recognise(const unsigned char *head, size_t n)
{
    for (size_t i = 0; i < N_FORMATS; i++) {
        if (formats[i]->recognise(head, n)) {
            return formats[i];
        }
    }
    return NULL;
}

/* Errors are not told apart here: the caller only lists the logs in a folder. */
const struct log_format *log_format_of(const char *path)
{
    unsigned char head[LOG_FILE_HEAD_SIZE];
    size_t n;
    return read_head(path, head, &n, NULL) == STATUS_OK ? recognise(head, n) : NULL;
}

bool log_file_is_gzip(const char *path)
{
    unsigned char head[LOG_FILE_HEAD_SIZE];
    size_t n;
    return read_head(path, head, &n, NULL) == STATUS_OK && n >= 2 && head[0] == 0x1f &&
           head[1] == 0x8b;
}

/* Unlike log_format_of(), this function says what is wrong with the file. */
status log_file_open(struct log_file **file, const char *path, struct err *err)
{
    unsigned char head[LOG_FILE_HEAD_SIZE];
    /* The head is read once to choose the format; the format then opens the file by itself. */
    size_t n;
    const status s = read_head(path, head, &n, err);
    if (s != STATUS_OK) {
        return s;
    }
    const struct log_format *format = recognise(head, n);
    if (format == NULL) {
        return err_set(err, STATUS_INVALID, "%s: the format is not supported; expected one of %s",
                       path, log_format_names());
    }
    return format->open(file, path, err);
}

void log_file_close(struct log_file *file)
{
    if (file != NULL) {
        file->format->close(file);
    }
}

/* At least 1 for the formats with one recording in each file. */
uint64_t log_file_recordings(const struct log_file *file)
{
    return file->format->n_recordings(file);
}

status log_file_describe(struct log_file *file, uint64_t recording_i, struct recording *recording,
                         struct err *err)
{
    /* An index out of range is a mistake of the caller and not of the file. */
    ASSERT(recording_i < log_file_recordings(file));
    recording_clear(recording);
    return file->format->describe(file, recording_i, recording, err);
}

/* Checks a column and a range of rows for all formats: the column may come from a mapping. */
static status check_range(const struct recording_column *column, uint64_t first, uint64_t n,
                          struct err *err)
{
    if (column->kind != RECORDING_NUMBERS) {
        return err_set(err, STATUS_INVALID, "%s: does not hold numbers", column->name);
    }
    /* The second condition avoids the overflow of first + n. */
    if (first > column->rows || n > column->rows - first) {
        return err_set(err, STATUS_INVALID, "%s: has %" PRIu64 " rows, expected at least %" PRIu64,
                       column->name, column->rows, first + n);
    }
    return STATUS_OK;
}

status log_file_read(struct log_file *file, uint64_t recording_i,
                     const struct recording_column *column, uint64_t first, uint64_t n,
                     double *values, struct err *err)
{
    ASSERT(recording_i < log_file_recordings(file));
    const status s = check_range(column, first, n, err);
    /* The format can rely on the range, and does not check it again. */
    return s == STATUS_OK ? file->format->read(file, recording_i, column, first, n, values, err)
                          : s;
}

status log_file_read_floats(struct log_file *file, uint64_t recording_i,
                            const struct recording_column *column, uint64_t first, uint64_t n,
                            float *values, struct err *err)
{
    ASSERT(recording_i < log_file_recordings(file));
    if (file->format->read_floats == NULL) {
        return STATUS_NOT_FOUND;
    }
    const status s = check_range(column, first, n, err);
    return s == STATUS_OK
               ? file->format->read_floats(file, recording_i, column, first, n, values, err)
               : s;
}

/* Most formats have nothing to say. */
void log_file_notes(const struct log_file *file, bool warnings, struct text *notes)
{
    if (file->format->notes != NULL) {
        file->format->notes(file, warnings, notes);
    }
}
