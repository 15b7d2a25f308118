/* The Gaussian head and its densities, against known values and central differences. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/networks/gaussian.h"
#include "tests/lib/check.h"

static void head_gives_mean_and_std(void **state)
{
    (void)state;
    const struct gaussian_head head = {2, 0.01f, 0.5f};
    /* One row: raw means 0 and 1, raw stds 0 and -100. */
    const float raw[] = {0.0f, 1.0f, 0.0f, -80.0f};
    float mean[2], std[2];
    gaussian_forward(mean, std, &head, raw, 4, 1);
    assert_true(mean[0] == 0.0f && fabsf(mean[1] - 0.761594156f) < 1e-6f);
    assert_true(fabsf(std[0] - 0.51f) < 1e-6f && fabsf(std[1] - 0.01f) < 1e-8f);
}

static void head_gradients_are_central_differences(void **state)
{
    (void)state;
    const struct gaussian_head head = {3, 0.05f, 0.3f};
    const float raw[] = {0.3f, -1.2f, 2.0f, -3.0f, 0.1f, 4.0f};
    const float dmean[] = {0.7f, -0.2f, 1.5f};
    const float dstd[] = {-0.4f, 0.9f, 0.3f};
    float mean[3], std[3], draw[6];
    gaussian_forward(mean, std, &head, raw, 6, 1);
    gaussian_backward(draw, 6, &head, dmean, dstd, mean, raw, 6, 1);
    for (int i = 0; i < 3; i++) {
        const double h = 1e-5;
        const double m = (double)raw[i];
        const double s = (double)raw[3 + i];
        const double by_mean = (tanh(m + h) - tanh(m - h)) / (2.0 * h);
        const double by_std = 0.3 / log(2.0) * (log1p(exp(s + h)) - log1p(exp(s - h))) / (2.0 * h);
        assert_true(fabs((double)draw[i] - (double)dmean[i] * by_mean) < 1e-6);
        assert_true(fabs((double)draw[3 + i] - (double)dstd[i] * by_std) < 1e-6);
    }
}

static void clip_keeps_nan(void **state)
{
    (void)state;
    const float x[] = {-1.5f, -1.0f, 0.25f, 1.0f, 7.0f, NAN};
    float y[6];
    gaussian_clip(y, x, 6);
    assert_true(y[0] == -1.0f && y[1] == -1.0f && y[2] == 0.25f && y[3] == 1.0f && y[4] == 1.0f);
    assert_true(isnan(y[5]));
}

static void densities_have_known_values(void **state)
{
    (void)state;
    /* log of the standard normal density at 0, and at 2 of N(1, 0.5). */
    assert_true(fabs(gaussian_log_density(0.0, 0.0, 1.0) + 0.918938533204673) < 1e-14);
    assert_true(fabs(gaussian_log_density(2.0, 1.0, 0.5) - (-2.0 + log(2.0) - 0.918938533204673)) <
                1e-14);
    /* KL: log(t/s) + s^2/(2 t^2) - 1/2 */
    assert_true(fabs(gaussian_kl_std(0.5, 0.8) - (log(1.6) + 0.25 / 1.28 - 0.5)) < 1e-14);
    assert_true(gaussian_kl_std(0.3, 0.3) == 0.0);
    /* Near each other: 2nd order, ((t-s)/s)^2. */
    assert_true(fabs(gaussian_kl_std(0.5, 0.5 * (1.0 + 1e-5)) / 1e-10 - 1.0) < 1e-4);
}

static void tails_are_right_far_out(void **state)
{
    (void)state;
    /* log Phi(u), from tables computed with 30 digits. */
    static const struct {
        double u, log_tail;
    } known[] = {{0.0, -0.693147180559945309}, {1.0, -0.172753779023449889},
                 {-1.0, -1.84102164500926406}, {-5.0, -15.0649983939887257},
                 {-10.0, -53.2312851505056},   {-20.0, -203.917155371097},
                 {-40.0, -804.608442013754}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        double hazard;
        const double got = gaussian_log_tail(known[i].u, &hazard);
        if (!(fabs(got - known[i].log_tail) < 1e-10 * fabs(known[i].log_tail))) {
            fail_msg("log Phi(%g) is %.15g, expected %.15g", known[i].u, got, known[i].log_tail);
        }
    }
    /* The hazard is its derivative, on both sides of where the formula changes. */
    for (double u = -60.0; u < 6.0; u += 0.37) {
        double hazard;
        double unused;
        const double h = 1e-5;
        (void)gaussian_log_tail(u, &hazard);
        const double difference =
            (gaussian_log_tail(u + h, &unused) - gaussian_log_tail(u - h, &unused)) / (2.0 * h);
        if (!(fabs(hazard - difference) < 1e-6 * fmax(1.0, fabs(hazard)))) {
            fail_msg("hazard at %g is %.12g, central difference %.12g", u, hazard, difference);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head_gives_mean_and_std),
        cmocka_unit_test(head_gradients_are_central_differences),
        cmocka_unit_test(clip_keeps_nan),
        cmocka_unit_test(densities_have_known_values),
        cmocka_unit_test(tails_are_right_far_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
