/* Walks through the tree of fields and counts nodes and buffers on the way. */
#include "common/logs/files/arrow_columns.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"

/* Arrow's numbers of types (Schema.fbs). */
enum arrow_type {
    ARROW_NULL = 1,
    ARROW_INT,
    ARROW_FLOAT,
    ARROW_BINARY,
    ARROW_UTF8,
    ARROW_BOOL,
    ARROW_DECIMAL,
    ARROW_DATE,
    ARROW_TIME,
    ARROW_TIMESTAMP,
    ARROW_INTERVAL,
    ARROW_LIST,
    ARROW_STRUCT,
    ARROW_UNION,
    ARROW_FIXED_BINARY,
    ARROW_FIXED_LIST,
    ARROW_MAP,
    ARROW_DURATION,
    ARROW_LARGE_BINARY,
    ARROW_LARGE_UTF8,
    ARROW_LARGE_LIST,
};

/* Fields of the tables Field and of the types (Schema.fbs). */
enum { FIELD_NAME, FIELD_NULLABLE, FIELD_TYPE_ID, FIELD_TYPE, FIELD_DICTIONARY, FIELD_CHILDREN };

struct walk {
    const struct flatbuffer *buffer;
    uint64_t rows;
    struct recording *recording;
    struct arrow_column *columns; /* (recording->n) */
    struct err *err;
    uint32_t n_nodes, n_buffers;
    uint32_t n_fields; /* bounds the walk through a buffer that refers to itself */
};

/* The state on the way down. */
struct place {
    char name[RECORDING_NAME_SIZE];
    uint32_t depth;
    struct arrow_level levels[ARROW_DEPTH_MAX + 1];
    uint32_t slots; /* values per row; 0: more than can be read */
    bool readable;  /* no list of variable length and no dictionary on the way */
};

/* Stores the name of a field behind that of its parent. Returns false if it has none, or one that is
 * too long. */
static bool append_name(const struct walk *walk, flatbuffer_table field, struct place *place)
{
    const struct flatbuffer_vector text = flatbuffer_vector(walk->buffer, field, FIELD_NAME, 1);
    const size_t n = strlen(place->name);
    const int length =
        snprintf(place->name + n, sizeof place->name - n, "%s%.*s", n == 0 ? "" : "/", (int)text.n,
                 text.n == 0 ? "" : (const char *)walk->buffer->bytes + text.at);
    return text.n > 0 && text.n < RECORDING_NAME_SIZE && length > 0 &&
           (size_t)length < sizeof place->name - n;
}

/* Finds how the values of a leaf are stored. Returns what its column holds. */
static enum recording_kind find_element(const struct walk *walk, flatbuffer_table type,
                                        int64_t type_id, struct arrow_column *column)
{
    static const double per_second[] = {1, 1e3, 1e6, 1e9};
    const struct flatbuffer *buffer = walk->buffer;
    const int64_t first = flatbuffer_integer(buffer, type, 0, type_id == ARROW_INT ? 4 : 2, 0);
    column->divisor = 1;
    switch (type_id) {
    case ARROW_INT: {
        const bool is_signed = flatbuffer_integer(buffer, type, 1, 1, 0) != 0;
        column->element = element_make(is_signed ? ELEMENT_SIGNED : ELEMENT_UNSIGNED,
                                       first > 0 && first % 8 == 0 ? (uint64_t)first / 8 : 0);
        break;
    }
    case ARROW_FLOAT:
        column->half = first == 0;
        column->element = first == 0 ? element_make(ELEMENT_UNSIGNED, 2)
                                     : element_make(ELEMENT_FLOAT, first == 1 ? 4 : 8);
        break;
    case ARROW_BOOL:
        return RECORDING_NUMBERS;
    case ARROW_TIMESTAMP:
    case ARROW_DURATION: {
        /* Milliseconds are the default unit of durations, and seconds that of timestamps. */
        const int64_t unit =
            flatbuffer_integer(buffer, type, 0, 2, type_id == ARROW_DURATION ? 1 : 0);
        column->element = element_make(ELEMENT_SIGNED, 8);
        if (unit < 0 || unit > 3) {
            return RECORDING_OTHER;
        }
        column->divisor = per_second[unit];
        break;
    }
    case ARROW_UTF8:
    case ARROW_LARGE_UTF8:
        return RECORDING_TEXT;
    default:
        return RECORDING_OTHER;
    }
    return column->element.kind == ELEMENT_NONE ? RECORDING_OTHER : RECORDING_NUMBERS;
}

/* Adds the column of a leaf. Its first buffer is that of the bits. */
static status add_leaf(struct walk *walk, const struct place *place, flatbuffer_table type,
                       int64_t type_id, uint32_t first_buffer)
{
    struct arrow_column column = {.values_i = first_buffer + 1, .n_levels = place->depth};
    enum recording_kind kind = find_element(walk, type, type_id, &column);
    if (!place->readable || place->depth > ARROW_DEPTH_MAX || place->slots == 0) {
        kind = kind == RECORDING_TEXT ? RECORDING_TEXT : RECORDING_OTHER;
    } else {
        memcpy(column.levels, place->levels, sizeof column.levels);
    }
    const status s = recording_add(walk->recording, place->name, kind,
                                   place->slots == 0 ? 1 : place->slots, walk->rows, walk->err);
    if (s != STATUS_OK) {
        return s;
    }
    struct arrow_column *columns = mem_resize(walk->columns, walk->recording->n, sizeof *columns);
    if (columns == NULL) {
        return err_set(walk->err, STATUS_NO_MEMORY, "%u columns", walk->recording->n);
    }
    walk->columns = columns;
    columns[walk->recording->n - 1] = column;
    return STATUS_OK;
}

/* The number of buffers of a field without its children, or -1 if it is not known. */
static int buffers_of(int64_t type_id)
{
    switch (type_id) {
    case ARROW_NULL:
        return 0;
    case ARROW_STRUCT:
    case ARROW_FIXED_LIST:
        return 1;
    case ARROW_BINARY:
    case ARROW_UTF8:
    case ARROW_LARGE_BINARY:
    case ARROW_LARGE_UTF8:
        return 3;
    case ARROW_INT:
    case ARROW_FLOAT:
    case ARROW_BOOL:
    case ARROW_DECIMAL:
    case ARROW_DATE:
    case ARROW_TIME:
    case ARROW_TIMESTAMP:
    case ARROW_INTERVAL:
    case ARROW_LIST:
    case ARROW_FIXED_BINARY:
    case ARROW_MAP:
    case ARROW_DURATION:
    case ARROW_LARGE_LIST:
        return 2;
    default:
        return -1;
    }
}

/* Visits a field and its children, which lie within `parent`. */
static status visit(struct walk *walk, flatbuffer_table field, const struct place *parent,
                    bool named)
{
    struct place place = *parent;
    if (field == 0 || walk->n_fields++ > 2 * RECORDING_COLUMNS_MAX || place.depth > 64 ||
        (named && !append_name(walk, field, &place))) {
        return err_set(walk->err, STATUS_CORRUPT, "the schema is damaged near column \"%s\"",
                       parent->name);
    }
    /* Values of a dictionary are stored elsewhere, and the field has numbers of them. */
    const int64_t type_id = flatbuffer_integer(walk->buffer, field, FIELD_TYPE_ID, 1, 0);
    const flatbuffer_table type = flatbuffer_child(walk->buffer, field, FIELD_TYPE);
    const bool has_dictionary = flatbuffer_child(walk->buffer, field, FIELD_DICTIONARY) != 0;
    const int n_buffers = has_dictionary ? 2 : buffers_of(type_id);
    if (n_buffers < 0) {
        return err_set(walk->err, STATUS_INVALID,
                       "column \"%s\" has a type that cannot be read (number %d)", place.name,
                       (int)type_id);
    }
    const uint32_t first_buffer = walk->n_buffers;
    if (place.depth < ARROW_DEPTH_MAX) {
        place.levels[place.depth] = (struct arrow_level){walk->n_nodes, first_buffer, place.slots};
    }
    place.depth++;
    walk->n_nodes++;
    walk->n_buffers += (uint32_t)n_buffers;
    place.readable = place.readable && !has_dictionary;

    /* What has no children is a leaf. */
    const struct flatbuffer_vector children =
        has_dictionary ? (struct flatbuffer_vector){0, 0}
                       : flatbuffer_vector(walk->buffer, field, FIELD_CHILDREN, 4);
    if (children.n == 0) {
        return add_leaf(walk, &place, type, has_dictionary ? ARROW_UTF8 : type_id, first_buffer);
    }
    if (type_id == ARROW_FIXED_LIST) {
        const int64_t size = flatbuffer_integer(walk->buffer, type, 0, 4, 0);
        const bool fits = size > 0 && place.slots > 0 && size <= RECORDING_WIDTH_MAX / place.slots;
        place.slots = fits ? place.slots * (uint32_t)size : 0;
    } else if (type_id != ARROW_STRUCT) {
        place.readable = false;
    }
    /* The elements of a list have a conventional name. */
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < children.n; i++) {
        s = visit(walk, flatbuffer_element(walk->buffer, children, i), &place,
                  type_id == ARROW_STRUCT || type_id == ARROW_MAP);
    }
    return s;
}

status arrow_columns_of(const struct flatbuffer *buffer, flatbuffer_table schema, uint64_t rows,
                        struct recording *recording, struct arrow_column **columns, struct err *err)
{
    /* Errors are extended by the caller, which may have none. */
    struct walk walk = {.buffer = buffer, .rows = rows, .recording = recording, .err = err};
    const struct flatbuffer_vector fields = flatbuffer_vector(buffer, schema, 1, 4);
    const struct place top = {.slots = 1, .readable = true};
    status s = fields.n == 0 ? err_set(err, STATUS_INVALID, "there is no column") : STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < fields.n; i++) {
        s = visit(&walk, flatbuffer_element(buffer, fields, i), &top, true);
    }
    if (s != STATUS_OK) {
        mem_free(walk.columns);
        return s;
    }
    *columns = walk.columns;
    return STATUS_OK;
}
