/* Which episodes are held out: the same ones in every release, whatever surrounds them. */
#include "tests/lib/check.h"

#include <math.h>

#include "common/trajectory/episode_holdout.h"

#define N 20000u

static struct episode_identity identity(uint64_t i)
{
    return (struct episode_identity){.source = 0x9e3779b97f4a7c15u * (i / 7), .episode = i % 7};
}

static struct episode_holdout fold(uint32_t i, uint32_t k)
{
    return (struct episode_holdout){.folds = k, .fold = i};
}

static void nothing_is_held_out_without_a_rule(void **state)
{
    (void)state;
    const struct episode_holdout none = {0};
    struct text text = {0};
    assert_false(episode_holdout_any(&none));
    for (uint64_t i = 0; i < 100; i++) {
        const struct episode_identity one = identity(i);
        assert_false(episode_holdout_has(&none, &one));
    }
    episode_holdout_write(&none, &text);
    assert_true(text.size == 0);
    text_fini(&text);
}

/* XXH64 of (source, episode), as another program computes it: tests/integration/test_holdout.py. */
static void the_rule_is_that_of_every_release(void **state)
{
    (void)state;
    const struct {
        uint64_t source, episode;
        double u;
    } cases[] = {{0, 0, 0.683745806358404},
                 {1, 0, 0.4223174462911484},
                 {0, 1, 0.33256363334767747},
                 {0x0123456789abcdef, 7, 0.7269010682803714},
                 {UINT64_MAX, UINT64_C(1) << 32, 0.13275094320520808}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct episode_identity one = {.source = cases[i].source,
                                             .episode = cases[i].episode};
        const struct episode_holdout below = {.fraction = cases[i].u};
        const struct episode_holdout above = {.fraction = cases[i].u + 0x1p-52};
        assert_false(episode_holdout_has(&below, &one));
        assert_true(episode_holdout_has(&above, &one));
    }
}

static void shares_are_met_on_average(void **state)
{
    (void)state;
    const double shares[] = {0.01, 0.1, 0.5};
    for (size_t s = 0; s < 3; s++) {
        const struct episode_holdout holdout = {.fraction = shares[s]};
        double n = 0;
        for (uint64_t i = 0; i < N; i++) {
            const struct episode_identity one = identity(i);
            n += episode_holdout_has(&holdout, &one);
        }
        /* Five standard deviations of a binomial distribution. */
        assert_true(fabs(n / N - shares[s]) < 5 * sqrt(shares[s] * (1 - shares[s]) / N));
        assert_true(episode_holdout_share(&holdout) == shares[s]);
    }
}

static void each_episode_is_in_one_fold(void **state)
{
    (void)state;
    const uint32_t folds[] = {2, 3, 5, 7, 49, EPISODE_HOLDOUT_FOLDS_MAX};
    for (size_t f = 0; f < sizeof folds / sizeof folds[0]; f++) {
        for (uint64_t i = 0; i < 2000; i++) {
            const struct episode_identity one = identity(i);
            uint32_t n = 0;
            for (uint32_t j = 0; j < folds[f]; j++) {
                const struct episode_holdout holdout = fold(j, folds[f]);
                n += episode_holdout_has(&holdout, &one);
            }
            assert_int_equal(n, 1);
        }
    }
}

/* Fold 0 of 5 is the same as a fifth. Neither the shard's number nor a relabelling matters. */
static void shard_and_rewards_do_not_matter(void **state)
{
    (void)state;
    const struct episode_holdout fifth = {.fraction = 0.2};
    const struct episode_holdout first = fold(0, 5);
    for (uint64_t i = 0; i < 2000; i++) {
        struct episode_identity one = identity(i);
        const bool held_out = episode_holdout_has(&fifth, &one);
        assert_int_equal(episode_holdout_has(&first, &one), held_out);
        one.shard = i + 1;
        one.relabel = 77;
        assert_int_equal(episode_holdout_has(&fifth, &one), held_out);
    }
}

static void rules_in_words(void **state)
{
    (void)state;
    struct text text = {0};
    const struct episode_holdout tenth = {.fraction = 0.1};
    const struct episode_holdout third = fold(2, 5);
    episode_holdout_write(&tenth, &text);
    assert_string_equal(text.bytes, "0.1");
    text_fini(&text);
    episode_holdout_write(&third, &text);
    assert_string_equal(text.bytes, "fold 2 of 5");
    text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_held_out_without_a_rule),
        cmocka_unit_test(the_rule_is_that_of_every_release),
        cmocka_unit_test(shares_are_met_on_average),
        cmocka_unit_test(each_episode_is_in_one_fold),
        cmocka_unit_test(shard_and_rewards_do_not_matter),
        cmocka_unit_test(rules_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
