/* Names, types and levels of the leaves of a Parquet schema.
 *
 * carquet lists the elements of the tree depth first, and gives the path of each leaf. The groups
 * on a path follow from both: those that the list has since the leaf before are the last ones of
 * the path, and the others are shared with that leaf. */
#include "common/logs/files/parquet_columns.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

#define DEPTH_MAX 128 /* carquet refuses schemas that are deeper than 100 */

/* The path of the current leaf, as elements of the schema. */
struct walk {
    const carquet_schema_t *schema;
    int32_t element_i; /* the next element of the list */
    int32_t depth;
    const carquet_schema_node_t *path[DEPTH_MAX];
    const char *names[DEPTH_MAX];
};

/* Moves to the next leaf of the list, which is `leaf_i`. Returns false if its path does not fit the
 * list, or lacks a name. */
static bool next_leaf(struct walk *walk, int32_t leaf_i)
{
    /* Groups come before the leaf. */
    const int32_t first = walk->element_i;
    const carquet_schema_node_t *node = carquet_schema_get_element(walk->schema, first);
    while (node != NULL && !carquet_schema_node_is_leaf(node)) {
        node = carquet_schema_get_element(walk->schema, ++walk->element_i);
    }
    const int32_t depth = carquet_schema_column_path(walk->schema, leaf_i, walk->names, DEPTH_MAX);
    const int32_t fresh = ++walk->element_i - first;
    if (node == NULL || depth <= 0 || depth >= DEPTH_MAX || fresh > depth ||
        depth - fresh > walk->depth) {
        return false;
    }

    /* The groups that are shared with the leaf before stay where they are. */
    for (int32_t i = 0; i < fresh; i++) {
        walk->path[depth - fresh + i] = carquet_schema_get_element(walk->schema, first + i);
    }
    for (int32_t i = 0; i < depth; i++) {
        if (walk->names[i] == NULL) { /* carquet_schema_node_name would promise that it is not */
            return false;
        }
    }
    walk->depth = depth;
    return true;
}

/* Stores the levels of the leaf. Returns false if they are not those with which carquet reads. */
static bool find_levels(const struct walk *walk, struct parquet_column *column)
{
    for (int32_t i = 0; i < walk->depth; i++) {
        const carquet_field_repetition_t repetition = carquet_schema_node_repetition(walk->path[i]);
        column->definition_max += repetition != CARQUET_REPETITION_REQUIRED;
        if (repetition == CARQUET_REPETITION_REPEATED) {
            column->repetition_max++;
            column->element_definition = column->definition_max;
        }
    }
    return column->definition_max == carquet_schema_max_def_level(walk->schema, column->leaf_i) &&
           column->repetition_max == carquet_schema_max_rep_level(walk->schema, column->leaf_i);
}

/* Appends to `name`, with a separator between parts. Returns false if it does not fit. */
static bool append_name(char name[RECORDING_NAME_SIZE], const char *part)
{
    const size_t n = strlen(name);
    const int length = snprintf(name + n, RECORDING_NAME_SIZE - n, "%s%s", n == 0 ? "" : "/", part);
    return length >= 0 && (size_t)length < RECORDING_NAME_SIZE - n;
}

/* Stores the name of the leaf. `whole` keeps the groups of lists in the name. */
static bool find_name(const struct walk *walk, bool whole, char name[RECORDING_NAME_SIZE])
{
    name[0] = 0;
    bool fits = true;
    for (int32_t i = 0; fits && i < walk->depth; i++) {
        /* A repeated group holds one element, and both have conventional names. A repeated leaf
         * below a group is the element of a list in the older form. */
        const bool repeated =
            carquet_schema_node_repetition(walk->path[i]) == CARQUET_REPETITION_REPEATED;
        if (!repeated || whole || (i == 0 && i + 1 == walk->depth)) {
            fits = append_name(name, walk->names[i]);
        } else {
            i++;
        }
    }
    return fits && name[0] != 0;
}

/* Units per second of a time unit. */
static double units_per_second(carquet_time_unit_t unit)
{
    return unit == CARQUET_TIME_UNIT_MILLIS ? 1e3 : unit == CARQUET_TIME_UNIT_MICROS ? 1e6 : 1e9;
}

/* Finds how the values of a leaf are stored. Returns what a column of them holds. */
static enum recording_kind find_number(const carquet_schema_node_t *node,
                                       struct parquet_column *column)
{
    const carquet_physical_type_t type = carquet_schema_node_physical_type(node);
    const carquet_logical_type_t *logical = carquet_schema_node_logical_type(node);
    const carquet_logical_type_id_t id = logical == NULL ? CARQUET_LOGICAL_UNKNOWN : logical->id;
    const enum element_kind integer =
        id == CARQUET_LOGICAL_INTEGER && !logical->params.integer.is_signed ? ELEMENT_UNSIGNED
                                                                            : ELEMENT_SIGNED;

    /* Decimals would need a scale, and columns of the type null have no values. */
    column->divisor = 1;
    if (id == CARQUET_LOGICAL_DECIMAL || id == CARQUET_LOGICAL_NULL) {
        return RECORDING_OTHER;
    }
    if (id == CARQUET_LOGICAL_TIMESTAMP) {
        column->divisor = units_per_second(logical->params.timestamp.unit);
    } else if (id == CARQUET_LOGICAL_TIME) {
        column->divisor = units_per_second(logical->params.time.unit);
    }
    switch (type) {
    case CARQUET_PHYSICAL_BOOLEAN:
        column->element = element_make(ELEMENT_UNSIGNED, 1);
        return RECORDING_NUMBERS;
    case CARQUET_PHYSICAL_INT32:
        column->element = element_make(integer, 4);
        return RECORDING_NUMBERS;
    case CARQUET_PHYSICAL_INT64:
        column->element = element_make(integer, 8);
        return RECORDING_NUMBERS;
    case CARQUET_PHYSICAL_FLOAT:
        column->element = element_make(ELEMENT_FLOAT, 4);
        return RECORDING_NUMBERS;
    case CARQUET_PHYSICAL_DOUBLE:
        column->element = element_make(ELEMENT_FLOAT, 8);
        return RECORDING_NUMBERS;
    case CARQUET_PHYSICAL_FIXED_LEN_BYTE_ARRAY:
        column->half = true;
        column->element = element_make(ELEMENT_UNSIGNED, 2);
        return id == CARQUET_LOGICAL_FLOAT16 && carquet_schema_node_type_length(node) == 2
                   ? RECORDING_NUMBERS
                   : RECORDING_OTHER;
    case CARQUET_PHYSICAL_BYTE_ARRAY:
        return id == CARQUET_LOGICAL_STRING || id == CARQUET_LOGICAL_ENUM ||
                       id == CARQUET_LOGICAL_JSON
                   ? RECORDING_TEXT
                   : RECORDING_OTHER;
    case CARQUET_PHYSICAL_INT96: /* timestamps in an obsolete form */
        break;
    }
    return RECORDING_OTHER;
}

status parquet_columns_of(const carquet_schema_t *schema, uint64_t rows,
                          struct recording *recording, struct parquet_column **out, struct err *err)
{
    const int32_t n = carquet_schema_num_columns(schema);
    if (n < 1 || n > (int32_t)RECORDING_COLUMNS_MAX || carquet_schema_num_elements(schema) < 2) {
        return err_set(err, STATUS_INVALID, "%d columns, expected 1..%u", n, RECORDING_COLUMNS_MAX);
    }
    struct parquet_column *columns = mem_array((size_t)n, sizeof *columns);
    if (columns == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%d columns", n);
    }

    /* Element 0 is the root, which has no name of its own. */
    status s = STATUS_OK;
    struct walk walk = {.schema = schema, .element_i = 1};
    for (int32_t i = 0; s == STATUS_OK && i < n; i++) {
        columns[i].leaf_i = i;
        if (!next_leaf(&walk, i) || !find_levels(&walk, &columns[i])) {
            s = err_set(err, STATUS_CORRUPT, "the schema is damaged at column %d", i);
            break;
        }
        /* The key and the value of a map have the same short name. */
        char name[RECORDING_NAME_SIZE];
        if (!find_name(&walk, false, name) || recording_find(recording, name) != NULL) {
            if (!find_name(&walk, true, name)) {
                s = err_set(err, STATUS_INVALID, "column %d: no name, or longer than %u bytes", i,
                            RECORDING_NAME_SIZE - 1);
                break;
            }
        }
        const enum recording_kind kind = find_number(walk.path[walk.depth - 1], &columns[i]);
        s = recording_add(recording, name, kind, 1, rows, err);
    }
    if (s != STATUS_OK) {
        mem_free(columns);
        return s;
    }
    *out = columns;
    return STATUS_OK;
}

bool parquet_is_float(const struct parquet_column *column)
{
    return column->element.kind == ELEMENT_FLOAT && column->element.size == sizeof(float) &&
           column->divisor == 1;
}

void parquet_convert(const struct parquet_column *column, const void *stored, uint64_t n,
                     double *values)
{
    if (column->half) {
        elements_halves_to_doubles(values, stored, n);
    } else {
        elements_to_doubles(values, stored, n, column->element);
    }
    for (uint64_t i = 0; column->divisor != 1 && i < n; i++) {
        values[i] /= column->divisor;
    }
}
