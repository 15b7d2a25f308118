/* CPU quotas of control groups, version 2 and 1, on folders made up for it. */
#include <stdio.h>
#include <string.h>

#include "common/base/cores.h"
#include "common/base/file.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static void put(const char *folder, const char *name, const char *text)
{
    char path[2 * SCRATCH_SIZE], file[3 * SCRATCH_SIZE];
    struct err err;
    snprintf(path, sizeof path, "%s%s", scratch_folder, folder);
    assert_int_equal(file_make_folders(path, &err), STATUS_OK);
    snprintf(file, sizeof file, "%s/%s", path, name);
    scratch_write(file, text);
}

static int within(const char *cgroups)
{
    return cores_within_quota(64, scratch_folder, cgroups);
}

static void test_without_a_quota(void **state)
{
    (void)state;
    assert_int_equal(within(""), 64);
    assert_int_equal(within("0::/absent\n"), 64);
    put("/a", "cpu.max", "max 100000\n");
    assert_int_equal(within("0::/a\n"), 64);
    assert_int_equal(within("no colons\n\n:\n::\n"), 64);
}

static void test_version_2(void **state)
{
    (void)state;
    put("/a/b", "cpu.max", "250000 100000\n");
    put("/a", "cpu.max", "max 100000\n");
    assert_int_equal(within("0::/a/b\n"), 2);
    put("/a", "cpu.max", "100000 100000\n"); /* the group above allows less */
    assert_int_equal(within("0::/a/b\n"), 1);
    put("/a", "cpu.max", "50000 100000\n"); /* half a core is still one thread */
    assert_int_equal(within("0::/a"), 1);
    put("/a", "cpu.max", "9900000 100000\n");
    put("/a/b", "cpu.max", "max 100000\n");
    assert_int_equal(within("0::/a/b\n"), 64);
    put("", "cpu.max", "300000 100000\n"); /* a container sees its own group as the root */
    assert_int_equal(within("0::/\n"), 3);
    put("/a", "cpu.max", "nonsense");
    assert_int_equal(within("0::/a/b\n"), 3);
}

static void test_version_1(void **state)
{
    (void)state;
    put("/cpu/docker/x", "cpu.cfs_quota_us", "400000\n");
    put("/cpu/docker/x", "cpu.cfs_period_us", "100000\n");
    const char *groups = "5:memory:/docker/x\n4:cpuacct,cpu:/docker/x\n3:cpuset:/\n";
    assert_int_equal(within(groups), 4);
    put("/cpu/docker/x", "cpu.cfs_quota_us", "-1\n");
    assert_int_equal(within(groups), 64);
    put("/cpu/docker/x", "cpu.cfs_quota_us", "400000\n");
    assert_int_equal(within("4:cpuset,cpuacct:/docker/x\n"), 64);
}

static void test_this_process(void **state)
{
    (void)state;
    assert_true(cores_available() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_without_a_quota, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(test_version_2, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(test_version_1, scratch_set_up, scratch_tear_down),
        cmocka_unit_test(test_this_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
