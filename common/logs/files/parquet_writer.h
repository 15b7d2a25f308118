/* Writes a table as a Parquet file, by the library carquet. */
#ifndef HINDCAST_LOGS_PARQUET_WRITER_H
#define HINDCAST_LOGS_PARQUET_WRITER_H

#include <stdint.h>

#include "common/base/status.h"

enum parquet_kind {
    PARQUET_FLOAT,   /* float */
    PARQUET_INT64,   /* int64_t */
    PARQUET_BOOLEAN, /* uint8_t, 0 or 1 */
    PARQUET_TEXT,    /* const char *, UTF-8 */
};

struct parquet_field {
    const char *name;
    enum parquet_kind kind;
    uint32_t width;     /* 0: one value per row; otherwise a list of this many values */
    const void *values; /* (rows, width) of the C type of `kind` */
};

/* Writes n fields of `rows` rows, compressed by Snappy, with one entry of metadata (`key` may be
 * NULL). The file is made in memory, and then written aside, synced and renamed. Returns INVALID if
 * there are too many values, or if this build has no carquet. */
status parquet_write(const char *path, const struct parquet_field *fields, size_t n, uint64_t rows,
                     const char *key, const char *value, struct err *err) MUST_CHECK;

#endif
