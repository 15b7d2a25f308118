/* Membership, barrier and generations of a group of learners, with time made up. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/rng.h"
#include "learner/exchange/group.h"
#include "tests/lib/check.h"

#define TIMEOUT_NS (30 * NS_PER_S)

static struct group group;
static struct err err;

static status join(uint32_t rank, uint64_t incarnation)
{
    const struct group_join wanted = {rank, group.ranks, incarnation, 0, "host pid 1"};
    return group_join(&group, &wanted, &err);
}

static status arrive(uint32_t rank, uint64_t now_ns, uint64_t digest)
{
    const struct group_mark mark = {group.generation, group.step, group.batch, digest};
    return group_arrive(&group, now_ns, rank, &mark, &err);
}

/* Three ranks, all in, about to take step 11 with batch 20. */
static void open_three(void)
{
    group_init(&group, 3, 6, TIMEOUT_NS);
    assert_int_equal(join(1, 101), STATUS_OK);
    assert_int_equal(join(2, 102), STATUS_OK);
    group_open(&group, 10, 20);
}

/* The same after a step. */
static void step_three(void)
{
    open_three();
    for (uint32_t r = 0; r < 3; r++) {
        assert_int_equal(arrive(r, 1, 0x9), STATUS_OK);
    }
    group_pass(&group);
}

static void forms_when_all_are_in(void **state)
{
    (void)state;
    char text[GROUP_WAITS_SIZE];
    group_init(&group, 3, 6, TIMEOUT_NS);
    assert_false(group_complete(&group));
    group_waits(&group, text);
    assert_string_equal(text, "for rank 1 of 3 to join");
    assert_int_equal(join(1, 101), STATUS_OK);
    group_waits(&group, text);
    assert_string_equal(text, "for rank 2 of 3 to join");
    assert_int_equal(join(2, 102), STATUS_OK);
    assert_true(group_complete(&group));
    group_open(&group, 10, 20);
    assert_int_equal(group.generation, 7);
    assert_int_equal(group.phase, GROUP_STEPPING);
}

static void strangers_are_refused(void **state)
{
    (void)state;
    group_init(&group, 3, 0, TIMEOUT_NS);
    assert_int_equal(join(1, 101), STATUS_OK);
    assert_int_equal(join(0, 5), STATUS_INVALID);
    assert_int_equal(join(3, 5), STATUS_INVALID);
    assert_string_equal(err.text, "rank 3: expected 1..2");
    assert_int_equal(join(2, 0), STATUS_INVALID);
    const struct group_join of_four = {2, 4, 5, 0, ""};
    assert_int_equal(group_join(&group, &of_four, &err), STATUS_INVALID);
    const struct group_join far = {2, 3, 5, GROUP_GENERATION_MAX + 1, ""};
    assert_int_equal(group_join(&group, &far, &err), STATUS_INVALID);
    assert_int_equal(join(1, 103), STATUS_EXISTS);
    assert_string_equal(err.text, "rank 1 is host pid 1");
    assert_int_equal(join(1, 101), STATUS_OK); /* its stream was lost */
    assert_false(group_complete(&group));
}

static void a_barrier_needs_all(void **state)
{
    (void)state;
    open_three();
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(arrive(2, 5, 77 + i), STATUS_OK);
        assert_int_equal(arrive(0, 6, 77 + i), STATUS_OK);
        assert_false(group_full(&group));
        assert_int_equal(arrive(1, 7, 77 + i), STATUS_OK);
        assert_true(group_full(&group));
        group_pass(&group);
        assert_int_equal(group.step, 11 + i);
        assert_int_equal(group.batch, 21 + i);
        assert_false(group_full(&group));
    }
}

static void other_generations_steps_and_batches_are_refused(void **state)
{
    (void)state;
    open_three();
    const struct {
        struct group_mark mark;
        status expected;
        const char *text;
    } cases[] = {
        {{6, 10, 20, 1}, STATUS_MISMATCH, "generation 6 is not the group's: it is 7"},
        {{8, 10, 20, 1}, STATUS_MISMATCH, "generation 8 is not the group's: it is 7"},
        {{7, 9, 20, 1},
         STATUS_INVALID,
         "rank 1 came with step 9 batch 20, expected step 10 batch 20 once"},
        {{7, 10, 21, 1},
         STATUS_INVALID,
         "rank 1 came with step 10 batch 21, expected step 10 batch 20 once"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(group_arrive(&group, 1, 1, &cases[i].mark, &err), cases[i].expected);
        assert_string_equal(err.text, cases[i].text);
        assert_false(group.members[1].arrived);
    }
    assert_int_equal(arrive(1, 1, 1), STATUS_OK);
    assert_int_equal(arrive(1, 1, 1), STATUS_INVALID); /* twice */
    assert_int_equal(group.phase, GROUP_STEPPING);
}

static void differing_parameters_are_found_whoever_comes_last(void **state)
{
    (void)state;
    step_three();
    assert_int_equal(arrive(0, 1, 0xa), STATUS_OK);
    assert_int_equal(arrive(1, 1, 0xa), STATUS_OK);
    assert_int_equal(arrive(2, 1, 0xb), STATUS_CORRUPT);
    assert_string_equal(err.text, "rank 2 of 3 (host pid 1) differs from rank 0 before step 12: "
                                  "parameters 000000000000000b, expected 000000000000000a");
    assert_int_equal(group.phase, GROUP_STEPPING); /* nobody is at fault */
    step_three();
    assert_int_equal(arrive(1, 1, 0xb), STATUS_OK); /* rank 0's are not known yet */
    assert_int_equal(arrive(0, 1, 0xa), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "rank 1 of 3"));
}

/* A rank that joins and does not have the state that it was sent is refused by itself. */
static void a_rank_without_rank_0s_state_is_refused(void **state)
{
    (void)state;
    static const char *const why =
        "for rank 2 of 3 to join; refused: rank 2 of 3 (host pid 1) differs from rank 0 before "
        "step "
        "11: the state it was sent has digest 000000000000000b, expected 000000000000000a";
    for (int late = 0; late < 2; late++) {
        char text[GROUP_WAITS_SIZE];
        open_three();
        /* Whoever comes last. */
        assert_int_equal(late ? arrive(0, 1, 0xa) : arrive(2, 1, 0xb), STATUS_OK);
        assert_int_equal(late ? arrive(2, 1, 0xb) : arrive(0, 1, 0xa), STATUS_CORRUPT);
        assert_int_equal(group.phase, GROUP_BROKEN);
        assert_true(group.members[2].refused && !group.members[1].refused);
        group_form_anew(&group);
        assert_int_equal(join(1, 101), STATUS_OK);
        group_waits(&group, text);
        assert_string_equal(text, why);
        /* The text goes when another process has its place. */
        assert_int_equal(join(2, 103), STATUS_OK);
        group_leave(&group, 2, "is gone");
        group_waits(&group, text);
        assert_string_equal(text, "for rank 2 of 3 to join");
        assert_int_equal(join(2, 104), STATUS_OK);
        group_open(&group, 10, 20);
        assert_int_equal(arrive(2, 1, 0xa), STATUS_OK);
        assert_int_equal(arrive(0, 1, 0xa), STATUS_OK);
    }
}

static void refusals_are_shown_where_nobody_has_the_place(void **state)
{
    (void)state;
    char text[GROUP_WAITS_SIZE];
    group_init(&group, 2, 6, TIMEOUT_NS);
    group_refuse(&group, 1, 77, "rank 1: seed: 4, expected seed: 3 as rank 0 has it");
    group_refuse(&group, 0, 77, "no rank that joins");
    group_refuse(&group, 2, 77, "no such rank");
    group_waits(&group, text);
    assert_string_equal(text, "for rank 1 of 2 to join; refused: rank 1: seed: 4, expected seed: 3 "
                              "as rank 0 has it");
    assert_int_equal(join(1, 101), STATUS_OK);
    group_refuse(&group, 1, 77, "not the one that is there");
    group_leave(&group, 1, "is gone");
    group_waits(&group, text);
    assert_string_equal(text, "for rank 1 of 2 to join");
}

static void a_rank_that_leaves_breaks_the_group(void **state)
{
    (void)state;
    open_three();
    assert_int_equal(arrive(1, 1, 0xa), STATUS_OK);
    group_leave(&group, 1, "is gone");
    assert_int_equal(group.phase, GROUP_BROKEN);
    assert_string_equal(group.reason, "rank 1 of 3 is gone");
    assert_false(group_full(&group));
    /* Nothing of it counts any more. */
    assert_int_equal(arrive(2, 2, 0xa), STATUS_MISMATCH);
    assert_int_equal(join(1, 104), STATUS_GROUP_BROKEN);
    group_form_anew(&group);
    assert_int_equal(join(2, 102), STATUS_OK);
    assert_int_equal(join(1, 104), STATUS_OK);
    group_open(&group, 10, 20);
    assert_int_equal(group.generation, 8);
    const struct group_mark old = {7, 10, 20, 0xa};
    assert_int_equal(group_arrive(&group, 3, 2, &old, &err), STATUS_MISMATCH);
    assert_false(group.members[2].arrived);
}

static void leaving_before_the_group_steps_costs_nothing(void **state)
{
    (void)state;
    group_init(&group, 3, 0, TIMEOUT_NS);
    assert_int_equal(join(1, 101), STATUS_OK);
    group_leave(&group, 1, "is gone");
    assert_int_equal(group.phase, GROUP_FORMING);
    assert_int_equal(join(1, 102), STATUS_OK);
}

static void joining_again_breaks_a_group_that_steps(void **state)
{
    (void)state;
    open_three();
    assert_int_equal(join(2, 102), STATUS_GROUP_BROKEN);
    assert_int_equal(group.phase, GROUP_BROKEN);
    open_three();
    assert_int_equal(join(2, 999), STATUS_EXISTS); /* another process: not its place */
    assert_int_equal(group.phase, GROUP_STEPPING);
}

static void silence_has_a_limit(void **state)
{
    (void)state;
    const uint64_t t = 1000 * NS_PER_S;
    open_three();
    group_watch(&group, t + 10 * TIMEOUT_NS); /* rank 0 is not there itself */
    assert_int_equal(group.phase, GROUP_STEPPING);
    assert_int_equal(arrive(1, t, 0xa), STATUS_OK);
    assert_int_equal(arrive(0, t, 0xa), STATUS_OK);
    group_watch(&group, t + TIMEOUT_NS - 1);
    assert_int_equal(group.phase, GROUP_STEPPING);
    /* A word gives it as much again. */
    group_heard(&group, t + TIMEOUT_NS - 1, 2, "for a batch");
    char text[GROUP_WAITS_SIZE];
    group_waits(&group, text);
    assert_string_equal(text, "for rank 2 of 3, which waits for a batch");
    group_watch(&group, t + 2 * TIMEOUT_NS - 2);
    assert_int_equal(group.phase, GROUP_STEPPING);
    group_watch(&group, t + 2 * TIMEOUT_NS);
    assert_int_equal(group.phase, GROUP_BROKEN);
    assert_string_equal(group.reason, "rank 2 of 3 said nothing for 30 s");
}

static void the_generation_never_falls(void **state)
{
    (void)state;
    group_init(&group, 2, 4, TIMEOUT_NS);
    const struct group_join knows_more = {1, 2, 9, 40, ""};
    assert_int_equal(group_join(&group, &knows_more, &err), STATUS_OK);
    group_open(&group, 0, 0);
    assert_int_equal(group.generation, 41);
}

/* Whatever happens in whatever order: a barrier passes only with every rank's arrival in this
 * generation, since the last pass. */
static void no_sum_is_ever_short(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct rng rng;
        rng_init(&rng, seed, "group_test", 0);
        const uint32_t ranks = 2 + (uint32_t)rng_below(&rng, 4);
        group_init(&group, ranks, 0, TIMEOUT_NS);
        uint64_t now_ns = NS_PER_S, incarnations = 1, passed = 0;
        uint64_t arrived[8] = {
            0}; /* the generation that a rank arrived in, 0: not since the pass */
        for (int i = 0; i < 2000; i++) {
            const uint32_t rank = (uint32_t)rng_below(&rng, ranks);
            now_ns += rng_below(&rng, 3 * NS_PER_S);
            switch (rng_below(&rng, 12)) {
            case 0:
                if (rank != 0) {
                    group_leave(&group, rank, "is gone");
                }
                break;
            case 1:
            case 2:
                (void)join(rank, ++incarnations);
                break;
            case 3: {
                const struct group_mark old = {group.generation - rng_below(&rng, 2), group.step,
                                               group.batch - rng_below(&rng, 2), 0xa};
                if (group_arrive(&group, now_ns, rank, &old, &err) == STATUS_OK) {
                    arrived[rank] = group.generation;
                }
                break;
            }
            default:
                if (arrive(rank, now_ns, 0xa) == STATUS_OK) {
                    arrived[rank] = group.generation;
                }
            }
            group_watch(&group, now_ns);
            if (group.phase == GROUP_BROKEN) {
                group_form_anew(&group);
            }
            if (group.phase == GROUP_FORMING && group_complete(&group)) {
                group_open(&group, group.step, group.batch);
                memset(arrived, 0, sizeof arrived);
            }
            if (group_full(&group)) {
                for (uint32_t r = 0; r < ranks; r++) {
                    assert_int_equal(arrived[r], group.generation);
                    assert_true(group.members[r].incarnation != 0);
                    arrived[r] = 0;
                }
                group_pass(&group);
                passed++;
            }
        }
        if (passed == 0 || group.generation == 0) {
            fail_msg("seed %llu: nothing ever passed", (unsigned long long)seed);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_when_all_are_in),
        cmocka_unit_test(strangers_are_refused),
        cmocka_unit_test(a_barrier_needs_all),
        cmocka_unit_test(other_generations_steps_and_batches_are_refused),
        cmocka_unit_test(differing_parameters_are_found_whoever_comes_last),
        cmocka_unit_test(a_rank_without_rank_0s_state_is_refused),
        cmocka_unit_test(refusals_are_shown_where_nobody_has_the_place),
        cmocka_unit_test(a_rank_that_leaves_breaks_the_group),
        cmocka_unit_test(leaving_before_the_group_steps_costs_nothing),
        cmocka_unit_test(joining_again_breaks_a_group_that_steps),
        cmocka_unit_test(silence_has_a_limit),
        cmocka_unit_test(the_generation_never_falls),
        cmocka_unit_test(no_sum_is_ever_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
