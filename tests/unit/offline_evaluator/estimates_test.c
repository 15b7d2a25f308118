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

static void estimate_of(struct estimate *value, const double *values, size_t n_critics, size_t n)
{
    const struct estimates_settings settings = {
        .n_critics = n_critics, .n_policies = 1, .n_starts = n, .resamples = 20000, .level = 0.9};
    struct estimates made;
    assert_int_equal(estimates_make(&made, values, &settings, NULL), STATUS_OK);
    *value = made.values[0];
    estimates_fini(&made);
}

/* Critics that do not agree widen the interval: by Student's t times the std between them. */
static void an_interval_covers_the_error_of_a_fit(void **state)
{
    (void)state;
    enum { N = 20, E = 5 };
    /* All starts have the same value; the critics' std is the root of 2.5. */
    static const double critic[E] = {1, 2, 3, 4, 5};
    static double values[E * N];
    struct estimate value;
    for (int i = 0; i < E * N; i++) {
        values[i] = critic[i / N];
    }
    estimate_of(&value, values, E, N);
    assert_true(fabs(value.mean - 3) < 1e-12);
    printf("%.3f .. %.3f\n", value.low, value.high);
    /* The 95% quantile of t with 4 degrees of freedom is 2.132. */
    assert_true(fabs(value.high - value.mean - 2.132 * sqrt(2.5)) < 0.15);
    assert_true(fabs(value.mean - value.low - 2.132 * sqrt(2.5)) < 0.15);
    /* Of two critics, with 1 degree, it is 6.314. */
    estimate_of(&value, values, 2, N);
    assert_true(fabs(value.high - value.mean - 6.314 * sqrt(0.5)) < 0.5);
    /* One critic cannot tell its error. */
    estimate_of(&value, values, 1, N);
    assert_true(value.low == 1 && value.high == 1);
}

/* What both policies have in common does not widen the interval of their difference. */
static void an_error_that_is_shared_cancels(void **state)
{
    (void)state;
    enum { N = 10, E = 4 };
    static double values[E * 2 * N];
    for (int e = 0; e < E; e++) {
        for (int i = 0; i < N; i++) {
            values[(e * 2 + 0) * N + i] = e;
            values[(e * 2 + 1) * N + i] = e + 0.25;
        }
    }
    const struct estimates_settings settings = {
        .n_critics = E, .n_policies = 2, .n_starts = N, .resamples = 500, .level = 0.9};
    struct estimates made;
    assert_int_equal(estimates_make(&made, values, &settings, NULL), STATUS_OK);
    const struct estimate *difference = &made.differences[1 * 2 + 0];
    assert_true(fabs(difference->low - 0.25) < 1e-9 && fabs(difference->high - 0.25) < 1e-9);
    assert_true(made.values[0].high - made.values[0].low > 2);
    estimates_fini(&made);
}

/* What is known of the behaviour is taken for every policy, independently: it widens values and, by
 * the root of two more, differences. An error that changes its sign from start to start is none. */
static void the_error_of_the_behaviour_is_that_of_all(void **state)
{
    (void)state;
    enum { N = 400 };
    static double values[2 * N], error[N];
    for (int i = 0; i < N; i++) {
        values[i] = 1;
        values[N + i] = 1.5;
        error[i] = 2;
    }
    const struct estimates_settings settings = {.n_critics = 1,
                                                .n_policies = 2,
                                                .n_starts = N,
                                                .resamples = 20000,
                                                .level = 0.9,
                                                .error = error};
    struct estimates made;
    assert_int_equal(estimates_make(&made, values, &settings, NULL), STATUS_OK);
    const struct estimate *difference = &made.differences[1 * 2 + 0];
    printf("%.3f .. %.3f, %.3f .. %.3f\n", made.values[0].low, made.values[0].high, difference->low,
           difference->high);
    assert_true(made.values[0].mean == 1 && fabs(difference->mean - 0.5) < 1e-12);
    assert_true(fabs(made.values[0].high - 1 - 1.645 * 2) < 0.15);
    assert_true(fabs(1 - made.values[0].low - 1.645 * 2) < 0.15);
    assert_true(fabs(difference->high - 0.5 - 1.645 * 2 * sqrt(2)) < 0.2);
    estimates_fini(&made);
    for (int i = 0; i < N; i++) {
        error[i] = i % 2 == 0 ? 2 : -2;
    }
    assert_int_equal(estimates_make(&made, values, &settings, NULL), STATUS_OK);
    assert_true(made.values[0].high - made.values[0].low < 0.5);
    estimates_fini(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differences_are_those_at_the_same_starts),
        cmocka_unit_test(an_interval_covers_the_error_of_a_fit),
        cmocka_unit_test(an_error_that_is_shared_cancels),
        cmocka_unit_test(the_error_of_the_behaviour_is_that_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
