/* Writers: names, finding, generations. */
#include <stdio.h>
#include <string.h>

#include "replay_server/table/writers.h"
#include "tests/lib/check.h"

static void names_are_checked(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(writers_check_name("writer", "restorer-0/a_b.C", 128, &err), STATUS_OK);
    assert_int_equal(writers_check_name("writer", "", 128, &err), STATUS_INVALID);
    assert_int_equal(writers_check_name("writer", "abcde", 4, &err), STATUS_INVALID);
    assert_string_equal(err.text, "writer: 5 characters, expected 1..4");
    assert_int_equal(writers_check_name("table", "a b", 64, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "table: byte 1 (0x20)"));
    assert_int_equal(writers_check_name("table", "a\xc3\xa4", 64, &err), STATUS_INVALID);
}

static void a_writer_is_found_again_and_generations_rise(void **state)
{
    (void)state;
    struct writers writers = {0};
    struct writer *a, *b;
    struct err err;
    assert_null(writers_find(&writers, "a"));
    assert_int_equal(writers_add(&writers, "a", &a, &err), STATUS_OK);
    for (int i = 0; i < 100; i++) { /* addresses stay as the list grows */
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        assert_int_equal(writers_add(&writers, name, &b, &err), STATUS_OK);
    }
    assert_int_equal(writers_add(&writers, "a", &b, &err), STATUS_OK);
    assert_ptr_equal(a, b);
    assert_int_equal(writers.n, 101);

    assert_int_equal(writer_open(a, 0, &err), STATUS_OK);
    assert_int_equal(a->generation, 1);
    assert_int_equal(writer_open(a, 1, &err), STATUS_OK);
    assert_int_equal(writer_open(a, 5, &err), STATUS_OK);
    assert_int_equal(writer_open(a, 4, &err), STATUS_MISMATCH);
    assert_int_equal(a->generation, 5);
    assert_int_equal(writer_open(a, 0, &err), STATUS_OK);
    assert_int_equal(a->generation, 6);

    assert_int_equal(writers_n_done(&writers), 0);
    a->done = true;
    assert_int_equal(writers_n_done(&writers), 1);
    writers_fini(&writers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(a_writer_is_found_again_and_generations_rise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
