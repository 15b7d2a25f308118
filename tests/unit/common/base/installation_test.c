/* Where the program is, and what stands beside it. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/installation.h"
#include "tests/lib/check.h"

static struct err err;

static void test_the_folder_of_this_program(void **state)
{
    (void)state;
    char folder[PATH_MAX], program[PATH_MAX + 64];
    assert_int_equal(installation_programs(folder, sizeof folder, &err), STATUS_OK);
    snprintf(program, sizeof program, "%s/installation_test", folder);
    struct stat this, found;
    assert_int_equal(stat("/proc/self/exe", &this), 0);
    assert_int_equal(stat(program, &found), 0);
    assert_true(this.st_ino == found.st_ino && this.st_dev == found.st_dev);
}

static void test_models_stand_beside_the_build(void **state)
{
    (void)state;
    char folder[PATH_MAX], model[PATH_MAX + 64];
    assert_int_equal(installation_folder(folder, sizeof folder, "control_suite", &err), STATUS_OK);
    snprintf(model, sizeof model, "%s/cheetah.xml", folder);
    assert_int_equal(access(model, R_OK), 0);
}

static void test_what_is_not_there_is_named(void **state)
{
    (void)state;
    char folder[PATH_MAX] = "untouched";
    assert_int_equal(installation_folder(folder, sizeof folder, "no_such_suite", &err),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "share/hindcast/no_such_suite"));
}

static void test_a_path_too_long_is_refused(void **state)
{
    (void)state;
    char folder[4];
    assert_int_equal(installation_programs(folder, sizeof folder, &err), STATUS_INVALID);
    assert_int_equal(installation_folder(folder, sizeof folder, "control_suite", &err),
                     STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_folder_of_this_program),
        cmocka_unit_test(test_models_stand_beside_the_build),
        cmocka_unit_test(test_what_is_not_there_is_named),
        cmocka_unit_test(test_a_path_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
