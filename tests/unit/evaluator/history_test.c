/* evaluator.jsonl: lines stay, torn ones go, the page shows all. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "evaluator/history.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static char path[2 * SCRATCH_SIZE];

static int setup(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "evaluator.jsonl");
    return 0;
}

static struct history *open_history(void)
{
    struct history *history;
    struct err err = {0};
    if (history_open(&history, path, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return history;
}

static cJSON *record_of(double version)
{
    cJSON *record = cJSON_CreateObject();
    cJSON_AddNumberToObject(record, "version", version);
    cJSON_AddNumberToObject(record, "time", 1000 + version);
    cJSON_AddNumberToObject(record, "wall_s", version);
    return record;
}

static void lines_survive_restarts_and_the_page_shows_them(void **state)
{
    (void)state;
    struct err err = {0};
    struct history *history = open_history();
    double now_s = (double)clock_wall_ns() / 1e9;
    assert_true(fabs(history_started_s(history) - now_s) < 5);
    assert_int_equal(history_append(history, record_of(1), &err), STATUS_OK);
    assert_int_equal(history_append(history, record_of(2), &err), STATUS_OK);
    history_close(history);
    history = open_history();
    assert_true(history_started_s(history) == 1000);
    assert_int_equal(history_append(history, record_of(3), &err), STATUS_OK);
    char *page = history_page(history);
    assert_string_equal(page, "{\"evaluations\":[{\"version\":1,\"time\":1001,\"wall_s\":1},"
                              "{\"version\":2,\"time\":1002,\"wall_s\":2},"
                              "{\"version\":3,\"time\":1003,\"wall_s\":3}]}");
    mem_free(page);
    assert_int_equal(cJSON_GetArraySize(history_records(history)), 3);
    history_close(history);
}

static void a_torn_line_is_cut_off(void **state)
{
    (void)state;
    struct err err = {0};
    scratch_write(path, "{\"version\":1}\n{\"version\":2}\n{\"vers");
    struct history *history = open_history();
    assert_int_equal(cJSON_GetArraySize(history_records(history)), 2);
    assert_int_equal(history_append(history, record_of(3), &err), STATUS_OK);
    history_close(history);
    char *text = scratch_read(path);
    assert_string_equal(text, "{\"version\":1}\n{\"version\":2}\n"
                              "{\"version\":3,\"time\":1003,\"wall_s\":3}\n");
    free(text);
}

/* Half a line, ended by a later one, costs neither the lines before nor those behind it. */
static void unreadable_lines_are_skipped(void **state)
{
    (void)state;
    struct err err = {0};
    scratch_write(path, "{\"version\":1}\nhello\n{\"version\":2,\"wa\n[3]\n{\"version\":4}\n");
    struct history *history = open_history();
    assert_int_equal(cJSON_GetArraySize(history_records(history)), 2);
    const cJSON *last = cJSON_GetArrayItem(history_records(history), 1);
    assert_true(cJSON_GetObjectItem(last, "version")->valuedouble == 4);
    assert_int_equal(history_append(history, record_of(5), &err), STATUS_OK);
    history_close(history);
    history = open_history();
    assert_int_equal(cJSON_GetArraySize(history_records(history)), 3);
    history_close(history);
}

static void a_link_in_its_place_is_not_followed(void **state)
{
    (void)state;
    struct history *history;
    struct err err = {0};
    scratch_write(scratch_at("precious"), "precious");
    assert_int_equal(symlink(scratch_at("precious"), path), 0);
    assert_int_not_equal(history_open(&history, path, &err), STATUS_OK);
    char *text = scratch_read(scratch_at("precious"));
    assert_string_equal(text, "precious");
    free(text);
}

static void a_failed_write_is_reported(void **state)
{
    (void)state;
    struct err err = {0};
    struct history *history = open_history();
    file_fail_at(1, 28 /* ENOSPC */);
    assert_int_equal(history_append(history, record_of(1), &err), STATUS_FULL);
    file_fail_at(2, 28); /* the sync */
    assert_int_equal(history_append(history, record_of(1), &err), STATUS_FULL);
    file_fail_at(0, 0);
    assert_int_equal(cJSON_GetArraySize(history_records(history)), 0);
    char *text = scratch_read(path);
    assert_string_equal(text, "");
    free(text);
    history_close(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_survive_restarts_and_the_page_shows_them, setup,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_torn_line_is_cut_off, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(unreadable_lines_are_skipped, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_link_in_its_place_is_not_followed, setup,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_failed_write_is_reported, setup, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
