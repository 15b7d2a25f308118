/* One file of logs in somebody else's format, as a list of recordings.
 *
 * A format is one source file that fills a `struct log_format`, and one line in log_file.c. It
 * recognises its files by their contents, not by their names. Files are foreign: every size is
 * checked before memory is taken, and a file can make a reader hold LOG_FILE_BYTES_MAX at most.
 *
 * A file is used by one thread at a time. */
#ifndef HINDCAST_LOGS_LOG_FILE_H
#define HINDCAST_LOGS_LOG_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/logs/recording.h"

#define LOG_FILE_HEAD_SIZE 4096u        /* bytes that a format sees to recognise a file */
#define LOG_FILE_BYTES_MAX (2ull << 30) /* of one file's values in memory */
#define LOG_FILE_ROWS_MAX  100000000ull /* of one recording */

/* Every format's own structure begins with this. */
struct log_file {
    const struct log_format *format;
};

struct log_format {
    const char *name; /* "csv": in mappings and messages */
    const char *what; /* "text with a header row": for people */
    /* Does a file that begins with these n bytes (the whole file where it is shorter) have this
     * format? */
    bool (*recognise)(const unsigned char *head, size_t n);
    /* Opens it. INVALID, CORRUPT, NOT_FOUND name the file. */
    status (*open)(struct log_file **file, const char *path, struct err *err);
    void (*close)(struct log_file *file);
    uint64_t (*n_recordings)(const struct log_file *file);
    /* `recording` (cleared here) <- the columns of recording i, without values. */
    status (*describe)(struct log_file *file, uint64_t recording_i, struct recording *recording,
                       struct err *err);
    /* values (n, width) <- rows first .. first + n of a column that `describe` gave. Missing values
     * are NaN. */
    status (*read)(struct log_file *file, uint64_t recording_i,
                   const struct recording_column *column, uint64_t first, uint64_t n,
                   double *values, struct err *err);
};

/* The format of a file; NULL where it is none of those known. */
const struct log_format *log_format_of(const char *path);
/* By name; NULL where there is none. */
const struct log_format *log_format_named(const char *name);
/* "csv, npz, hdf5": for messages. */
const char *log_format_names(void);

/* NOT_FOUND, IO: the file cannot be read. INVALID: no format recognises it. */
status log_file_open(struct log_file **file, const char *path, struct err *err) MUST_CHECK;
/* The rest calls the format. NULL is fine to close. */
void log_file_close(struct log_file *file);
uint64_t log_file_recordings(const struct log_file *file);
status log_file_describe(struct log_file *file, uint64_t recording_i, struct recording *recording,
                         struct err *err) MUST_CHECK;
/* INVALID where the rows are not in the column, or the column has no numbers. */
status log_file_read(struct log_file *file, uint64_t recording_i,
                     const struct recording_column *column, uint64_t first, uint64_t n,
                     double *values, struct err *err) MUST_CHECK;

/* The formats. */
extern const struct log_format log_format_csv;
extern const struct log_format log_format_npz;
extern const struct log_format log_format_hdf5;

#endif
