/* JSON files: whole or refused; fields by name and type. */
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/json.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static char path[2 * SCRATCH_SIZE];

static void written_reads_back(void **state)
{
    (void)state;
    struct err err = {0};
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "steps", 17);
    cJSON_AddStringToObject(json, "name", "a \"b\"");
    assert_int_equal(json_write(path, json, &err), STATUS_OK);
    cJSON_Delete(json);
    json = NULL;
    assert_int_equal(json_read(path, 4096, &json, &err), STATUS_OK);
    double steps = 0;
    const char *name = NULL;
    assert_int_equal(json_number(json, "steps", &steps, "meta", &err), STATUS_OK);
    assert_true(steps == 17);
    assert_int_equal(json_text(json, "name", &name, "meta", &err), STATUS_OK);
    assert_string_equal(name, "a \"b\"");
    assert_int_equal(json_number(json, "name", &steps, "meta", &err), STATUS_INVALID);
    assert_string_equal(err.text, "meta: \"name\" is of another type: expected a number");
    assert_int_equal(json_text(json, "Name", &name, "meta", &err), STATUS_INVALID);
    assert_string_equal(err.text, "meta: \"Name\" is absent: expected text");
    assert_int_equal(json_number(NULL, "x", &steps, "meta", &err), STATUS_INVALID);
    cJSON_Delete(json);
}

static void bad_files_are_refused_with_file_and_byte(void **state)
{
    (void)state;
    static const char *const bad[] = {"",      "{",   "{\"a\": 1,}", "{} trailing",
                                      "[1, 2", "nul", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = {0};
        cJSON *json = NULL;
        scratch_write(path, bad[i]);
        assert_int_equal(json_read(path, 4096, &json, &err), STATUS_CORRUPT);
        assert_null(json);
        assert_non_null(strstr(err.text, path));
        assert_non_null(strstr(err.text, "at byte"));
    }
    struct err err = {0};
    cJSON *json = NULL;
    assert_int_equal(json_read(path, 0, &json, &err), STATUS_INVALID);
    /* A 0 byte within the text does not end it. */
    const struct file_part parts[] = {{"{}\0{}", 5}};
    assert_int_equal(file_replace(path, parts, 1, &err), STATUS_OK);
    assert_int_equal(json_read(path, 100, &json, &err), STATUS_CORRUPT);
}

static int set_up(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "file.json");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_reads_back),
        cmocka_unit_test(bad_files_are_refused_with_file_and_byte),
    };
    return cmocka_run_group_tests(tests, set_up, scratch_tear_down);
}
