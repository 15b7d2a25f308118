/* Normalization: the formula, the measuring of mean and scale against a second pass in long double,
 * dimensions that never change, and numbers far from 0. */
#include "tests/lib/check.h"

#include <math.h>
#include <string.h>

#include "common/base/noise.h"
#include "common/networks/normalizer.h"

enum { O = 5, ROWS = 4000 };

static void fill(float (*x)[O])
{
    noise_normal(&x[0][0], ROWS * O, 5, 0, 0, 0);
    for (int t = 0; t < ROWS; t++) {
        x[t][1] = x[t][1] * 1e4f + 3e4f; /* encoder ticks */
        x[t][2] = x[t][2] * 1e-4f;       /* strain */
        x[t][3] = 7.25f;                 /* never changes */
        x[t][4] = 1e6f + (float)(t % 2); /* changes little beside its size, but does */
    }
}

static void mean_and_scale_are_those_of_the_rows(void **state)
{
    (void)state;
    static float x[ROWS][O];
    struct normalizer_sums sums;
    float mean[O], scale[O];
    fill(x);
    assert_int_equal(normalizer_sums_init(&sums, O), STATUS_OK);
    for (int t = 0; t < ROWS; t++) {
        normalizer_sums_add(&sums, x[t]);
    }
    normalizer_sums_finish(&sums, mean, scale);
    normalizer_sums_fini(&sums);
    for (int i = 0; i < 3; i++) {
        long double m = 0, v = 0;
        for (int t = 0; t < ROWS; t++) {
            m += (long double)x[t][i] / ROWS;
        }
        for (int t = 0; t < ROWS; t++) {
            v += ((long double)x[t][i] - m) * ((long double)x[t][i] - m) / ROWS;
        }
        assert_true(fabsl((long double)mean[i] - m) <= 1e-7L * (fabsl(m) + sqrtl(v)));
        assert_true(fabsl((long double)scale[i] * sqrtl(v) - 1) <= 1e-6L);
    }
    assert_true(mean[3] == 7.25f && scale[3] == 0.0f);
    assert_true(scale[4] == 0.0f); /* half a millionth of its size is not above the bound */
}

static void values_are_centered_scaled_and_clipped(void **state)
{
    (void)state;
    const float mean[3] = {1, -2, 7}, scale[3] = {2, 0.5f, 0};
    const struct normalizer normalizer = {mean, scale, 3};
    const float x[3] = {1.25f, -3, 1e30f};
    const float far[3] = {1e6f, -1e6f, 0};
    float y[3];
    normalizer_apply(&normalizer, y, x);
    assert_true(y[0] == 0.5f && y[1] == -0.5f && y[2] == 0.0f);
    normalizer_apply(&normalizer, y, far);
    assert_true(y[0] == NORMALIZER_LIMIT && y[1] == -NORMALIZER_LIMIT && y[2] == 0.0f);
    memcpy(y, x, sizeof y);
    normalizer_apply(&normalizer, y, y); /* in place */
    assert_true(y[0] == 0.5f && y[1] == -0.5f);
}

static void not_a_number_stays_one(void **state)
{
    (void)state;
    const float mean[1] = {0}, scale[1] = {1}, x[1] = {NAN};
    const struct normalizer normalizer = {mean, scale, 1};
    float y[1];
    normalizer_apply(&normalizer, y, x);
    assert_true(isnan(y[0])); /* the learner's check of finite numbers must see it */
}

static void without_rows_nothing_changes(void **state)
{
    (void)state;
    struct normalizer_sums sums;
    float mean[O], scale[O];
    assert_int_equal(normalizer_sums_init(&sums, O), STATUS_OK);
    normalizer_sums_finish(&sums, mean, scale);
    normalizer_sums_fini(&sums);
    for (int i = 0; i < O; i++) {
        assert_true(mean[i] == 0.0f && scale[i] == 1.0f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_and_scale_are_those_of_the_rows),
        cmocka_unit_test(values_are_centered_scaled_and_clipped),
        cmocka_unit_test(not_a_number_stays_one),
        cmocka_unit_test(without_rows_nothing_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
