/* The columns of an Arrow file, from its schema.
 *
 * A field of numbers is a column, a field of a struct is called "struct/field", and a list of fixed
 * size is a column with several values per row. Every field of the tree, with its children after it,
 * has one node and its buffers in each record batch: first the bits that say which values are
 * present, then the values. Source: Arrow columnar format, "Recordbatch message",
 * https://arrow.apache.org/docs/format/Columnar.html */
#ifndef HINDCAST_LOGS_ARROW_COLUMNS_H
#define HINDCAST_LOGS_ARROW_COLUMNS_H

#include "common/base/elements.h"
#include "common/logs/columns/recording.h"
#include "common/logs/files/flatbuffer.h"

#define ARROW_DEPTH_MAX 8 /* nested fields of a column that can be read */

/* A field on the way from the top of the schema to the values. */
struct arrow_level {
    uint32_t node_i;
    uint32_t present_i; /* number of the buffer of its bits */
    uint32_t slots;     /* values per row */
};

struct arrow_column {
    uint32_t n_levels;
    struct arrow_level levels[ARROW_DEPTH_MAX];
    uint32_t values_i;      /* number of the buffer of the values */
    struct element element; /* ELEMENT_NONE: one bit for each value */
    bool half;              /* floats of 16 bits, which `element` has as integers */
    double divisor;         /* timestamps and times: units per second; others: 1 */
};

/* Adds a column with the given number of rows to the empty `recording` for each leaf of the schema,
 * and stores them in *columns (recording->n), which the caller releases with mem_free. Returns
 * INVALID if there is a type whose buffers are not known. */
status arrow_columns_of(const struct flatbuffer *buffer, flatbuffer_table schema, uint64_t rows,
                        struct recording *recording, struct arrow_column **columns,
                        struct err *err) MUST_CHECK;

#endif
