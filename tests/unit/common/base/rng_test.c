/* The stream generator: pinned bits, independence of roles, uniformity, normality. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/rng.h"
#include "tests/lib/check.h"

static void known_answers(void **state)
{
    (void)state;
    /* The xoshiro256** update worked by hand from state {1, 2, 3, 4}. */
    struct rng rng = {{1, 2, 3, 4}};
    assert_int_equal(rng_u64(&rng), 11520);
    assert_int_equal(rng_u64(&rng), 0);
    assert_int_equal(rng_u64(&rng), 1509978240);
}

static void streams_differ_by_seed_role_index(void **state)
{
    (void)state;
    struct rng a, b;
    rng_init(&a, 1, "shuffle", 0);
    rng_init(&b, 1, "shuffle", 0);
    assert_memory_equal(&a, &b, sizeof a);
    rng_init(&b, 2, "shuffle", 0);
    assert_memory_not_equal(&a, &b, sizeof a);
    rng_init(&b, 1, "shuffle", 1);
    assert_memory_not_equal(&a, &b, sizeof a);
    rng_init(&b, 1, "collector", 0);
    assert_memory_not_equal(&a, &b, sizeof a);
    /* seed and index must not be able to cancel. */
    rng_init(&a, 3, "x", 5);
    rng_init(&b, 5, "x", 3);
    assert_memory_not_equal(&a, &b, sizeof a);
}

static void below_is_uniform(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 11, "test", 0);
    enum { N = 7, DRAWS = 70000 };
    double counts[N] = {0};
    for (int i = 0; i < DRAWS; i++) {
        const uint64_t draw = rng_below(&rng, N);
        assert_true(draw < N);
        counts[draw]++;
    }
    double chi2 = 0;
    for (int i = 0; i < N; i++) {
        const double expected = (double)DRAWS / N;
        chi2 += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
    printf("chi2 of 6 degrees: %.2f\n", chi2);
    assert_true(chi2 < 22.5); /* p = 0.001 */
    for (int i = 0; i < 100; i++) {
        assert_int_equal(rng_below(&rng, 1), 0);
    }
    /* A range just above half of all: rejection must keep draws below it. */
    const uint64_t most = (1ull << 63) + 1;
    for (int i = 0; i < 1000; i++) {
        assert_true(rng_below(&rng, most) < most);
    }
}

static void normals_have_the_right_moments(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 12, "test", 0);
    enum { DRAWS = 400000 };
    double sum = 0, sum2 = 0, sum4 = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double x = rng_normal(&rng);
        assert_true(isfinite(x));
        sum += x;
        sum2 += x * x;
        sum4 += x * x * x * x;
    }
    const double mean = sum / DRAWS, variance = sum2 / DRAWS, kurtosis = sum4 / DRAWS;
    printf("mean %.5f variance %.5f fourth moment %.4f\n", mean, variance, kurtosis);
    assert_true(fabs(mean) < 4 / sqrt(DRAWS));
    assert_true(fabs(variance - 1) < 4 * sqrt(2.0 / DRAWS));
    assert_true(fabs(kurtosis - 3) < 4 * sqrt(96.0 / DRAWS));
}

static void normals_agree_with_libm(void **state)
{
    (void)state;
    struct rng rng, same;
    rng_init(&rng, 13, "test", 0);
    same = rng;
    double worst = 0;
    for (int i = 0; i < 100000; i++) {
        const double x = rng_normal(&rng);
        const double u = 1.0 - rng_uniform(&same);
        const double v = rng_uniform(&same);
        const double exact = sqrt(-2.0 * log(u)) * cos(6.28318530717958648 * v);
        worst = fmax(worst, fabs(x - exact));
    }
    printf("worst difference from libm: %.3g\n", worst);
    assert_true(worst < 1e-14);
}

static void shuffle_is_a_fair_permutation(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 14, "test", 0);
    double counts[6] = {0};
    for (int i = 0; i < 60000; i++) {
        uint32_t items[3] = {0, 1, 2};
        rng_shuffle(&rng, items, 3);
        assert_int_equal(items[0] + items[1] + items[2], 3);
        assert_true(items[0] != items[1] && items[1] != items[2]);
        counts[items[0] * 2 + (items[1] > items[2])]++;
    }
    double chi2 = 0;
    for (int i = 0; i < 6; i++) {
        chi2 += (counts[i] - 10000) * (counts[i] - 10000) / 10000;
    }
    printf("chi2 of 5 degrees: %.2f\n", chi2);
    assert_true(chi2 < 20.5); /* p = 0.001 */
    rng_shuffle(&rng, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(streams_differ_by_seed_role_index),
        cmocka_unit_test(below_is_uniform),
        cmocka_unit_test(normals_have_the_right_moments),
        cmocka_unit_test(normals_agree_with_libm),
        cmocka_unit_test(shuffle_is_a_fair_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
