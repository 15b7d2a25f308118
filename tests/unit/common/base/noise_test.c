/* The counter-based generator: published vectors, any split the same, agreement with libm, quality.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/noise.h"
#include "common/base/rng.h"
#include "tests/lib/check.h"

#define MANY (1u << 20)

static float *many; /* (MANY) */

static void philox_known_answers(void **state)
{
    (void)state;
    /* philox4x32 with 10 rounds, from the known-answer file of Random123 (Salmon et al.). */
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        noise_philox(out, vectors[i].counter, vectors[i].key);
        assert_memory_equal(out, vectors[i].out, sizeof out);
    }
}

/* Element i by the recipe in the header, in double with libm. */
static double plain_normal(uint64_t seed, uint64_t step, uint32_t purpose, uint64_t i)
{
    uint32_t key[2], w[4];
    noise_key(key, seed, purpose, 1);
    const uint64_t j = i % 64;
    const uint64_t block = 16 * (i / 64) + j % 16;
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)step,
                                 (uint32_t)(step >> 32)};
    noise_philox(w, counter, key);
    const uint32_t *pair = w + (j / 32) * 2;
    /* The rounding to float of the uniform is part of the recipe. */
    const float u = ((float)(int32_t)(pair[0] >> 1) + 0.5f) * 0x1p-31f;
    const double r = sqrt(-2.0 * log((double)u));
    const double a = 6.28318530717958648 *
                     ((double)(pair[1] >> 30) / 4.0 + (double)(int32_t)(pair[1] << 2) * 0x1p-34);
    return r * (j / 16 % 2 == 0 ? cos(a) : sin(a));
}

static void agrees_with_the_recipe_in_double(void **state)
{
    (void)state;
    double worst = 0;
    noise_normal(many, MANY, 7, 0x123456789abcull, 3, 5);
    for (size_t i = 0; i < 300000; i++) {
        const double exact = plain_normal(7, 0x123456789abcull, 3, 5 + i);
        worst = fmax(worst, fabs((double)many[i] - exact) / (1 + fabs(exact)));
    }
    printf("worst difference from the recipe in double: %.3g\n", worst);
    assert_true(worst < 1e-6);
}

static void pinned_bits(void **state)
{
    (void)state;
    /* Other bits here are another generator: runs would not repeat. Made by this code on 2025's
     * x86-64-v3 build. */
    noise_normal(many, 100000, 42, 1000, 1, 0);
    const uint64_t digest = XXH64(many, 100000 * sizeof *many, 0);
    printf("digest of 100000 normals: 0x%016llx\n", (unsigned long long)digest);
    assert_int_equal(digest, 0x5cd5be20c470aac9ull);
}

static void any_split_gives_the_same(void **state)
{
    (void)state;
    enum { N = 1500 };
    struct rng rng;
    rng_init(&rng, 1, "noise_test", 0);
    const uint64_t firsts[] = {0, 1, 63, 64, 1000003, (1ull << 36) + 17, 0xfffffffffff0ull};
    for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++) {
        float whole[N], parts[N];
        noise_normal(whole, N, 9, 8, 7, firsts[f]);
        for (int trial = 0; trial < 50; trial++) {
            memset(parts, 0, sizeof parts);
            for (size_t at = 0; at < N;) {
                const size_t room = N - at;
                size_t n = (size_t)rng_below(&rng, 200);
                n = n < room ? n : room;
                noise_normal(parts + at, n, 9, 8, 7, firsts[f] + at);
                at += n;
            }
            assert_memory_equal(whole, parts, sizeof whole);
        }
    }
}

static void writes_only_its_range(void **state)
{
    (void)state;
    for (size_t n = 0; n < 200; n++) {
        float *out = malloc((n + 2) * sizeof *out);
        out[0] = out[n + 1] = 77.0f;
        noise_normal(out + 1, n, 1, 2, 3, 31);
        assert_true(out[0] == 77.0f && out[n + 1] == 77.0f);
        free(out);
    }
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void moments_tails_and_distribution(void **state)
{
    (void)state;
    noise_normal(many, MANY, 20, 1, 1, 0);
    const double n = MANY;
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, beyond3 = 0, beyond4 = 0, lag = 0;
    for (size_t i = 0; i < MANY; i++) {
        const double x = (double)many[i];
        assert_true(isfinite(x) && fabs(x) < 6.7);
        m1 += x;
        m2 += x * x;
        m3 += x * x * x;
        m4 += x * x * x * x;
        beyond3 += fabs(x) > 3;
        beyond4 += fabs(x) > 4;
        lag += i >= 16 ? x * (double)many[i - 16] : 0; /* cosine against sine of the same block */
    }
    printf("mean %.5f variance %.5f skew %.5f fourth %.4f beyond 3: %.0f, 4: %.0f, lag 16 %.5f\n",
           m1 / n, m2 / n, m3 / n, m4 / n, beyond3, beyond4, lag / n);
    assert_true(fabs(m1 / n) < 4 / sqrt(n));
    assert_true(fabs(m2 / n - 1) < 4 * sqrt(2 / n));
    assert_true(fabs(m3 / n) < 4 * sqrt(15 / n));
    assert_true(fabs(m4 / n - 3) < 4 * sqrt(96 / n));
    assert_true(fabs(lag / n) < 4 / sqrt(n));
    const double expected3 = n * erfc(3 / sqrt(2)), expected4 = n * erfc(4 / sqrt(2));
    assert_true(fabs(beyond3 - expected3) < 4 * sqrt(expected3));
    assert_true(fabs(beyond4 - expected4) < 4 * sqrt(expected4));

    /* Kolmogorov-Smirnov: the largest distance between empirical and true distribution. */
    qsort(many, MANY, sizeof *many, by_value);
    double distance = 0;
    for (size_t i = 0; i < MANY; i++) {
        const double phi = 0.5 * erfc(-(double)many[i] / sqrt(2));
        distance = fmax(distance, fmax(phi - (double)i / n, (double)(i + 1) / n - phi));
    }
    printf("Kolmogorov-Smirnov sqrt(n) D = %.3f\n", sqrt(n) * distance);
    assert_true(sqrt(n) * distance < 1.95); /* p = 0.001 */
}

/* Sequences that differ in one coordinate only are as good as independent. */
static void coordinates_give_independent_sequences(void **state)
{
    (void)state;
    enum { N = 100000 };
    static float a[N], b[N];
    const struct {
        uint64_t seed, step;
        uint32_t purpose;
    } others[] = {{2, 1, 1}, {1, 2, 1}, {1, 1, 2}, {1, 1ull << 32 | 1, 1}, {1ull << 32 | 1, 1, 1}};
    noise_normal(a, N, 1, 1, 1, 0);
    for (size_t o = 0; o < sizeof others / sizeof others[0]; o++) {
        noise_normal(b, N, others[o].seed, others[o].step, others[o].purpose, 0);
        double sum = 0;
        for (size_t i = 0; i < N; i++) {
            sum += (double)a[i] * (double)b[i];
        }
        printf("correlation with other %zu: %.5f\n", o, sum / N);
        assert_true(fabs(sum / N) < 4.5 / sqrt(N));
    }
}

static void below_is_uniform_and_repeatable(void **state)
{
    (void)state;
    enum { N = 10, DRAWS = 100000 };
    double counts[N] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        const uint64_t draw = noise_below(N, 3, 4, 5, i);
        assert_true(draw < N);
        assert_int_equal(draw, noise_below(N, 3, 4, 5, i));
        counts[draw]++;
    }
    double chi2 = 0;
    for (int i = 0; i < N; i++) {
        chi2 += (counts[i] - DRAWS / N) * (counts[i] - DRAWS / N) / (DRAWS / N);
    }
    printf("chi2 of 9 degrees: %.2f\n", chi2);
    assert_true(chi2 < 27.9); /* p = 0.001 */
    assert_int_equal(noise_below(1, 3, 4, 5, 6), 0);
    const uint64_t huge = 1ull << 63;
    assert_true(noise_below(huge, 1, 1, 1, 1) < huge);
}

static int set_up(void **state)
{
    (void)state;
    many = malloc(MANY * sizeof *many);
    return many == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    free(many);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(agrees_with_the_recipe_in_double),
        cmocka_unit_test(pinned_bits),
        cmocka_unit_test(any_split_gives_the_same),
        cmocka_unit_test(writes_only_its_range),
        cmocka_unit_test(moments_tails_and_distribution),
        cmocka_unit_test(coordinates_give_independent_sequences),
        cmocka_unit_test(below_is_uniform_and_repeatable),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
