/* Puts the values of one row group of a Parquet column into rows, batch by batch.
 *
 * Every batch has the values that are present and the levels of all values (parquet_columns.h).
 * Null, and a list that is missing, become NaN. All lists must have as many elements as the column
 * is wide. One thread at a time. */
#ifndef HINDCAST_LOGS_PARQUET_ROWS_H
#define HINDCAST_LOGS_PARQUET_ROWS_H

#include <stdint.h>

#include "common/logs/columns/recording.h"
#include "common/logs/files/parquet_columns.h"

#define PARQUET_BATCH 16384u /* values that are decoded at once */

/* What carquet has decoded: n levels of each kind, which are in the range that the column has, and
 * the values that are present, as parquet_convert takes them. */
struct parquet_batch {
    uint32_t n; /* at most PARQUET_BATCH */
    const void *stored;
    const int16_t *definitions, *repetitions;
};

struct parquet_rows {
    const struct parquet_column *column;
    const struct recording_column *described; /* its name and width */
    uint64_t first_row;                       /* of the row group in the file, for messages */
    uint64_t n;                               /* rows of the row group */
    /* (n, width), one of the two: floats where parquet_is_float says so */
    float *floats;
    double *values;
    double *numbers; /* scratch memory (PARQUET_BATCH) */

    uint64_t begun;    /* rows so far; the current one is begun - 1 */
    uint64_t elements; /* of the current row */
};

/* Adds the next batch. Returns INVALID where a row has another number of elements than the width,
 * CORRUPT where there are more rows than n or the first one is no beginning. */
status parquet_rows_add(struct parquet_rows *rows, const struct parquet_batch *batch,
                        struct err *err) MUST_CHECK;
/* Returns INVALID or CORRUPT if the last row is not complete, or if rows are missing. */
status parquet_rows_end(const struct parquet_rows *rows, struct err *err) MUST_CHECK;

#endif
