/* The file of tokens: who may what, and what is wrong with a line. */
#include <string.h>
#include <sys/stat.h>

#include "common/base/roles.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static char path[2 * SCRATCH_SIZE];

static int make_folder(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "tokens");
    return 0;
}

static status read_text(struct tokens **tokens, const char *text, struct err *err)
{
    scratch_write(path, text);
    chmod(path, 0600);
    return roles_read(tokens, path, err);
}

static void tokens_have_roles(void **state)
{
    (void)state;
    struct tokens *tokens = NULL;
    char client[TOKENS_CLIENT_SIZE] = "";
    struct err err;
    assert_int_equal(read_text(&tokens,
                               "# who may what\n\nAAAAAAAAAAAAAAAA insert\n"
                               "  BBBBBBBBBBBBBBBBx\tsample,learn   # the learner\r\n"
                               "BBBBBBBBBBBBBBBB admin",
                               &err),
                     STATUS_OK);
    assert_int_equal(tokens_role_of(tokens, "AAAAAAAAAAAAAAAA", client), ROLE_INSERT);
    assert_int_equal(tokens_role_of(tokens, "BBBBBBBBBBBBBBBBx", client), ROLE_SAMPLE | ROLE_LEARN);
    assert_int_equal(tokens_role_of(tokens, "BBBBBBBBBBBBBBBB", client), ROLE_ADMIN);
    assert_int_equal(tokens_role_of(tokens, "AAAAAAAAAAAAAAA", client), 0);
    assert_int_equal(tokens_role_of(tokens, "AAAAAAAAAAAAAAAAA", client), 0);
    assert_int_equal(tokens_role_of(tokens, "", client), 0);
    assert_int_equal(tokens_role_of(tokens, NULL, client), 0);
    char longest[400];
    memset(longest, 'A', sizeof longest);
    longest[399] = '\0';
    assert_int_equal(tokens_role_of(tokens, longest, client), 0);
    tokens_free(tokens);
}

static void a_bad_line_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "no token"},
        {"# nothing\n", "no token"},
        {"AAAAAAAAAAAAAAAA\n", "line 1: expected a token, its roles"},
        {"AAAAAAAAAAAAAAAA insert sample\n", "line 1: expected a token, its roles"},
        {"AAAAAAAAAAAAAAAA insert a b\n", "line 1: expected a token, its roles"},
        {"AAAAAAAAAAAAAAAA insert a/b\n", "line 1: client a/b: expected"},
        {"\nshort insert\n", "line 2: token of 5 characters"},
        {"AAAAAAAAAAAAAAAA insert,fly\n", "role fly"},
        {"AAAAAAAAAAAAAAAA ,\n", "without roles"},
        {"AAAAAAAAAAAAAAA\xc3\xa4 insert\n", "visible ASCII"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tokens *tokens = NULL;
        struct err err = {0};
        assert_int_equal(read_text(&tokens, bad[i].text, &err), STATUS_INVALID);
        if (strstr(err.text, bad[i].words) == NULL || strstr(err.text, "tokens_file") == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", err.text, bad[i].words);
        }
    }
}

static void a_file_for_all_to_read_is_refused(void **state)
{
    (void)state;
    struct tokens *tokens = NULL;
    struct err err;
    scratch_write(path, "AAAAAAAAAAAAAAAA insert\n");
    chmod(path, 0644);
    assert_int_equal(roles_read(&tokens, path, &err), STATUS_DENIED);
    chmod(path, 0640);
    assert_int_equal(roles_read(&tokens, path, &err), STATUS_OK);
    tokens_free(tokens);
    scratch_path(path, scratch_folder, "absent");
    assert_int_equal(roles_read(&tokens, path, &err), STATUS_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tokens_have_roles, make_folder, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_bad_line_is_named, make_folder, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_file_for_all_to_read_is_refused, make_folder,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
