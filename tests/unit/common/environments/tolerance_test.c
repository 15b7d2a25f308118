/* tolerance() against dm_control.utils.rewards.tolerance, bounds (1, 2), margin 0.7. */
#include "common/environments/tolerance.h"
#include "tests/lib/check.h"

#include <math.h>
#include <stdio.h>

#define N_X 7
static const double xs[N_X] = {0.2, 0.65, 1.0, 2.0, 2.31, 2.7, 4.0};

struct row {
    enum tolerance_shape shape;
    double value_at_margin;
    double expected[N_X];
};

static const struct row rows[] = {
    {TOLERANCE_GAUSSIAN,
     0.1,
     {0.04941713361323831, 0.5623413251903491, 1.0, 1.0, 0.6366160022321399, 0.09999999999999994,
      6.866488450042994e-09}},
    {TOLERANCE_LINEAR, 0.0, {0.0, 0.5, 1.0, 1.0, 0.557142857142857, 0.0, 0.0}},
    {TOLERANCE_LINEAR,
     0.5,
     {0.4285714285714285, 0.75, 1.0, 1.0, 0.7785714285714285, 0.4999999999999999, 0.0}},
    {TOLERANCE_QUADRATIC, 0.0, {0.0, 0.75, 1.0, 1.0, 0.8038775510204081, 0.0, 0.0}},
    {TOLERANCE_QUADRATIC,
     0.3,
     {0.08571428571428552, 0.825, 1.0, 1.0, 0.8627142857142857, 0.2999999999999996, 0.0}},
    {TOLERANCE_LONG_TAIL,
     0.1,
     {0.07839999999999998, 0.3076923076923077, 1.0, 1.0, 0.3616503062956675, 0.09999999999999995,
      0.013428336530556318}},
};

static void shapes_are_dm_controls(void **state)
{
    (void)state;
    double worst = 0.0;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        const struct tolerance shape = {1.0, 2.0, 0.7, rows[r].shape, rows[r].value_at_margin};
        for (int i = 0; i < N_X; i++) {
            double error = fabs(tolerance(xs[i], &shape) - rows[r].expected[i]);
            worst = fmax(worst, error);
            if (error > 1e-15) {
                fail_msg("row %zu at x %g: %.17g, expected %.17g", r, xs[i],
                         tolerance(xs[i], &shape), rows[r].expected[i]);
            }
        }
    }
    print_message("worst error %.2g\n", worst);
}

static void no_margin_is_a_step(void **state)
{
    (void)state;
    const struct tolerance shape = {1.0, 2.0, 0.0, TOLERANCE_GAUSSIAN, 0.1};
    assert_true(tolerance(0.99, &shape) == 0.0);
    assert_true(tolerance(1.0, &shape) == 1.0);
    assert_true(tolerance(2.0, &shape) == 1.0);
    assert_true(tolerance(2.01, &shape) == 0.0);
}

static void high_may_be_infinite(void **state)
{
    (void)state;
    const struct tolerance shape = {10.0, (double)INFINITY, 10.0, TOLERANCE_LINEAR, 0.0};
    assert_true(fabs(tolerance(3.0, &shape) - 0.3) < 1e-15);
    assert_true(tolerance(1e9, &shape) == 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_dm_controls),
        cmocka_unit_test(no_margin_is_a_step),
        cmocka_unit_test(high_may_be_infinite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
