/* Most columns have a value for every element of every row. Their batches are recognised by loops
 * that the compiler vectorizes, and are converted in place. All others go element by element. */
#include "common/logs/files/parquet_rows.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Checks that the current row is complete: it has a value for each place, or is missing. */
static status check_row(const struct parquet_rows *rows, struct err *err)
{
    const uint32_t width = rows->described->width;
    if (rows->begun == 0 || rows->elements == 0 || rows->elements == width) {
        return STATUS_OK;
    }
    return err_set(err, STATUS_INVALID,
                   "column %s: row %" PRIu64 " has %" PRIu64 " values, expected %u",
                   rows->described->name, rows->first_row + rows->begun - 1, rows->elements, width);
}

/* ---- batches without gaps ---- */

/* Returns whether all values of the batch are present. */
static bool all_present(const struct parquet_rows *rows, const struct parquet_batch *batch)
{
    /* Levels are at most the largest one. */
    const int16_t max = (int16_t)rows->column->definition_max;
    int16_t low = max;
    for (uint32_t i = 0; i < batch->n; i++) {
        low = batch->definitions[i] < low ? batch->definitions[i] : low;
    }
    return low == max;
}

/* Returns whether rows begin exactly where the values of the row before are complete. */
static bool begins_regularly(const struct parquet_rows *rows, const struct parquet_batch *batch)
{
    const uint32_t width = rows->described->width;
    /* Values that the current row still needs come first. */
    uint64_t i = rows->begun == 0 ? 0 : width - rows->elements;
    int16_t beginnings = 0; /* at most PARQUET_BATCH */
    for (uint32_t k = 0; k < batch->n; k++) {
        beginnings = (int16_t)(beginnings + (batch->repetitions[k] == 0));
    }
    for (; i < batch->n; i += width) {
        if (batch->repetitions[i] != 0) {
            return false;
        }
        beginnings--;
    }
    return beginnings == 0; /* none elsewhere */
}

/* Converts a whole batch into the rows. Returns false, and has done nothing, if it is not a batch
 * of that kind. */
static bool add_regular(struct parquet_rows *rows, const struct parquet_batch *batch)
{
    const uint32_t width = rows->described->width;
    const bool whole = rows->begun == 0 || (rows->elements > 0 && rows->elements <= width);
    const uint64_t before = rows->begun == 0 ? 0 : (rows->begun - 1) * width + rows->elements;
    if (!whole || batch->n == 0 || batch->n > rows->n * width - before ||
        !all_present(rows, batch) || !begins_regularly(rows, batch)) {
        return false;
    }
    if (rows->floats != NULL) {
        memcpy(rows->floats + before, batch->stored, batch->n * sizeof *rows->floats);
    } else {
        parquet_convert(rows->column, batch->stored, batch->n, rows->values + before);
    }
    rows->begun = (before + batch->n - 1) / width + 1;
    rows->elements = before + batch->n - (rows->begun - 1) * width;
    return true;
}

/* ---- all others ---- */

/* Sets value i of the rows. */
static void set_value(struct parquet_rows *rows, uint64_t i, double value)
{
    if (rows->floats != NULL) {
        rows->floats[i] = (float)value;
    } else {
        rows->values[i] = value;
    }
}

/* Begins the next row, without values so far. */
static status begin_row(struct parquet_rows *rows, struct err *err)
{
    const uint32_t width = rows->described->width;
    const status s = check_row(rows, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (rows->begun == rows->n) {
        return err_set(err, STATUS_CORRUPT, "column %s: more than %" PRIu64 " rows",
                       rows->described->name, rows->first_row + rows->n);
    }
    for (uint32_t i = 0; i < width; i++) {
        set_value(rows, rows->begun * width + i, NAN);
    }
    rows->begun++;
    rows->elements = 0;
    return STATUS_OK;
}

/* Converts the values that are present into the scratch memory. */
static void convert_present(const struct parquet_rows *rows, const struct parquet_batch *batch)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < batch->n; i++) {
        n += batch->definitions[i] == rows->column->definition_max;
    }
    parquet_convert(rows->column, batch->stored, n, rows->numbers);
}

status parquet_rows_add(struct parquet_rows *rows, const struct parquet_batch *batch,
                        struct err *err)
{
    ASSERT(batch->n <= PARQUET_BATCH);
    if (add_regular(rows, batch)) {
        return STATUS_OK;
    }
    convert_present(rows, batch);
    const struct parquet_column *column = rows->column;
    const uint32_t width = rows->described->width;
    uint32_t next = 0; /* of the values that are present */
    for (uint32_t i = 0; i < batch->n; i++) {
        if (batch->repetitions[i] == 0) {
            const status s = begin_row(rows, err);
            if (s != STATUS_OK) {
                return s;
            }
        } else if (rows->begun == 0) {
            return err_set(err, STATUS_CORRUPT, "column %s: a row group begins within a row",
                           rows->described->name);
        }
        const bool present = batch->definitions[i] == column->definition_max;
        if (column->repetition_max > 0 && batch->definitions[i] < column->element_definition) {
            continue; /* a list without elements */
        }
        if (rows->elements < width && present) {
            set_value(rows, (rows->begun - 1) * width + rows->elements, rows->numbers[next]);
        }
        next += present;
        rows->elements++;
    }
    return STATUS_OK;
}

status parquet_rows_end(const struct parquet_rows *rows, struct err *err)
{
    const status s = check_row(rows, err);
    if (s == STATUS_OK && rows->begun != rows->n) {
        return err_set(err, STATUS_CORRUPT, "column %s: %" PRIu64 " rows, expected %" PRIu64,
                       rows->described->name, rows->begun, rows->n);
    }
    return s;
}
