/* Samples are written with carquet itself. Files of other writers are in the integration tests. */
#include "tests/lib/parquet_samples.h"

#include <stdio.h>
#include <stdlib.h>

#define ROWS (PARQUET_SAMPLE_ROWS / PARQUET_SAMPLE_GROUPS)

static void must(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "parquet sample: %s\n", what);
        abort();
    }
}

static carquet_schema_t *make_schema(void)
{
    carquet_schema_t *schema = carquet_schema_create(NULL);
    const carquet_logical_type_t text = {.id = CARQUET_LOGICAL_STRING};
    must(schema != NULL &&
             carquet_schema_add_column(schema, "x", CARQUET_PHYSICAL_DOUBLE, NULL,
                                       CARQUET_REPETITION_REQUIRED, 0, 0) == CARQUET_OK &&
             carquet_schema_add_list(schema, "q", CARQUET_PHYSICAL_FLOAT, NULL,
                                     CARQUET_REPETITION_OPTIONAL, 0, 0) >= 0 &&
             carquet_schema_add_column(schema, "count", CARQUET_PHYSICAL_INT64, NULL,
                                       CARQUET_REPETITION_OPTIONAL, 0, 0) == CARQUET_OK &&
             carquet_schema_add_column(schema, "ok", CARQUET_PHYSICAL_BOOLEAN, NULL,
                                       CARQUET_REPETITION_REQUIRED, 0, 0) == CARQUET_OK &&
             carquet_schema_add_column(schema, "name", CARQUET_PHYSICAL_BYTE_ARRAY, &text,
                                       CARQUET_REPETITION_REQUIRED, 0, 0) == CARQUET_OK,
         "schema");
    return schema;
}

/* Writes rows first .. first + ROWS. */
static void write_group(carquet_writer_t *writer, int first)
{
    double x[ROWS];
    float q[3 * ROWS];
    int32_t offsets[ROWS + 1];
    int64_t count[ROWS];
    int16_t levels[ROWS];
    uint8_t ok[ROWS];
    carquet_byte_array_t name[ROWS];
    static uint8_t text[] = "text";
    int n_count = 0;
    for (int i = 0; i < ROWS; i++) {
        const int row = first + i;
        x[i] = row / 4.0;
        q[3 * i] = (float)row;
        q[3 * i + 1] = (float)row + 0.5f;
        q[3 * i + 2] = (float)-row;
        offsets[i] = 3 * i;
        levels[i] = row % 5 != 0;
        if (levels[i] != 0) {
            count[n_count++] = row;
        }
        ok[i] = row % 3 == 0;
        name[i] = (carquet_byte_array_t){text, 4};
    }
    offsets[ROWS] = 3 * ROWS;
    must(carquet_writer_write_batch(writer, 0, x, ROWS, NULL, NULL) == CARQUET_OK &&
             carquet_writer_write_list_column(writer, 1, ROWS, offsets, NULL, q, NULL, NULL) ==
                 CARQUET_OK &&
             carquet_writer_write_batch(writer, 2, count, ROWS, levels, NULL) == CARQUET_OK &&
             carquet_writer_write_batch(writer, 3, ok, ROWS, NULL, NULL) == CARQUET_OK &&
             carquet_writer_write_batch(writer, 4, name, ROWS, NULL, NULL) == CARQUET_OK,
         "rows");
}

void parquet_sample_write(const char *path, const struct parquet_sample *sample)
{
    carquet_schema_t *schema = make_schema();
    carquet_writer_options_t options;
    carquet_writer_options_init(&options);
    options.compression = sample->compression;
    options.data_page_version = sample->page_version;
    options.write_crc = sample->checksums;
    options.async_io = false;
    carquet_writer_t *writer = carquet_writer_create(path, schema, &options, NULL);
    must(writer != NULL, path);
    for (int i = 0; sample->dictionary && i < 5; i++) {
        if (i != 3) { /* booleans have no dictionary */
            must(carquet_writer_set_column_encoding(writer, i, CARQUET_ENCODING_RLE_DICTIONARY) ==
                     CARQUET_OK,
                 "dictionary");
        }
    }
    for (int i = 0; i < PARQUET_SAMPLE_GROUPS; i++) {
        must(i == 0 || carquet_writer_new_row_group(writer) == CARQUET_OK, "row group");
        write_group(writer, i * ROWS);
    }
    must(carquet_writer_close(writer) == CARQUET_OK, "close");
    carquet_schema_free(schema);
}
