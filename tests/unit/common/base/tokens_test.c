/* The file of tokens with roles of the caller's own; its rules are tested with Hindcast's roles in
 * tests/unit/common/base/roles_test.c. */
#include <string.h>
#include <sys/stat.h>

#include "common/base/tokens.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static int make_folder(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    return 0;
}

static void roles_are_the_callers(void **state)
{
    (void)state;
    static const struct tokens_role roles[] = {{"read", 4}, {"write", 32}, {"own", 1}};
    char path[2 * SCRATCH_SIZE];
    scratch_path(path, scratch_folder, "tokens");
    scratch_write(path, "AAAAAAAAAAAAAAAA read,write\nBBBBBBBBBBBBBBBB own ann-2.x\n");
    chmod(path, 0600);
    struct tokens *tokens = NULL;
    char client[TOKENS_CLIENT_SIZE] = "";
    struct err err;
    assert_int_equal(tokens_read(&tokens, path, roles, 3, &err), STATUS_OK);
    assert_int_equal(tokens_role_of(tokens, "AAAAAAAAAAAAAAAA", client), 36);
    assert_string_equal(client, "read,write");
    assert_int_equal(tokens_role_of(tokens, "BBBBBBBBBBBBBBBB", client), 1);
    assert_string_equal(client, "ann-2.x");
    assert_int_equal(tokens_count(tokens), 2);
    assert_int_equal(tokens_role_of(tokens, "CCCCCCCCCCCCCCCC", client), 0);
    tokens_free(tokens);

    assert_int_equal(tokens_read(&tokens, path, roles, 2, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "line 2: role own: expected read or write"));
    assert_int_equal(tokens_read(&tokens, path, roles, 1, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "line 1: role write: expected read"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(roles_are_the_callers, make_folder, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
