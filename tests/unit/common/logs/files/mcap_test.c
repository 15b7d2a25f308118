/* MCAP files: the same columns from every compression, and errors or notes from every damage. What
 * other programs write is read in tests/integration/test_mcap.py. */
#include "tests/lib/check.h"

#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/files/log_file.h"
#include "tests/lib/bags.h"
#include "tests/lib/scratch.h"

/* Writes the first n bytes of a text as a file, and returns its path. */
static const char *write_bytes(const struct text *bytes, size_t n)
{
    const char *path = scratch_at("a.mcap");
    struct err err = {0};
    const struct file_part part = {bytes->bytes, n};
    if (file_replace(path, &part, 1, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return path;
}

/* Reads every value of every column. */
static status read_all(const char *path, double *sum, struct err *err)
{
    struct log_file *file;
    struct recording recording = {0};
    status s = log_file_open(&file, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = log_file_describe(file, 0, &recording, err);
    *sum = 0;
    for (uint32_t i = 0; s == STATUS_OK && i < recording.n; i++) {
        double values[64];
        const struct recording_column *column = &recording.columns[i];
        assert_true(column->rows * column->width <= 64);
        s = log_file_read(file, 0, column, 0, column->rows, values, err);
        for (uint64_t k = 0; s == STATUS_OK && k < column->rows * column->width; k++) {
            *sum += strchr(column->name, '@') != NULL ? 0 : values[k];
        }
    }
    recording_fini(&recording);
    log_file_close(file);
    return s;
}

static void compressions_give_the_same_columns(void **state)
{
    (void)state;
    static const char *const compressions[] = {"", "lz4", "zstd"};
    for (int i = 0; i < 3; i++) {
        struct text file = {0};
        struct err err = {0};
        double sum = 0;
        bags_example(&file, compressions[i]);
        assert_int_equal(read_all(write_bytes(&file, file.size), &sum, &err), STATUS_OK);
        assert_true(sum == 190 + 19 + 1); /* 0 + .. + 19; 0 1 2 0 1 2 ..; success */
        text_fini(&file);
    }
}

static void stamps_are_seconds(void **state)
{
    (void)state;
    struct text file = {0};
    struct log_file *log;
    struct recording recording = {0};
    struct err err = {0};
    double stamps[20];
    bags_example(&file, "zstd");
    assert_int_equal(log_file_open(&log, write_bytes(&file, file.size), &err), STATUS_OK);
    assert_int_equal(log_file_describe(log, 0, &recording, &err), STATUS_OK);
    const struct recording_column *column = recording_find(&recording, "/state/@log");
    assert_non_null(column);
    assert_int_equal(log_file_read(log, 0, column, 0, 20, stamps, &err), STATUS_OK);
    assert_true(stamps[0] == 1000 && stamps[19] == 1000.38);
    assert_null(recording_find(&recording, "/state/@header"));
    recording_fini(&recording);
    log_file_close(log);
    text_fini(&file);
}

/* A file that ends anywhere is read up to its last whole record, which is told, or refused. */
static void cut_files_are_told(void **state)
{
    (void)state;
    struct text file = {0};
    uint64_t read = 0;
    bags_example(&file, "");
    /* With the record that ends the data, nothing is missing but the magic. */
    for (size_t n = 0; n < file.size - 8; n++) {
        struct err err = {0};
        struct log_file *log;
        if (log_file_open(&log, write_bytes(&file, n), &err) != STATUS_OK) {
            assert_true(err.text[0] != '\0');
            continue;
        }
        struct text notes = {0};
        log_file_notes(log, true, &notes);
        assert_non_null(notes.bytes);
        assert_non_null(strstr(notes.bytes, "is cut off at byte"));
        text_fini(&notes);
        log_file_close(log);
        read++;
    }
    assert_true(read > 100);
    text_fini(&file);
}

/* No changed byte of the data gets through: the checksums of chunk and data section see it. */
static void changed_bytes_are_refused(void **state)
{
    (void)state;
    struct text file = {0};
    bags_example(&file, "");
    /* Behind the checksum, the magic and the end of the data are no values. */
    for (size_t i = 8; i + 8 + 9 + 4 < file.size; i++) {
        struct err err = {0};
        double sum = 0;
        file.bytes[i] = (char)(file.bytes[i] ^ 0x10);
        const status s = read_all(write_bytes(&file, file.size), &sum, &err);
        if (s == STATUS_OK || strstr(err.text, "a.mcap") == NULL) {
            fail_msg("byte %zu: status %d: %s", i, (int)s, err.text);
        }
        file.bytes[i] = (char)(file.bytes[i] ^ 0x10);
    }
    text_fini(&file);
}

static void memory_may_fail_anywhere(void **state)
{
    (void)state;
    struct text file = {0};
    bags_example(&file, "zstd");
    const char *path = write_bytes(&file, file.size);
    status s = STATUS_NO_MEMORY;
    uint64_t nth = 1;
    for (; s == STATUS_NO_MEMORY && nth < 10000; nth++) {
        struct err err = {0};
        double sum = 0;
        memory_fail_at(nth);
        s = read_all(path, &sum, &err);
        memory_fail_at(0);
        assert_true(s == STATUS_OK || s == STATUS_NO_MEMORY);
    }
    assert_int_equal(s, STATUS_OK);
    assert_true(nth > 20);
    text_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(compressions_give_the_same_columns, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(stamps_are_seconds, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(cut_files_are_told, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(changed_bytes_are_refused, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(memory_may_fail_anywhere, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
