/* Resampling of logs without topics: a CSV file with columns of several rates. Bags are in
 * tests/integration/test_mcap.py, which compares with numpy. */
#include "tests/lib/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/logs/mapping/resample.h"
#include "tests/lib/scratch.h"

static struct mapping mapping;
static struct log_file *file;

static void open_with(const char *csv, const char *resample)
{
    char text[2048];
    struct err err = {0};
    const char *path = scratch_at("m.yaml");
    snprintf(text, sizeof text,
             "control_period_s: 0.1\n%sobservation:\n  x: [x]\naction:\n  columns: u\n  min: [-9]\n"
             "  max: [9]\nrewards: {r: {column: r, row: next}}\n",
             resample);
    scratch_write(path, text);
    if (mapping_read(&mapping, path, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    path = scratch_at("a.csv");
    scratch_write(path, csv);
    assert_int_equal(log_file_open(&file, path, &err), STATUS_OK);
    if (resample_open(&file, file, &mapping, NULL, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static void close_all(void)
{
    log_file_close(file);
    mapping_fini(&mapping);
}

static void check(const char *name, const double *expected, uint64_t n)
{
    struct recording recording = {0};
    struct err err = {0};
    double values[64];
    assert_int_equal(log_file_describe(file, 0, &recording, &err), STATUS_OK);
    const struct recording_column *column = recording_find(&recording, name);
    assert_non_null(column);
    assert_int_equal(column->rows, n);
    if (log_file_read(file, 0, column, 0, n, values, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!(fabs(values[i] - expected[i]) < 1e-9)) {
            fail_msg("%s: row %d: %g, expected %g", name, (int)i, values[i], expected[i]);
        }
    }
    recording_fini(&recording);
}

/* Each row has the cells of one sensor. x comes every 0.1 s, u 0.01 s after it. */
static const char mixed[] = "t,x,u,r\n"
                            "1.00,0,,\n1.01,,5,\n1.10,1,,\n1.11,,6,\n1.15,,,2\n1.18,,,3\n"
                            "1.20,2,,\n1.21,,7,\n1.30,3,,\n";

static void sensors_that_fill_their_own_cells(void **state)
{
    (void)state;
    open_with(mixed, "resample: {time: t}\n");
    assert_int_equal(log_file_recordings(file), 1);
    /* All columns have one clock, so that the rows have no phase to be moved to. */
    check("x", (double[]){0, 1, 2, 3}, 4);
    check("u", (double[]){5, 6, 7, 7}, 4);
    check("r", (double[]){0, 0, 5, 0}, 4);
    close_all();
}

static void linear_between_values(void **state)
{
    (void)state;
    open_with("t,x,u,r\n1,0,5,0\n1.08,2,5,0\n1.12,3,6,0\n1.18,4,6,0\n1.24,10,6,0\n",
              "resample: {time: t, columns: {x: linear}}\n");
    check("x", (double[]){0, 2.5, 6}, 3);
    close_all();
}

/* Clocks of their own, in columns of their own names. */
static void groups_have_their_clocks(void **state)
{
    (void)state;
    static const char csv[] = "tx,x,tu,u,r\n0,0,0.03,1,0\n0.05,1,0.13,2,0\n0.10,2,0.23,3,1\n"
                              "0.15,3,0.33,4,0\n0.2,4,0.43,5,0\n0.25,5,0.53,6,0\n";
    open_with(csv, "resample: {groups: {x: {time: tx, method: linear}, u: {time: tu}, r: {time: "
                   "tu}}}\n");
    /* The rows are where the actions are: 0.03, 0.13, 0.23. */
    check("x", (double[]){0.6, 2.6, 4.6}, 3);
    check("u", (double[]){1, 2, 3}, 3);
    check("r", (double[]){0, 0, 1}, 3);
    close_all();
}

static void pauses_divide(void **state)
{
    (void)state;
    static const char csv[] =
        "t,x,u,r\n0,0,1,0\n0.1,1,1,0\n0.2,2,1,0\n1,3,1,0\n1.1,4,1,0\n1.2,5,1,0\n";
    open_with(csv, "resample: {time: t, max_gap_s: 0.3}\n");
    assert_int_equal(log_file_recordings(file), 2);
    assert_true(fabs(resample_start(file, 1) - 1) < 1e-9);
    close_all();
    open_with(csv, "resample: {time: t, max_gap_s: 0.3, gaps: bad}\n");
    assert_int_equal(log_file_recordings(file), 1);
    struct recording recording = {0};
    struct err err = {0};
    double values[64];
    assert_int_equal(log_file_describe(file, 0, &recording, &err), STATUS_OK);
    assert_int_equal(log_file_read(file, 0, &recording.columns[0], 0, 2, values, &err),
                     STATUS_INVALID);
    assert_non_null(strstr(err.text, "no message between 0.200000 s and 1.000000 s"));
    recording_fini(&recording);
    close_all();
}

static void stamps_must_advance(void **state)
{
    (void)state;
    struct err err = {0};
    const char *path = scratch_at("a.csv");
    mapping_init(&mapping);
    open_with("t,x,u,r\n0,0,1,0\n1,1,1,0\n", "resample: {time: t}\n");
    log_file_close(file);
    scratch_write(path, "t,x,u,r\n0,0,1,0\n0,1,1,0\n");
    assert_int_equal(log_file_open(&file, path, &err), STATUS_OK);
    assert_int_equal(resample_open(&file, file, &mapping, NULL, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "t: all stamps are 0"));
    mapping_fini(&mapping);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sensors_that_fill_their_own_cells, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(linear_between_values, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(groups_have_their_clocks, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(pauses_divide, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(stamps_must_advance, scratch_set_up, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
