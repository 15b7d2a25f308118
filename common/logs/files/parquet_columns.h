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

#include "common/base/elements.h"
#include "common/logs/columns/recording.h"

struct parquet_column {
    int32_t leaf_i;         /* carquet's number of the column */
    struct element element; /* as carquet returns values: booleans have 1 byte */
    bool half;              /* floats of 16 bits, which `element` has as integers */
    double divisor;         /* timestamps and times: units per second; others: 1 */
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

/* Are the values floats of 32 bits that need no conversion? */
bool parquet_is_float(const struct parquet_column *column);

/* Converts n stored values to double. */
void parquet_convert(const struct parquet_column *column, const void *stored, uint64_t n,
                     double *values);

#endif
