/* The size of rewards: numbers worked out by hand, and when a user is warned. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "learner/run/reward_sums.h"
#include "tests/lib/check.h"
#include "tests/lib/trajectories.h"

#define LOG_MODULE "test"
#include "common/base/log.h"

/* What reward_sums_log writes, to be freed. The log goes to stderr, which is a file meanwhile. */
static char *logged(const struct reward_sums *sums, double scale)
{
    struct signature signature;
    struct settings settings = settings_default();
    trajectories_signature(&signature, 2);
    settings.reward_scale = scale;
    fflush(stderr);
    FILE *file = tmpfile();
    const int kept = dup(STDERR_FILENO);
    assert_non_null(file);
    dup2(fileno(file), STDERR_FILENO);
    reward_sums_log(sums, &signature, &settings);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    char *text = calloc(1, 4096);
    assert_non_null(text);
    rewind(file);
    (void)!fread(text, 1, 4095, file);
    fclose(file);
    return text;
}

static void sums_are_those_of_a_hand(void **state)
{
    (void)state;
    struct reward_sums sums = {0};
    static const float rows[4][2] = {{0, 1000}, {3, 1000}, {-4, 1000}, {0, 1000}};
    for (int i = 0; i < 4; i++) {
        reward_sums_add(&sums, rows[i], 2);
    }
    assert_true(fabs(sums.tasks[0].mean - -0.25) < 1e-12);
    assert_true(fabs(sums.tasks[0].m2 / 4 - (25.0 / 4 - 0.0625)) < 1e-12);
    assert_int_equal(sums.tasks[0].nonzero, 2);
    assert_true(fabs(reward_sums_size(&sums, 0) - sqrt(12.5)) < 1e-12);
    assert_true(reward_sums_size(&sums, 1) == 1000);
    assert_true(reward_sums_size(&(struct reward_sums){0}, 0) == 0);
}

static void a_size_far_from_1_is_warned_of(void **state)
{
    (void)state;
    struct reward_sums sums = {0};
    static const float rows[4][2] = {{0, 1000}, {1, 1000}, {0, 1000}, {0, 0}};
    for (int i = 0; i < 4; i++) {
        reward_sums_add(&sums, rows[i], 2);
    }
    char *text = logged(&sums, 1);
    assert_non_null(strstr(text, "mean=0.25 std=0.433 nonzero=25% size=1"));
    assert_non_null(strstr(text, "size=1e+03; try learner.reward_scale: 0.001"));
    assert_null(strstr(text, "size=1;"));
    free(text);
    /* Scaled by what was proposed for one task, the other is too small. */
    text = logged(&sums, 0.001);
    assert_non_null(strstr(text, "size=0.001; try learner.reward_scale: 1"));
    assert_null(strstr(text, "try learner.reward_scale: 0.001"));
    free(text);
    /* Without transitions, or without rewards, there is nothing to say. */
    text = logged(&(struct reward_sums){0}, 1);
    assert_string_equal(text, "");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_a_hand),
        cmocka_unit_test(a_size_far_from_1_is_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
