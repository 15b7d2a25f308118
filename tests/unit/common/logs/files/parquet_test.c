/* Parquet files: every form of page, missing values, ranges over row groups, and damage. */
#include "tests/lib/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/files/carquet_memory.h"
#include "common/logs/files/log_file.h"
#include "tests/lib/parquet_samples.h"
#include "tests/lib/scratch.h"

#define ROWS PARQUET_SAMPLE_ROWS

static struct log_file *opened(const struct parquet_sample *sample)
{
    struct log_file *file = NULL;
    struct err err = {0};
    const char *path = scratch_at("x.parquet");
    parquet_sample_write(path, sample);
    if (log_file_open(&file, path, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(file->format->name, "parquet");
    return file;
}

/* Reads rows first .. first + n of a column, which must succeed. */
static void read_rows(struct log_file *file, const char *name, uint64_t first, uint64_t n,
                      double *values)
{
    struct recording recording = {0};
    struct err err = {0};
    assert_int_equal(log_file_describe(file, 0, &recording, &err), STATUS_OK);
    const struct recording_column *column = recording_find(&recording, name);
    assert_non_null(column);
    assert_int_equal(column->kind, RECORDING_NUMBERS);
    assert_int_equal(column->rows, ROWS);
    if (log_file_read(file, 0, column, first, n, values, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    recording_fini(&recording);
}

static void check_values(struct log_file *file)
{
    static double x[ROWS], q[3 * ROWS], count[ROWS], ok[ROWS];
    read_rows(file, "x", 0, ROWS, x);
    read_rows(file, "q", 0, ROWS, q);
    read_rows(file, "count", 0, ROWS, count);
    read_rows(file, "ok", 0, ROWS, ok);
    for (int i = 0; i < ROWS; i++) {
        assert_true(x[i] == i / 4.0);
        assert_true(q[3 * i] == i && q[3 * i + 1] == i + 0.5 && q[3 * i + 2] == -i);
        assert_true(i % 5 == 0 ? isnan(count[i]) : count[i] == i);
        assert_true(ok[i] == (i % 3 == 0));
    }
}

static void every_form_has_the_same_values(void **state)
{
    (void)state;
    static const carquet_compression_t compressions[] = {
        CARQUET_COMPRESSION_UNCOMPRESSED, CARQUET_COMPRESSION_SNAPPY, CARQUET_COMPRESSION_GZIP,
        CARQUET_COMPRESSION_ZSTD, CARQUET_COMPRESSION_LZ4_RAW};
    for (int i = 0; i < 5 * 2 * 2; i++) {
        const struct parquet_sample sample = {compressions[i / 4], 1 + i % 2, i / 2 % 2 == 1, true};
        struct log_file *file = opened(&sample);
        check_values(file);
        log_file_close(file);
    }
}

static void text_is_listed_and_not_read(void **state)
{
    (void)state;
    struct log_file *file = opened(&(struct parquet_sample){.page_version = 1});
    struct recording recording = {0};
    struct err err = {0};
    double value;
    assert_int_equal(log_file_describe(file, 0, &recording, &err), STATUS_OK);
    assert_int_equal(recording.n, 5);
    assert_int_equal(recording.columns[1].width, 3);
    assert_int_equal(recording.columns[4].kind, RECORDING_TEXT);
    assert_int_equal(log_file_read(file, 0, &recording.columns[4], 0, 1, &value, &err),
                     STATUS_INVALID);
    recording_fini(&recording);
    log_file_close(file);
}

/* Every range, in an order that makes the reader change between row groups. */
static void ranges_cross_row_groups(void **state)
{
    (void)state;
    struct log_file *file = opened(&(struct parquet_sample){.page_version = 1});
    static double q[3 * ROWS];
    for (uint64_t first = ROWS; first-- > 0;) {
        const uint64_t n = first % 2 == 0 ? ROWS - first : 1;
        read_rows(file, "q", first, n, q);
        for (uint64_t i = 0; i < n; i++) {
            assert_true(q[3 * i + 1] == (double)(first + i) + 0.5);
        }
    }
    log_file_close(file);
}

/* Reads everything that can be read. Returns false if anything is refused, with a text. */
static bool read_all(const char *path)
{
    struct log_file *file;
    struct err err = {0};
    if (log_file_open(&file, path, &err) != STATUS_OK) {
        assert_true(err.text[0] != 0);
        return false;
    }
    struct recording recording = {0};
    bool whole = log_file_describe(file, 0, &recording, &err) == STATUS_OK;
    for (uint32_t i = 0; whole && i < recording.n; i++) {
        const struct recording_column *column = &recording.columns[i];
        if (column->kind == RECORDING_NUMBERS) {
            double *values = mem_array(column->rows * column->width + 1, sizeof *values);
            whole = log_file_read(file, 0, column, 0, column->rows, values, &err) == STATUS_OK;
            assert_true(whole || strstr(err.text, "x.parquet") != NULL);
            mem_free(values);
        }
    }
    recording_fini(&recording);
    log_file_close(file);
    return whole;
}

/* Pages have checksums here: a changed byte of a column of numbers is found. */
static void damaged_pages_are_refused(void **state)
{
    (void)state;
    const char *path = scratch_at("x.parquet");
    parquet_sample_write(path, &(struct parquet_sample){.page_version = 1, .checksums = true});
    void *bytes;
    size_t size;
    struct err err;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &size, &err), STATUS_OK);
    assert_true(read_all(path));

    /* The first page is that of column x: a header, then 30 doubles. */
    for (size_t at = 60; at < 200; at += 20) {
        ((unsigned char *)bytes)[at] ^= 1;
        const struct file_part part = {bytes, size};
        assert_int_equal(file_replace(path, &part, 1, &err), STATUS_OK);
        assert_false(read_all(path));
        ((unsigned char *)bytes)[at] ^= 1;
    }
    mem_free(bytes);
}

static void truncated_files_are_refused(void **state)
{
    (void)state;
    const char *path = scratch_at("x.parquet");
    parquet_sample_write(path, &(struct parquet_sample){.page_version = 2});
    void *bytes;
    size_t size;
    struct err err;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &size, &err), STATUS_OK);
    for (size_t n = 0; n < size; n += 7) {
        const struct file_part part = {bytes, n};
        assert_int_equal(file_replace(path, &part, 1, &err), STATUS_OK);
        assert_false(read_all(path));
    }
    mem_free(bytes);
}

/* The limit counts what is freed, too: more than the limit can be allocated in turns. */
static void memory_of_the_library_is_limited(void **state)
{
    (void)state;
    carquet_memory_limit();
    const carquet_allocator_t *allocator = carquet_get_allocator();
    assert_null(allocator->malloc(CARQUET_MEMORY_MAX + 1, allocator->ctx));
    for (int i = 0; i < 5; i++) {
        void *half = allocator->malloc(CARQUET_MEMORY_MAX / 2 + 4096, allocator->ctx);
        assert_non_null(half);
        assert_null(allocator->malloc(CARQUET_MEMORY_MAX / 2, allocator->ctx));
        assert_null(allocator->realloc(half, CARQUET_MEMORY_MAX + 1, allocator->ctx));
        allocator->free(half, allocator->ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_form_has_the_same_values, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(text_is_listed_and_not_read, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(ranges_cross_row_groups, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(damaged_pages_are_refused, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(truncated_files_are_refused, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test(memory_of_the_library_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
