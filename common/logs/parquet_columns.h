/* The columns of a Parquet file, from its schema.
 *
 * A Parquet file stores the leaves of a tree. A leaf becomes a column named by its path: "a" or,
 * in a struct, "a/b". The groups "list" and "element" below a list are not part of the name. A list
 * of numbers is a column with several values per row; so is a list of lists.
 *
 * For every stored value there is a definition level, which counts the optional or repeated nodes
 * of the path that are present, and a repetition level, which is 0 where a new row begins (Apache
 * Parquet format, "Nested Encoding"). */
#ifndef HINDCAST_LOGS_PARQUET_COLUMNS_H
#define HINDCAST_LOGS_PARQUET_COLUMNS_H

#include <carquet/carquet.h>

#include "common/logs/recording.h"

/* How the values of a leaf are stored. */
enum parquet_number {
    PARQUET_BOOLEAN,
    PARQUET_INT32,
    PARQUET_UINT32,
    PARQUET_INT64,
    PARQUET_UINT64,
    PARQUET_FLOAT16,
    PARQUET_FLOAT,
    PARQUET_DOUBLE,
};

struct parquet_column {
    int32_t leaf_i; /* carquet's number of the column */
    enum parquet_number number;
    double divisor; /* timestamps and times: units per second; others: 1 */
    int32_t definition_max;
    int32_t repetition_max;     /* 0: one value per row */
    int32_t element_definition; /* from this level on, a list has an element, which may be null */
};

/* Adds a column to the empty `recording` for each leaf of the schema, with width 1 and the given
 * number of rows, and stores the leaves in *columns (recording->n), which the caller releases with
 * mem_free. Returns CORRUPT if the schema is no tree of named columns. */
status parquet_columns_of(const carquet_schema_t *schema, uint64_t rows,
                          struct recording *recording, struct parquet_column **columns,
                          struct err *err) MUST_CHECK;

/* Converts n stored values to double. */
void parquet_convert(const struct parquet_column *column, const void *stored, uint64_t n,
                     double *values);

#endif
