/* CSV files: separators, quotes, missing values, kinds of columns, and errors with their lines. */
#include "tests/lib/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/logs/files/log_file.h"
#include "tests/lib/scratch.h"

static char *path;

static struct log_file *opened(const char *text)
{
    struct log_file *file = NULL;
    struct err err = {0};
    path = scratch_at("x.csv");
    scratch_write(path, text);
    if (log_file_open(&file, path, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return file;
}

/* Opening must fail with an error text that contains `part` and the path. */
static void refused(const char *text, status expected, const char *part)
{
    struct log_file *file = NULL;
    struct err err = {0};
    path = scratch_at("x.csv");
    scratch_write(path, text);
    assert_int_equal(log_file_open(&file, path, &err), expected);
    assert_non_null(strstr(err.text, part));
    assert_non_null(strstr(err.text, "x.csv"));
}

static void check_column(struct log_file *file, const char *name, const double *expected,
                         uint64_t n)
{
    struct recording recording = {0};
    struct err err = {0};
    double values[16];
    assert_int_equal(log_file_describe(file, 0, &recording, &err), STATUS_OK);
    const struct recording_column *column = recording_find(&recording, name);
    assert_non_null(column);
    assert_int_equal(column->rows, n);
    assert_int_equal(log_file_read(file, 0, column, 0, n, values, &err), STATUS_OK);
    for (uint64_t i = 0; i < n; i++) {
        assert_true(isnan(expected[i]) ? isnan(values[i]) : values[i] == expected[i]);
    }
    recording_fini(&recording);
}

static void numbers_flags_and_missing_values(void **state)
{
    (void)state;
    struct log_file *file = opened("t,q_0,ok\n0.5,-1e3,true\n1,,False\n 2 , 3.25 ,\n");
    check_column(file, "t", (double[]){0.5, 1, 2}, 3);
    check_column(file, "q_0", (double[]){-1000, NAN, 3.25}, 3);
    check_column(file, "ok", (double[]){1, 0, NAN}, 3);
    log_file_close(file);
}

static void separators_quotes_and_line_ends(void **state)
{
    (void)state;
    struct log_file *file = opened("\xef\xbb\xbf\"a;b\";\"c \"\"d\"\"\"\r\n1;\"2\"\r\n\r\n3;4");
    check_column(file, "a;b", (double[]){1, 3}, 2);
    check_column(file, "c \"d\"", (double[]){2, 4}, 2);
    log_file_close(file);
    file = opened("a\tb\n1\t2\n");
    check_column(file, "b", (double[]){2}, 1);
    log_file_close(file);
}

static void text_columns_are_listed_and_not_read(void **state)
{
    (void)state;
    struct log_file *file = opened("mode,x\nauto,1\nmanual,2\n");
    struct recording recording = {0};
    struct err err = {0};
    assert_int_equal(log_file_describe(file, 0, &recording, &err), STATUS_OK);
    assert_int_equal(recording.columns[0].kind, RECORDING_TEXT);
    double value;
    assert_int_equal(log_file_read(file, 0, &recording.columns[0], 0, 1, &value, &err),
                     STATUS_INVALID);
    recording_fini(&recording);
    check_column(file, "x", (double[]){1, 2}, 2);
    log_file_close(file);
}

static void ranges_of_rows(void **state)
{
    (void)state;
    struct log_file *file = opened("a,b\n1,2\n3,4\n5,6\n");
    struct recording recording = {0};
    struct err err = {0};
    double values[2];
    assert_int_equal(log_file_describe(file, 0, &recording, &err), STATUS_OK);
    assert_int_equal(log_file_read(file, 0, &recording.columns[1], 1, 2, values, &err), STATUS_OK);
    assert_true(values[0] == 4 && values[1] == 6);
    assert_int_equal(log_file_read(file, 0, &recording.columns[1], 2, 2, values, &err),
                     STATUS_INVALID);
    assert_non_null(strstr(err.text, "has 3 rows, expected at least 4"));
    recording_fini(&recording);
    log_file_close(file);
}

static void errors_name_the_line(void **state)
{
    (void)state;
    refused("a,b\n1,2\n3\n", STATUS_INVALID, "line 3: has 1 cells, the header has 2");
    refused("a,b\n1,2,3\n", STATUS_INVALID, "line 2: has 3 cells, the header has 2");
    refused("a,b\n1,2\n3,x4\n", STATUS_INVALID, "line 3, column b: expected a number, not \"x4\"");
    refused("a,b\n1,\"2\n", STATUS_INVALID, "a quote is not closed");
    refused("a,b\n1,\"2\"3\n", STATUS_INVALID, "line 2: text after a closing quote");
    refused("a,a\n1,2\n", STATUS_INVALID, "two columns are called \"a\"");
    refused("a,\n1,2\n", STATUS_INVALID, "a column's name has 0 bytes");
    refused("no separator here\n", STATUS_INVALID, "the format is not supported");
    refused("\x01\x02,\x03", STATUS_INVALID, "the format is not supported");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_flags_and_missing_values),
        cmocka_unit_test(separators_quotes_and_line_ends),
        cmocka_unit_test(text_columns_are_listed_and_not_read),
        cmocka_unit_test(ranges_of_rows),
        cmocka_unit_test(errors_name_the_line),
    };
    return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
