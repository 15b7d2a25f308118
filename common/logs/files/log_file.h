/* A log file in one of several formats, read as a list of recordings.
 *
 * A format is one source file that fills a `struct log_format`, and one line in log_file.c. It
 * recognises its files by their contents, not by their names. Files are not trusted: every size is
 * checked before memory is allocated, and the values of one file take at most LOG_FILE_BYTES_MAX.
 *
 * A file must be used by one thread at a time. */
#ifndef HINDCAST_LOGS_LOG_FILE_H
#define HINDCAST_LOGS_LOG_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/text.h"
#include "common/logs/columns/recording.h"

#define LOG_FILE_HEAD_SIZE 4096u        /* bytes that a format sees to recognise a file */
#define LOG_FILE_BYTES_MAX (2ull << 30) /* bytes of one file's values in memory */

/* The first member of every format's own structure. */
struct log_file {
    const struct log_format *format;
};

struct log_format {
    const char *name; /* used in mappings and messages, such as "csv" */
    const char *what; /* a description for users, such as "text with a header row" */
    /* Returns whether a file with these first n bytes has this format. n is LOG_FILE_HEAD_SIZE, or
     * less if the file is shorter. */
    bool (*recognise)(const unsigned char *head, size_t n);
    /* Opens a file. Errors (INVALID, CORRUPT, NOT_FOUND) name it. */
    status (*open)(struct log_file **file, const char *path, struct err *err);
    void (*close)(struct log_file *file);
    uint64_t (*n_recordings)(const struct log_file *file);
    /* Adds the columns of recording i, without values, to the empty `recording`. */
    status (*describe)(struct log_file *file, uint64_t recording_i, struct recording *recording,
                       struct err *err);
    /* Reads rows first .. first + n of a column from `describe` into values (n, width). Missing
     * values are NaN. */
    status (*read)(struct log_file *file, uint64_t recording_i,
                   const struct recording_column *column, uint64_t first, uint64_t n,
                   double *values, struct err *err);
    /* Reads the same rows as floats, from a column whose values are stored as floats of 32 bits.
     * Returns NOT_FOUND, and sets no error, for other columns. NULL: it would for all. */
    status (*read_floats)(struct log_file *file, uint64_t recording_i,
                          const struct recording_column *column, uint64_t first, uint64_t n,
                          float *values, struct err *err);
    /* Stores the text of an attribute of a recording. NOT_FOUND. NULL: the format has none. */
    status (*attribute)(struct log_file *file, uint64_t recording_i, const char *name, char *value,
                        size_t size);
    /* Bytes that an open file takes, for formats that read a whole file when it is opened: those
     * files are kept open while there is memory. NULL: opening a file again costs little. */
    uint64_t (*memory)(const struct log_file *file);
    /* Appends lines, each ending in a newline, about what the file holds and columns do not show.
     * `warnings`: only what the user must know even where the mapping is confirmed, such as data
     * that is missing. NULL: there is never anything to say. */
    void (*notes)(const struct log_file *file, bool warnings, struct text *notes);
};

/* Returns the format of a file, or NULL if the file has none of the formats or cannot be read. */
const struct log_format *log_format_of(const char *path);
/* Returns whether the file begins like one that gzip has made, which no format reads. */
bool log_file_is_gzip(const char *path);
/* Returns the format of this name, or NULL. */
const struct log_format *log_format_named(const char *name);
/* Returns the names of all formats, separated by commas, for messages. */
const char *log_format_names(void);

/* Opens a file. Returns NOT_FOUND or IO if it cannot be read, INVALID if no format recognises
 * it. */
status log_file_open(struct log_file **file, const char *path, struct err *err) MUST_CHECK;
/* NULL is allowed. */
void log_file_close(struct log_file *file);
/* The functions below call those of the format; see struct log_format. */
uint64_t log_file_recordings(const struct log_file *file);
/* Replaces the contents of `recording`. */
status log_file_describe(struct log_file *file, uint64_t recording_i, struct recording *recording,
                         struct err *err) MUST_CHECK;
/* Returns INVALID if the column does not hold numbers or does not have these rows. */
status log_file_read(struct log_file *file, uint64_t recording_i,
                     const struct recording_column *column, uint64_t first, uint64_t n,
                     double *values, struct err *err) MUST_CHECK;
/* Returns NOT_FOUND, and sets no error, if the values are not stored as floats of 32 bits. */
status log_file_read_floats(struct log_file *file, uint64_t recording_i,
                            const struct recording_column *column, uint64_t first, uint64_t n,
                            float *values, struct err *err) MUST_CHECK;
void log_file_notes(const struct log_file *file, bool warnings, struct text *notes);

/* The formats. */
extern const struct log_format log_format_csv;
extern const struct log_format log_format_npz;
extern const struct log_format log_format_tfrecord;
extern const struct log_format log_format_parquet;
extern const struct log_format log_format_arrow;
extern const struct log_format log_format_hdf5;
extern const struct log_format log_format_mcap;

#endif
