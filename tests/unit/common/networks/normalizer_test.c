/* Normalization: the formula, the measuring of mean and scale against a second pass in long double,
 * dimensions that never change, and numbers far from 0. */
#include "tests/lib/check.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/normalizer.h"
#include "common/networks/safetensors.h"

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

/* What an independent program computed in double: tests/golden/normalizer/make_cases.py. */
static const double *golden(const struct safetensors *file, const char *name, size_t count)
{
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    assert_non_null(tensor);
    assert_int_equal(tensor->type, SAFETENSORS_F64);
    assert_int_equal(tensor->count, count);
    double *copy = mem_array(count, sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, tensor->data, count * sizeof *copy);
    return copy;
}

static void the_golden_case_is_met(void **state)
{
    (void)state;
    enum { D = 6 };
    struct safetensors *file = NULL;
    struct normalizer_sums sums;
    struct err err = {0};
    float mean[D], scale[D];
    if (safetensors_read(&file, "tests/golden/normalizer/measured.safetensors", 1 << 20, &err) !=
        STATUS_OK) {
        fail_msg("%s", err.text);
    }
    const struct safetensors_tensor *rows = safetensors_find(file, "rows");
    const struct safetensors_tensor *probes = safetensors_find(file, "probes");
    assert_true(rows->type == SAFETENSORS_F32 && rows->shape[1] == D);
    assert_true(probes->type == SAFETENSORS_F32 && probes->shape[1] == D);
    /* Measured as the learner measures it. */
    assert_int_equal(normalizer_sums_init(&sums, D), STATUS_OK);
    for (size_t t = 0; t < rows->shape[0]; t++) {
        float row[D];
        memcpy(row, (const char *)rows->data + t * sizeof row, sizeof row);
        normalizer_sums_add(&sums, row);
    }
    normalizer_sums_finish(&sums, mean, scale);
    normalizer_sums_fini(&sums);
    const double *want_mean = golden(file, "expect/mean", D);
    const double *want_scale = golden(file, "expect/scale", D);
    for (int i = 0; i < D; i++) {
        assert_true(fabs((double)mean[i] - want_mean[i]) <= 1e-7 * fabs(want_mean[i]) + 1e-9);
        assert_true(fabs((double)scale[i] - want_scale[i]) <= 1e-6 * want_scale[i]);
        assert_int_equal(scale[i] == 0.0f, want_scale[i] == 0.0);
    }
    /* Applied, clipped at both ends. */
    const struct normalizer normalizer = {mean, scale, D};
    const double *want = golden(file, "expect/normalized", probes->count);
    double worst = 0;
    for (size_t t = 0; t < probes->shape[0]; t++) {
        float row[D];
        memcpy(row, (const char *)probes->data + t * sizeof row, sizeof row);
        normalizer_apply(&normalizer, row, row);
        for (int i = 0; i < D; i++) {
            worst = fmax(worst, fabs((double)row[i] - want[t * D + (size_t)i]));
        }
    }
    print_message("worst error %.1e\n", worst);
    assert_true(worst <= 1e-5);
    mem_free((void *)(uintptr_t)want_mean);
    mem_free((void *)(uintptr_t)want_scale);
    mem_free((void *)(uintptr_t)want);
    safetensors_free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mean_and_scale_are_those_of_the_rows),
        cmocka_unit_test(values_are_centered_scaled_and_clipped),
        cmocka_unit_test(not_a_number_stays_one),
        cmocka_unit_test(without_rows_nothing_changes),
        cmocka_unit_test(the_golden_case_is_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
