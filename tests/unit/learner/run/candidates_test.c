/* Which publications of a run are kept. */
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "learner/run/candidates.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static void at_most_so_many_are_spread_evenly(void **state)
{
    (void)state;
    for (uint64_t published = 1; published < 500; published++) {
        const uint64_t stride = candidates_stride(published, 6);
        assert_int_equal(stride & (stride - 1), 0);
        assert_true(published / stride <= 6);
        assert_true(stride == 1 || published / (stride / 2) > 6);
    }
}

/* The steps of the files in the folder. */
static size_t list(uint64_t *steps, size_t most)
{
    char pattern[300];
    glob_t found = {0};
    snprintf(pattern, sizeof pattern, "%s/candidates/*", scratch_folder);
    (void)glob(pattern, 0, NULL, &found);
    const size_t n = found.gl_pathc;
    for (size_t i = 0; i < n && i < most; i++) {
        unsigned long long step = 0;
        const char *name = found.gl_pathv[i] + strlen(scratch_folder);
        assert_int_equal(sscanf(name, "/candidates/step-%llu.safetensors", &step), 1);
        steps[i] = step;
    }
    globfree(&found);
    return n;
}

static void a_run_keeps_what_its_step_says(void **state)
{
    (void)state;
    struct err err;
    uint64_t steps[8];
    for (uint64_t step = 0; step <= 250; step += 10) {
        /* Step 0, and a step between two publications, are not kept. */
        assert_int_equal(candidates_keep(scratch_folder, step, 10, 4, "x", 1, &err), STATUS_OK);
        assert_int_equal(candidates_keep(scratch_folder, step + 5, 10, 4, "x", 1, &err), STATUS_OK);
        assert_true(list(steps, 8) <= 4);
    }
    assert_int_equal(list(steps, 8), 3);
    assert_int_equal(steps[0], 80);
    assert_int_equal(steps[1], 160);
    assert_int_equal(steps[2], 240);
    candidates_clear(scratch_folder);
    assert_int_equal(list(steps, 8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_most_so_many_are_spread_evenly),
        cmocka_unit_test_setup_teardown(a_run_keeps_what_its_step_says, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
