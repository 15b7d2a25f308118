/* Status texts, errors with context, errno. */
#include <errno.h>
#include <string.h>

#include "common/base/status.h"
#include "common/base/utf8.h"
#include "tests/lib/check.h"

static void texts(void **state)
{
    (void)state;
    assert_string_equal(status_text(STATUS_OK), "ok");
    assert_string_equal(status_text(STATUS_MISMATCH), "the two sides do not agree");
    assert_string_equal(status_text((status)-99), "unknown status");
}

static void context_goes_in_front(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(err_set(&err, STATUS_CORRUPT, "bad checksum at byte %d", 4096),
                     STATUS_CORRUPT);
    assert_int_equal(err_context(&err, STATUS_IO, "read header"), STATUS_CORRUPT);
    assert_int_equal(err_context(&err, STATUS_IO, "restore %s", "run-7"), STATUS_CORRUPT);
    assert_string_equal(err.text, "restore run-7: read header: bad checksum at byte 4096");
}

static void context_without_a_reason_names_the_code(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(err_context(&err, STATUS_TIMEOUT, "join"), STATUS_TIMEOUT);
    assert_string_equal(err.text, "join: deadline passed");
    assert_int_equal(err.code, STATUS_TIMEOUT);
    assert_int_equal(err_context(NULL, STATUS_TIMEOUT, "join"), STATUS_TIMEOUT);
    assert_int_equal(err_set(NULL, STATUS_FULL, "x"), STATUS_FULL);
}

static void long_texts_are_cut_and_terminated(void **state)
{
    (void)state;
    char longer[3000];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    struct err err = {0};
    err_set(&err, STATUS_INVALID, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    assert_string_equal(err.text + sizeof err.text - 4, "...");
    err_context(&err, STATUS_INVALID, "in front");
    assert_int_equal(strncmp(err.text, "in front: aaaa", 14), 0);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    err_context(&err, STATUS_INVALID, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

/* Errors quote what they refuse; it must not reach a terminal or a peer as it is. */
static void texts_are_one_clean_line(void **state)
{
    (void)state;
    struct err err = {0};
    err_set(&err, STATUS_INVALID, "name \"%s\"", "a\x1b[2Jb\nc\xff");
    assert_string_equal(err.text, "name \"a [2Jb c?\"");
    err_context(&err, STATUS_INVALID, "table %s", "\xc3\xa9\x7f");
    assert_string_equal(err.text, "table \xc3\xa9 : name \"a [2Jb c?\"");
    /* Cut between characters, wherever the end comes. */
    char longer[3000] = "";
    for (size_t lead = 0; lead < 4; lead++) {
        memset(longer, 'a', lead);
        longer[lead] = '\0';
        for (int i = 0; i < 500; i++) {
            strcat(longer, "\xe2\x82\xac");
        }
        err_set(&err, STATUS_INVALID, "%s", longer);
        assert_true(utf8_is_name(err.text));
        assert_null(strchr(err.text, '?'));
        assert_string_equal(err.text + strlen(err.text) - 3, "...");
    }
}

static void errno_is_translated(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(err_errno(&err, ENOENT, "open %s", "x"), STATUS_NOT_FOUND);
    assert_string_equal(err.text, "open x: No such file or directory");
    assert_int_equal(err_errno(&err, ENOSPC, "w"), STATUS_FULL);
    assert_int_equal(err_errno(&err, EDQUOT, "w"), STATUS_FULL);
    assert_int_equal(err_errno(&err, EIO, "w"), STATUS_IO);
    assert_int_equal(err_errno(&err, ENOMEM, "w"), STATUS_NO_MEMORY);
    assert_int_equal(err_errno(&err, EACCES, "w"), STATUS_DENIED);
    assert_int_equal(err_errno(NULL, EEXIST, "w"), STATUS_EXISTS);
    /* A forgotten errno must not look like success. */
    assert_int_not_equal(err_errno(&err, 0, "w"), STATUS_OK);
}

static void only_what_a_restart_cannot_change_is_final(void **state)
{
    (void)state;
    assert_int_equal(status_exit_code(STATUS_OK), 0);
    const status final[] = {STATUS_INVALID, STATUS_CORRUPT, STATUS_MISMATCH, STATUS_UNIMPLEMENTED,
                            STATUS_TOO_LONG};
    for (size_t i = 0; i < sizeof final / sizeof final[0]; i++) {
        assert_int_equal(status_exit_code(final[i]), 2);
    }
    const status others[] = {STATUS_NO_MEMORY, STATUS_IO,   STATUS_UNAVAILABLE, STATUS_DENIED,
                             STATUS_TIMEOUT,   STATUS_FULL, STATUS_EXISTS,      STATUS_LIMIT,
                             STATUS_INTERNAL,  -9999};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(status_exit_code(others[i]), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(context_without_a_reason_names_the_code),
        cmocka_unit_test(long_texts_are_cut_and_terminated),
        cmocka_unit_test(texts_are_one_clean_line),
        cmocka_unit_test(errno_is_translated),
        cmocka_unit_test(only_what_a_restart_cannot_change_is_final),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
