/* The file and the recording that are being read, of a list of files.
 *
 * One file is open at a time, and its current recording stays described, so reading in order opens
 * each file once. Files of formats that read a whole file when they open it (CSV) stay open as long
 * as there is memory.
 *
 * One thread at a time. */
#ifndef HINDCAST_LOGS_LOGS_CURSOR_H
#define HINDCAST_LOGS_LOGS_CURSOR_H

#include "common/logs/episodes/logs_list.h"
#include "common/logs/files/log_file.h"
#include "common/logs/mapping/mapping.h"
#include "common/logs/mapping/resample.h"

/* Initialise with {0} and set `files`. */
struct logs_cursor {
    const struct logs_list *files;
    /* Files are opened as this mapping resamples them; NULL: as they are. Set by
     * logs_cursor_use_mapping. */
    const struct mapping *mapping;
    struct resample_findings *findings; /* what opening a file finds is added to them, NULL: it is
                                           not */

    struct log_file *open; /* the open file, of path open_i; NULL if none is open */
    size_t open_i;
    struct log_file **kept; /* (files->n) files that stay open, NULL: none of them */
    uint64_t *kept_sizes;   /* (files->n) bytes of each */
    uint64_t kept_bytes;

    struct recording recording; /* columns of recording_i of the open file, if `described` */
    bool described;
    uint64_t recording_i;

    union {
        double *values; /* what logs_cursor_read has read last */
        float *floats;  /* what logs_cursor_read_floats has read last */
    };
    size_t values_capacity;
};

void logs_cursor_fini(struct logs_cursor *cursor);

/* Opens files by another mapping from now on; it must outlive their use. */
void logs_cursor_use_mapping(struct logs_cursor *cursor, const struct mapping *mapping);

/* Opens file i, unless it is open. It stays open until another file is needed. */
status logs_cursor_file(struct logs_cursor *cursor, size_t file_i, struct log_file **file,
                        struct err *err) MUST_CHECK;
/* Opens the file and describes the recording in cursor->recording, unless that is already done. */
status logs_cursor_seek(struct logs_cursor *cursor, size_t file_i, uint64_t recording_i,
                        struct err *err) MUST_CHECK;
/* Reads rows first .. first + n of a column of the current recording into cursor->values
 * (n, width), which is valid until the next call. */
status logs_cursor_read(struct logs_cursor *cursor, const struct recording_column *column,
                        uint64_t first, uint64_t n, struct err *err) MUST_CHECK;
/* Reads them into cursor->floats (n, width), which shares its memory with cursor->values. Returns
 * NOT_FOUND, and sets no error, if they are not stored as floats of 32 bits. */
status logs_cursor_read_floats(struct logs_cursor *cursor, const struct recording_column *column,
                               uint64_t first, uint64_t n, struct err *err) MUST_CHECK;
/* Makes room for n values in cursor->values. */
status logs_cursor_reserve(struct logs_cursor *cursor, uint64_t n, const char *what,
                           struct err *err) MUST_CHECK;

#endif
