/* Means, intervals and differences of values at start states. */
#include <math.h>
#include <stdio.h>

#include "common/base/rng.h"
#include "offline_evaluator/estimates.h"
#include "tests/lib/check.h"

/* Two policies at 400 starts that differ much more from each other than the policies do: the second
 * is better by 0.1 everywhere. */
static void differences_are_those_at_the_same_starts(void **state)
{
    (void)state;
    enum { N = 400 };
    static double values[2 * N];
    struct rng rng;
    rng_init(&rng, 1, "estimates", 0);
    for (int i = 0; i < N; i++) {
        values[i] = rng_normal(&rng);
        values[N + i] = values[i] + 0.1;
    }
    const struct estimates_settings settings = {
        .n_critics = 1, .n_policies = 2, .n_starts = N, .resamples = 1000, .level = 0.9, .seed = 7};
    struct estimates made;
    assert_int_equal(estimates_make(&made, values, &settings, NULL), STATUS_OK);
    /* The mean of 400 normals is within 1.645 / 20 of its mean in 90% of the cases. */
    const double width = made.values[0].high - made.values[0].low;
    printf("width of the interval %.4f\n", width);
    assert_true(fabs(width - 2 * 1.645 / 20) < 0.03);
    assert_true(made.values[0].low < made.values[0].mean);
    assert_true(made.values[0].mean < made.values[0].high);
    const struct estimate *difference = &made.differences[1 * 2 + 0];
    assert_true(fabs(difference->mean - 0.1) < 1e-12);
    assert_true(difference->high - difference->low < 1e-9);
    assert_true(fabs(made.differences[0 * 2 + 1].mean + 0.1) < 1e-12);
    assert_true(fabs(made.best[1] - 1) < 1e-9 && made.best[0] == 0);
    estimates_fini(&made);
}

/* Critics that do not agree widen the interval. */
static void critics_are_resampled_too(void **state)
{
    (void)state;
    enum { N = 50 };
    static double values[2 * N];
    for (int i = 0; i < N; i++) {
        values[i] = 1;
        values[N + i] = 3;
    }
    const struct estimates_settings settings = {
        .n_critics = 2, .n_policies = 1, .n_starts = N, .resamples = 1000, .level = 0.9};
    struct estimates made;
    assert_int_equal(estimates_make(&made, values, &settings, NULL), STATUS_OK);
    assert_true(made.values[0].mean == 2);
    assert_true(made.values[0].low == 1 && made.values[0].high == 3);
    estimates_fini(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_are_those_at_the_same_starts),
        cmocka_unit_test(critics_are_resampled_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
