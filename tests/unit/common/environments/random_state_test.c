/* random_state against numpy 2.4's RandomState, digit for digit. */
#include "common/environments/random_state.h"
#include "tests/lib/check.h"

#include <math.h>
#include <stdio.h>

static void assert_same(double ours, double numpy)
{
    if (ours != numpy) {
        fail_msg("%.17g: numpy has %.17g", ours, numpy);
    }
}

/* The generator's own reference: the 10000th word of the default seed (C++ standard, 26.5.5). */
static void words_follow_the_reference(void **state)
{
    (void)state;
    struct random_state random;
    random_state_init(&random, 5489);
    assert_int_equal(random_state_u32(&random), 3499211612u);
    uint32_t word = 0;
    for (int i = 1; i < 10000; i++) {
        word = random_state_u32(&random);
    }
    assert_int_equal(word, 4123659995u);
}

struct sequence {
    uint64_t seed;
    double rand[3], randn[3], uniform; /* drawn in this order; uniform(-3, 5) */
};

static void sequences_are_numpys(void **state)
{
    (void)state;
    static const struct sequence sequences[] = {
        {0,
         {0.5488135039273248, 0.7151893663724195, 0.6027633760716439},
         {-2.268328201180374, 1.3335453816218967, -0.8427240538292873},
         4.134184006256638},
        {1,
         {0.417022004702574, 0.7203244934421581, 0.00011437481734488664},
         {-0.8021728386486427, -0.4488778077207725, -1.1059350760083153},
         1.3105338720268556},
        {4294967295u,
         {0.0976320289940138, 0.9123828453026218, 0.78903530185164},
         {0.0813036681172692, 0.4096851233481656, 0.31595808265170017},
         0.3139715658032767},
    };
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++) {
        const struct sequence *expected = &sequences[i];
        struct random_state random;
        random_state_init(&random, expected->seed);
        for (int k = 0; k < 3; k++) {
            assert_same(random_state_double(&random), expected->rand[k]);
        }
        for (int k = 0; k < 3; k++) {
            /* log() may differ in its last bit between processors. */
            double normal = random_state_normal(&random);
            assert_true(fabs(normal - expected->randn[k]) <= 4e-16);
        }
        assert_same(random_state_uniform(&random, -3.0, 5.0), expected->uniform);
    }
}

static void words_are_renewed(void **state)
{
    (void)state;
    struct random_state random;
    random_state_init(&random, 0);
    for (int i = 0; i < 1000; i++) {
        (void)random_state_double(&random);
    }
    assert_same(random_state_double(&random), 0.5928802707811576);
}

/* RandomState([5, 7]). */
static void large_seeds_are_keys(void **state)
{
    (void)state;
    struct random_state random;
    random_state_init(&random, 5u + (7ull << 32));
    assert_same(random_state_double(&random), 0.33181616794025415);
    assert_same(random_state_double(&random), 0.37590596856960556);
    assert_same(random_state_double(&random), 0.2994391798649376);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_follow_the_reference),
        cmocka_unit_test(sequences_are_numpys),
        cmocka_unit_test(words_are_renewed),
        cmocka_unit_test(large_seeds_are_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
