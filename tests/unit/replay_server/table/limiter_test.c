/* The rates: worked examples, and that never both sides wait. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/rng.h"
#include "replay_server/table/limiter.h"
#include "tests/lib/check.h"

static void sampling_waits_for_the_first_transitions(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &(struct limiter_settings){.min_transitions = 100});
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
    struct limiter limiter;
    limiter_init(&limiter, &(struct limiter_settings){
                               .min_transitions = 100, .samples_per_insert = 4, .tolerance = 50});
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
    assert_int_equal(limiter.counts.fresh_inserted, 126);
    limiter_cancel_insert(&limiter, false, 1);
    assert_true(limiter_allow_insert(&limiter, false, 0, NULL, 0));
}

static void an_evicting_insert_waits_for_samples(void **state)
{
    (void)state;
    struct limiter limiter;
    limiter_init(&limiter, &(struct limiter_settings){.samples_per_eviction = 3});
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
        struct limiter limiter;
        limiter_init(&limiter, &(struct limiter_settings){.min_transitions = first,
                                                          .samples_per_insert = ratio,
                                                          .tolerance = tolerance});
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
            const double lead = ratio * ((double)limiter.counts.fresh_inserted - (double)first) -
                                (double)limiter.counts.sampled;
            if (resident >= first) {
                assert_true(lead <= tolerance + ratio * (double)T + 1e-6);
                assert_true(lead >= -tolerance - (double)batch - 1e-6);
            }
        }
    }
}

/* ---- Against a plain model ---- */

/* The rules of limiter.h, written once more with nothing but the counters. */
struct model {
    struct limiter_settings set;
    double sampled, fresh, evicted; /* since the rates changed last .. */
    double all_fresh;               /* .. and from the beginning */
};

/* Other rates: nobody is ahead, but for what is missing of the first min_transitions. */
static void model_set(struct model *m, const struct limiter_settings *set)
{
    if (set->samples_per_insert != m->set.samples_per_insert ||
        set->samples_per_eviction != m->set.samples_per_eviction ||
        set->min_transitions != m->set.min_transitions) {
        m->sampled = m->evicted = 0;
        m->fresh = fmin(m->all_fresh, (double)set->min_transitions);
    }
    m->set = *set;
}

static bool model_sample(const struct model *m, double resident, bool sealed)
{
    const double lead =
        (m->fresh - (double)m->set.min_transitions) * m->set.samples_per_insert - m->sampled;
    return resident > 0 &&
           (sealed || (resident >= (double)m->set.min_transitions &&
                       (m->set.samples_per_insert == 0 || lead >= -m->set.tolerance)));
}

static bool model_insert(const struct model *m, bool restored, double evict)
{
    const double lead =
        (m->fresh - (double)m->set.min_transitions) * m->set.samples_per_insert - m->sampled;
    if (restored) {
        return evict == 0 || m->set.samples_per_eviction == 0 ||
               m->sampled >= m->set.samples_per_eviction * (m->evicted + evict);
    }
    return m->set.samples_per_insert == 0 || lead <= m->set.tolerance;
}

static struct limiter_settings random_settings(struct rng *rng)
{
    return (struct limiter_settings){
        .min_transitions = rng_below(rng, 2) ? rng_below(rng, 300) : 0,
        .samples_per_insert = rng_below(rng, 2) ? (double)(1 + rng_below(rng, 40)) / 8 : 0,
        .tolerance = (double)rng_below(rng, 200),
        .samples_per_eviction = rng_below(rng, 2) ? (double)(1 + rng_below(rng, 40)) / 8 : 0};
}

static void random_histories_do_what_a_plain_model_does(void **state)
{
    (void)state;
    uint32_t refused = 0, allowed = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "limiter", 1);
        struct limiter_settings set = random_settings(&rng);
        struct model model = {.set = set};
        struct limiter limiter;
        limiter_init(&limiter, &set);
        assert_int_equal(limiter_couples_samples(&limiter), set.samples_per_insert > 0);
        uint64_t resident = 0;
        for (int round = 0; round < 500; round++) {
            char why[128] = "";
            if (rng_below(&rng, 50) == 0) { /* while it is used */
                set = random_settings(&rng);
                limiter_set(&limiter, &set);
                model_set(&model, &set);
            } else if (rng_below(&rng, 200) == 0) {
                limiter_reset(&limiter);
                model.sampled = model.fresh = model.evicted = model.all_fresh = 0;
                resident = 0;
            }
            const uint64_t T = 1 + rng_below(&rng, 60);
            const bool restored = rng_below(&rng, 2);
            const uint64_t evict = rng_below(&rng, 3) ? 0 : rng_below(&rng, resident + 1);
            const bool sealed = rng_below(&rng, 20) == 0;
            const bool sample = limiter_allow_sample(&limiter, resident, sealed, why, sizeof why);
            assert_int_equal(sample, model_sample(&model, (double)resident, sealed));
            assert_int_equal(sample, why[0] == '\0'); /* a reason where it waits, and only there */
            why[0] = '\0';
            const bool insert = limiter_allow_insert(&limiter, restored, evict, why, sizeof why);
            assert_int_equal(insert, model_insert(&model, restored, (double)evict));
            assert_int_equal(insert, why[0] == '\0');
            allowed += (uint32_t)sample + (uint32_t)insert;
            refused += (uint32_t)!sample + (uint32_t)!insert;
            if (insert && rng_below(&rng, 2)) {
                limiter_commit_insert(&limiter, restored, T, evict);
                resident += T - (evict < T ? evict : T);
                if (rng_below(&rng, 8) == 0) {
                    limiter_cancel_insert(&limiter, restored, T);
                    model.fresh -= restored ? 0 : (double)T;
                    model.all_fresh -= restored ? 0 : (double)T;
                }
                model.fresh += restored ? 0 : (double)T;
                model.all_fresh += restored ? 0 : (double)T;
                model.evicted += restored ? (double)evict : 0;
            } else if (sample) {
                limiter_commit_sample(&limiter, T);
                model.sampled += (double)T;
            }
        }
    }
    printf("%u allowed, %u refused\n", allowed, refused);
    assert_true(allowed > 1000 && refused > 1000);
}

/* A rate that is raised a thousand times does not ask for what was not sampled before. */
static void another_rate_counts_from_now(void **state)
{
    (void)state;
    struct limiter limiter;
    char why[128];
    limiter_init(&limiter,
                 &(struct limiter_settings){.min_transitions = 100, .samples_per_insert = 1});
    limiter_commit_insert(&limiter, false, 1100, 0);
    limiter_commit_sample(&limiter, 1000);
    limiter_set(&limiter, &(struct limiter_settings){
                              .min_transitions = 100, .samples_per_insert = 8, .tolerance = 10});
    assert_true(limiter_allow_insert(&limiter, false, 0, NULL, 0));
    assert_true(limiter_allow_sample(&limiter, 1100, false, NULL, 0));
    limiter_commit_sample(&limiter, 16);
    assert_false(limiter_allow_sample(&limiter, 1100, false, why, sizeof why));
    assert_string_equal(why, "samples_per_insert: transitions inserted: 1100 of 1101");
    limiter_commit_insert(&limiter, false, 4, 0); /* lead 8 x 4 - 16 = 16 */
    assert_false(limiter_allow_insert(&limiter, false, 0, why, sizeof why));
    assert_string_equal(why, "samples_per_insert: transitions sampled: 1016 of 1022");
    /* A tolerance alone is not another rate. */
    limiter_set(&limiter, &(struct limiter_settings){
                              .min_transitions = 100, .samples_per_insert = 8, .tolerance = 16});
    assert_true(limiter_allow_insert(&limiter, false, 0, NULL, 0));
    limiter_commit_insert(&limiter, false, 1, 0);
    assert_false(limiter_allow_insert(&limiter, false, 0, NULL, 0));
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
        cmocka_unit_test(random_histories_do_what_a_plain_model_does),
        cmocka_unit_test(another_rate_counts_from_now),
        cmocka_unit_test(settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
