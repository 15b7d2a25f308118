/* The rates: worked examples, and that never both sides wait. */
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "replay_server/table/limiter.h"
#include "tests/lib/check.h"

static void sampling_waits_for_the_first_transitions(void **state)
{
    (void)state;
    struct limiter limiter = {.settings = {.min_transitions = 100}};
    char why[128];
    assert_false(limiter_allow_sample(&limiter, 0, false, why, sizeof why));
    assert_false(limiter_allow_sample(&limiter, 99, false, why, sizeof why));
    assert_string_equal(why, "min_transitions: 99 of 100");
    assert_true(limiter_allow_sample(&limiter, 100, false, why, sizeof why));
    /* A sealed table will not get more: it serves what it has, if it has any. */
    assert_true(limiter_allow_sample(&limiter, 1, true, NULL, 0));
    assert_false(limiter_allow_sample(&limiter, 0, true, NULL, 0));
    assert_true(limiter_allow_insert(&limiter, false, 10, NULL, 0));
    assert_true(limiter_allow_insert(&limiter, true, 10, NULL, 0));
}

/* 4 sampled per one inserted, 100 first, tolerance 50: lead = 4 (inserted - 100) - sampled. */
static void samples_per_insert_holds_both_sides(void **state)
{
    (void)state;
    struct limiter limiter = {
        .settings = {.min_transitions = 100, .samples_per_insert = 4, .tolerance = 50}};
    char why[128];
    limiter_commit_insert(&limiter, false, 100, 0);
    assert_true(limiter_allow_sample(&limiter, 100, false, NULL, 0));
    limiter_commit_sample(&limiter, 50); /* lead -50 */
    assert_true(limiter_allow_sample(&limiter, 100, false, NULL, 0));
    limiter_commit_sample(&limiter, 2); /* lead -52 */
    assert_false(limiter_allow_sample(&limiter, 100, false, why, sizeof why));
    assert_string_equal(why, "samples_per_insert: transitions inserted: 100 of 101");
    assert_true(limiter_allow_insert(&limiter, false, 0, NULL, 0));
    limiter_commit_insert(&limiter, false, 25, 0); /* lead 48 */
    assert_true(limiter_allow_sample(&limiter, 125, false, NULL, 0));
    assert_true(limiter_allow_insert(&limiter, false, 0, NULL, 0));
    limiter_commit_insert(&limiter, false, 1, 0); /* lead 52 */
    assert_false(limiter_allow_insert(&limiter, false, 0, why, sizeof why));
    assert_string_equal(why, "samples_per_insert: transitions sampled: 52 of 54");
    /* Logs are not acting: they neither wait for this nor count. */
    assert_true(limiter_allow_insert(&limiter, true, 0, NULL, 0));
    limiter_commit_insert(&limiter, true, 1000, 0);
    assert_int_equal(limiter.fresh_inserted, 126);
    limiter_cancel_insert(&limiter, false, 1);
    assert_true(limiter_allow_insert(&limiter, false, 0, NULL, 0));
}

static void an_evicting_insert_waits_for_samples(void **state)
{
    (void)state;
    struct limiter limiter = {.settings = {.samples_per_eviction = 3}};
    char why[128];
    assert_true(limiter_allow_insert(&limiter, true, 0, NULL, 0));
    assert_false(limiter_allow_insert(&limiter, true, 10, why, sizeof why));
    assert_string_equal(why, "samples_per_eviction: transitions sampled: 0 of 30");
    assert_true(limiter_allow_insert(&limiter, false, 10, NULL, 0)); /* fresh: another rate */
    limiter_commit_sample(&limiter, 30);
    assert_true(limiter_allow_insert(&limiter, true, 10, NULL, 0));
    limiter_commit_insert(&limiter, true, 12, 10);
    assert_false(limiter_allow_insert(&limiter, true, 1, NULL, 0));
    limiter_commit_sample(&limiter, 3);
    assert_true(limiter_allow_insert(&limiter, true, 1, NULL, 0));
    assert_false(limiter_allow_insert(&limiter, true, 2, NULL, 0));
}

/* Whatever is inserted and sampled, in whatever sizes: one side may always go on, and the ratio
 * holds to within the tolerance and one of each. */
static void never_both_sides_wait(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "limiter", 0);
        const double ratio = exp(6 * (rng_uniform(&rng) - 0.5));
        const uint64_t first = rng_below(&rng, 500);
        const double tolerance = rng_below(&rng, 3) ? (double)rng_below(&rng, 300) : 0;
        struct limiter limiter = {.settings = {.min_transitions = first,
                                               .samples_per_insert = ratio,
                                               .tolerance = tolerance}};
        const uint64_t T = 1 + rng_below(&rng, 200), batch = 1 + rng_below(&rng, 600);
        uint64_t resident = 0;
        for (int round = 0; round < 2000; round++) {
            const bool insert = limiter_allow_insert(&limiter, false, 0, NULL, 0);
            const bool sample = limiter_allow_sample(&limiter, resident, false, NULL, 0);
            if (!insert && !sample) {
                fail_msg("seed %d: both wait", (int)seed);
            }
            if (insert && (!sample || rng_below(&rng, 2))) {
                limiter_commit_insert(&limiter, false, T, 0);
                resident += T;
            } else {
                limiter_commit_sample(&limiter, batch);
            }
            const double lead =
                ratio * ((double)limiter.fresh_inserted - (double)first) - (double)limiter.sampled;
            if (resident >= first) {
                assert_true(lead <= tolerance + ratio * (double)T + 1e-6);
                assert_true(lead >= -tolerance - (double)batch - 1e-6);
            }
        }
    }
}

static void settings_are_checked(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(limiter_check(&(struct limiter_settings){.samples_per_insert = -1}, &err),
                     STATUS_INVALID);
    assert_non_null(strstr(err.text, "samples_per_insert -1"));
    assert_int_equal(limiter_check(&(struct limiter_settings){.tolerance = (double)NAN}, &err),
                     STATUS_INVALID);
    assert_int_equal(
        limiter_check(&(struct limiter_settings){.samples_per_eviction = (double)INFINITY}, &err),
        STATUS_INVALID);
    assert_int_equal(limiter_check(&(struct limiter_settings){.samples_per_insert = 3}, &err),
                     STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampling_waits_for_the_first_transitions),
        cmocka_unit_test(samples_per_insert_holds_both_sides),
        cmocka_unit_test(an_evicting_insert_waits_for_samples),
        cmocka_unit_test(never_both_sides_wait),
        cmocka_unit_test(settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
