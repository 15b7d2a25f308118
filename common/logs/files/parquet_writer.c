/* The fields are top-level columns or lists in the standard form of three levels. All values are
 * present. */
#include "common/logs/files/parquet_writer.h"

#include <carquet/carquet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/files/carquet_memory.h"

static carquet_physical_type_t type_of(const struct parquet_field *field)
{
    switch (field->kind) {
    case PARQUET_FLOAT:
        return CARQUET_PHYSICAL_FLOAT;
    case PARQUET_INT64:
        return CARQUET_PHYSICAL_INT64;
    case PARQUET_BOOLEAN:
        return CARQUET_PHYSICAL_BOOLEAN;
    case PARQUET_TEXT:
        break;
    }
    return CARQUET_PHYSICAL_BYTE_ARRAY;
}

/* Returns the schema, or NULL. */
static carquet_schema_t *make_schema(const struct parquet_field *fields, size_t n)
{
    const carquet_logical_type_t text = {.id = CARQUET_LOGICAL_STRING};
    carquet_schema_t *schema = carquet_schema_create(NULL);
    bool made = schema != NULL;
    for (size_t i = 0; made && i < n; i++) {
        const carquet_logical_type_t *logical = fields[i].kind == PARQUET_TEXT ? &text : NULL;
        if (fields[i].width == 0) {
            made = carquet_schema_add_column(schema, fields[i].name, type_of(&fields[i]), logical,
                                             CARQUET_REPETITION_REQUIRED, 0, 0) == CARQUET_OK;
        } else {
            made = carquet_schema_add_list(schema, fields[i].name, type_of(&fields[i]), logical,
                                           CARQUET_REPETITION_OPTIONAL, 0, 0) >= 0;
        }
    }
    if (!made) {
        carquet_schema_free(schema);
        return NULL;
    }
    return schema;
}

/* Writes the `count` values of a field, of which carquet wants texts with their lengths. */
static bool write_values(carquet_writer_t *writer, int32_t field_i,
                         const struct parquet_field *field, uint64_t rows, const void *values)
{
    if (field->width == 0) {
        return carquet_writer_write_batch(writer, field_i, values, (int64_t)rows, NULL, NULL) ==
               CARQUET_OK;
    }
    int32_t *offsets = mem_array(rows + 1, sizeof *offsets);
    for (uint64_t i = 0; offsets != NULL && i <= rows; i++) {
        offsets[i] = (int32_t)(i * field->width);
    }
    const bool written =
        offsets != NULL && carquet_writer_write_list_column(writer, field_i, (int64_t)rows, offsets,
                                                            NULL, values, NULL, NULL) == CARQUET_OK;
    mem_free(offsets);
    return written;
}

static bool write_field(carquet_writer_t *writer, int32_t field_i,
                        const struct parquet_field *field, uint64_t rows)
{
    if (field->kind != PARQUET_TEXT) {
        return write_values(writer, field_i, field, rows, field->values);
    }
    const uint64_t count = rows * (field->width == 0 ? 1 : field->width);
    const char *const *texts = field->values;
    carquet_byte_array_t *arrays = mem_array(count + 1, sizeof *arrays);
    for (uint64_t i = 0; arrays != NULL && i < count; i++) {
        /* carquet does not change what it writes. */
        arrays[i].data = (uint8_t *)(uintptr_t)texts[i];
        arrays[i].length = (int32_t)strlen(texts[i]);
    }
    const bool written = arrays != NULL && write_values(writer, field_i, field, rows, arrays);
    mem_free(arrays);
    return written;
}

/* Writes the table to `file`. On failure `error` says why. */
static bool write_table(FILE *file, const struct parquet_field *fields, size_t n, uint64_t rows,
                        const char *key, const char *value, carquet_error_t *error)
{
    carquet_writer_options_t options;
    carquet_writer_options_init(&options);
    options.compression = CARQUET_COMPRESSION_SNAPPY;
    options.async_io = false;
    options.created_by = "hindcast " HINDCAST_VERSION;
    carquet_schema_t *schema = make_schema(fields, n);
    carquet_writer_t *writer =
        schema == NULL ? NULL : carquet_writer_create_file(file, schema, &options, error);
    bool written = writer != NULL;
    if (written && key != NULL) {
        written = carquet_writer_add_metadata(writer, key, value) == CARQUET_OK;
    }
    for (size_t i = 0; written && i < n; i++) {
        written = write_field(writer, (int32_t)i, &fields[i], rows);
    }
    if (written) {
        written = carquet_writer_close(writer) == CARQUET_OK;
    } else {
        carquet_writer_abort(writer);
    }
    carquet_schema_free(schema);
    return written;
}

status parquet_write(const char *path, const struct parquet_field *fields, size_t n, uint64_t rows,
                     const char *key, const char *value, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (rows > INT32_MAX / (fields[i].width + 1ull)) {
            return err_set(err, STATUS_INVALID, "%s: column %s: too many values for a file", path,
                           fields[i].name);
        }
    }
    carquet_memory_limit();
    char *bytes = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&bytes, &size);
    if (file == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    carquet_error_t error = CARQUET_ERROR_INIT;
    const bool written = write_table(file, fields, n, rows, key, value, &error);
    const bool closed = fclose(file) == 0;
    status s;
    if (written && closed) {
        const struct file_part part = {.bytes = bytes, .size = size};
        s = file_replace(path, &part, 1, err);
    } else {
        s = err_set(err, STATUS_NO_MEMORY, "%s: cannot be made: %s", path,
                    error.message[0] != 0 ? error.message : "out of memory");
    }
    free(bytes);
    return s;
}
