/* The list of a recording's columns. Logs of robots have tens of columns, so a name is found by a
 * linear search. The order of the columns is that in which the format has added them, and names are
 * unique. */
#include "common/logs/columns/recording.h"

#include <string.h>

#include "common/base/memory.h"

/* Leaves an empty recording, which may be filled again. */
void recording_fini(struct recording *recording)
{
    mem_free(recording->columns);
    *recording = (struct recording){0};
}

void recording_clear(struct recording *recording)
{
    /* The names stay in memory, but nothing finds them any more. */
    recording->n = 0;
}

const struct recording_column *recording_find(const struct recording *recording, const char *name)
{
    for (uint32_t i = 0; i < recording->n; i++) {
        if (strcmp(recording->columns[i].name, name) == 0) {
            return &recording->columns[i];
        }
    }
    return NULL;
}

status recording_add(struct recording *recording, const char *name, enum recording_kind kind,
                     uint32_t width, uint64_t rows, struct err *err)
{
    /* A mapping refers to columns by name, so names must be unique and of limited length. */
    const size_t length = strlen(name);
    if (length == 0 || length >= RECORDING_NAME_SIZE) {
        return err_set(err, STATUS_INVALID,
                       "a column's name has %zu bytes, expected 1..%u: \"%.40s\"", length,
                       RECORDING_NAME_SIZE - 1, name);
    }
    if (recording_find(recording, name) != NULL) {
        return err_set(err, STATUS_INVALID, "two columns are called \"%s\"", name);
    }
    if (recording->n >= RECORDING_COLUMNS_MAX) {
        return err_set(err, STATUS_INVALID, "more than %u columns", RECORDING_COLUMNS_MAX);
    }

    /* Doubling the capacity keeps the cost of adding many columns linear. */
    if (recording->n == recording->capacity) {
        const uint32_t capacity = recording->capacity == 0 ? 16 : 2 * recording->capacity;
        struct recording_column *columns =
            mem_resize(recording->columns, capacity, sizeof *columns);
        if (columns == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "%u columns", capacity);
        }
        recording->columns = columns;
        recording->capacity = capacity;
    }

    /* `index` is the place of the column in its recording, by which a format finds its own data. */
    struct recording_column *column = &recording->columns[recording->n];
    *column = (struct recording_column){
        .kind = kind, .width = width, .rows = rows, .index = recording->n};
    memcpy(column->name, name, length + 1);
    recording->n++;
    return STATUS_OK;
}

status recording_append(struct recording *recording, const struct recording *from, struct err *err)
{
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < from->n; i++) {
        const struct recording_column *column = &from->columns[i];
        s = recording_add(recording, column->name, column->kind, column->width, column->rows, err);
    }
    return s;
}
