/* Observations outside of the ranges that were seen in learning: told, and held, by each rule. */
#include "tests/lib/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/episode_history.h"
#include "deploy/policy/hindcast_policy.h"
#include "tests/lib/policies.h"

#define N_ACTIONS 2

static const struct signature ROBOT = {.n_slices = 2,
                                       .slices = {{"position", 3}, {"force", 2}},
                                       .A = N_ACTIONS,
                                       .action_min = {-12, 0},
                                       .action_max = {8, 1},
                                       .K = 1,
                                       .rewards = {"reach"}};
/* Dimension 2 never changes. */
static const float MIN[5] = {-1, -1, 4, 0, -100}, MAX[5] = {1, 3, 4, 1e-3f, 100};
static const struct policy_ranges RANGES = {MIN, MAX, 5};
static const float MIDDLE[5] = {0, 1, 4, 5e-4f, 0};

static hindcast_policy *load(const struct policy_ranges *ranges, const char *const *notes)
{
    char error[HINDCAST_POLICY_ERROR_SIZE];
    size_t size, new_size;
    void *package = policies_package(&ROBOT, 3, false, &size);
    void *ranged = policies_with(package, size, ranges, notes, &new_size);
    hindcast_policy *policy;
    if (hindcast_policy_parse(&policy, ranged, new_size, error) != HINDCAST_POLICY_OK) {
        fail_msg("%s", error);
    }
    mem_free(package);
    mem_free(ranged);
    return policy;
}

static void refuse(const struct policy_ranges *ranges, const char *const *notes, const char *words)
{
    char error[HINDCAST_POLICY_ERROR_SIZE];
    size_t size, new_size;
    void *package = policies_package(&ROBOT, 3, false, &size);
    void *ranged = policies_with(package, size, ranges, notes, &new_size);
    hindcast_policy *policy = NULL;
    assert_int_equal(hindcast_policy_parse(&policy, ranged, new_size, error),
                     HINDCAST_POLICY_BAD_FILE);
    assert_null(policy);
    if (strstr(error, words) == NULL) {
        fail_msg("%s, expected: %s", error, words);
    }
    mem_free(package);
    mem_free(ranged);
}

static void the_file_says_what_was_seen(void **state)
{
    (void)state;
    static const char *const notes[] = {
        "offline_value", "12.5", "offline_value_low", "-3", "offline_value_high", "1e2", NULL};
    hindcast_policy *policy = load(&RANGES, notes);
    float min, max;
    double value, low, high;
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(hindcast_policy_observed(policy, i, &min, &max), HINDCAST_POLICY_OK);
        assert_true(min == MIN[i] && max == MAX[i]);
    }
    assert_int_equal(hindcast_policy_observed(policy, 5, &min, &max), HINDCAST_POLICY_NOT_ALLOWED);
    assert_int_equal(hindcast_policy_offline_value(policy, &value, &low, &high),
                     HINDCAST_POLICY_OK);
    assert_true(value == 12.5 && low == -3 && high == 100);
    hindcast_policy_free(policy);
}

/* Files of earlier releases. */
static void a_file_without_ranges_acts(void **state)
{
    (void)state;
    hindcast_policy *policy = load(NULL, NULL);
    hindcast_actor *actor;
    float min, max, action[N_ACTIONS];
    double value;
    assert_int_equal(hindcast_policy_observed(policy, 0, &min, &max), HINDCAST_POLICY_NOT_ALLOWED);
    assert_int_equal(hindcast_policy_check(policy, MIDDLE, 0, NULL), HINDCAST_POLICY_NOT_ALLOWED);
    assert_int_equal(hindcast_policy_offline_value(policy, &value, &value, &value),
                     HINDCAST_POLICY_NOT_ALLOWED);
    assert_int_equal(hindcast_actor_new(&actor, policy, NULL, NULL), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_hold(actor, HINDCAST_HOLD_STOP, 0, NULL),
                     HINDCAST_POLICY_NOT_ALLOWED);
    assert_int_equal(hindcast_actor_hold(actor, HINDCAST_HOLD_NEVER, 0, NULL), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_act(actor, MIDDLE, action), HINDCAST_POLICY_OK);
    hindcast_actor_free(actor);
    hindcast_policy_free(policy);
}

static void what_is_outside_is_told(void **state)
{
    (void)state;
    hindcast_policy *policy = load(&RANGES, NULL);
    hindcast_outside outside;
    assert_int_equal(hindcast_policy_check(policy, MIDDLE, 0, &outside), HINDCAST_POLICY_OK);
    assert_int_equal(outside.count, 0);
    assert_int_equal(hindcast_policy_check(policy, MIN, 0, NULL), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_policy_check(policy, MAX, 0, NULL), HINDCAST_POLICY_OK);
    /* Half a width beyond the one end, two beyond the other: the second is named. */
    float observation[5] = {2, 1, 4, -2e-3f, 0};
    assert_int_equal(hindcast_policy_check(policy, observation, 0.25f, &outside),
                     HINDCAST_POLICY_OUTSIDE);
    assert_int_equal(outside.count, 2);
    assert_int_equal(outside.dimension, 3);
    assert_string_equal(outside.slice, "force");
    assert_int_equal(outside.element, 0);
    assert_true(outside.value == -2e-3f && outside.min == 0 && outside.max == 1e-3f);
    assert_true(fabsf(outside.excess - 2) < 1e-4f);
    /* A margin lets one of them pass, and then both. */
    assert_int_equal(hindcast_policy_check(policy, observation, 0.6f, &outside),
                     HINDCAST_POLICY_OUTSIDE);
    assert_int_equal(outside.count, 1);
    assert_int_equal(hindcast_policy_check(policy, observation, 2.1f, &outside),
                     HINDCAST_POLICY_OK);
    /* A dimension that never changed has no width: rounding passes, a change does not. */
    float moved[5] = {0, 1, 4.00002f, 5e-4f, 0};
    assert_int_equal(hindcast_policy_check(policy, moved, 5, NULL), HINDCAST_POLICY_OK);
    moved[2] = 4.1f;
    assert_int_equal(hindcast_policy_check(policy, moved, 5, &outside), HINDCAST_POLICY_OUTSIDE);
    assert_string_equal(outside.slice, "position");
    assert_int_equal(outside.element, 2);
    assert_true(isinf(outside.excess));
    moved[0] = NAN;
    assert_int_equal(hindcast_policy_check(policy, moved, 0, NULL), HINDCAST_POLICY_NOT_FINITE);
    assert_int_equal(hindcast_policy_check(policy, MIDDLE, -0.1f, NULL),
                     HINDCAST_POLICY_NOT_ALLOWED);
    assert_int_equal(hindcast_policy_check(policy, MIDDLE, NAN, NULL), HINDCAST_POLICY_NOT_ALLOWED);
    hindcast_policy_free(policy);
}

static void expect(const float *action, float first, float second)
{
    assert_true(action[0] == first && action[1] == second);
}

static void an_actor_holds_by_its_rule(void **state)
{
    (void)state;
    hindcast_policy *policy = load(&RANGES, NULL);
    hindcast_actor *actor, *free_one;
    hindcast_outside outside;
    static const float home[N_ACTIONS] = {-2, 0.5f};
    const float beyond[5] = {0, 1, 4, 0, 1e6f};
    float action[N_ACTIONS], other[N_ACTIONS];
    assert_int_equal(hindcast_actor_new(&actor, policy, "sample", NULL), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_new(&free_one, policy, "sample", NULL), HINDCAST_POLICY_OK);

    /* Without a rule it acts. */
    assert_int_equal(hindcast_actor_act(actor, beyond, action), HINDCAST_POLICY_OK);
    hindcast_actor_outside(actor, &outside);
    assert_int_equal(outside.count, 0);
    assert_int_equal(hindcast_actor_act(free_one, beyond, other), HINDCAST_POLICY_OK);
    expect(action, other[0], other[1]);

    /* STOP writes nothing. */
    assert_int_equal(hindcast_actor_hold(actor, HINDCAST_HOLD_STOP, 0.1f, NULL),
                     HINDCAST_POLICY_OK);
    action[0] = action[1] = 77;
    assert_int_equal(hindcast_actor_act(actor, beyond, action), HINDCAST_POLICY_OUTSIDE);
    expect(action, 77, 77);
    hindcast_actor_outside(actor, &outside);
    assert_int_equal(outside.count, 1);
    assert_string_equal(outside.slice, "force");

    /* The action that was given; and what is drawn is what would have been drawn. */
    assert_int_equal(hindcast_actor_hold(actor, HINDCAST_HOLD_ACTION, 0.1f, home),
                     HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_act(actor, beyond, action), HINDCAST_POLICY_OUTSIDE);
    expect(action, home[0], home[1]);
    for (int t = 0; t < 2; t++) {
        assert_int_equal(hindcast_actor_act(free_one, beyond, other), HINDCAST_POLICY_OK);
    }
    assert_int_equal(hindcast_actor_act(actor, MIDDLE, action), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_act(free_one, MIDDLE, other), HINDCAST_POLICY_OK);
    expect(action, other[0], other[1]);
    hindcast_actor_outside(actor, &outside);
    assert_int_equal(outside.count, 0);

    /* The last action, again and again; after a start there is none, and the given one stands in. */
    assert_int_equal(hindcast_actor_hold(actor, HINDCAST_HOLD_LAST, 0.1f, home),
                     HINDCAST_POLICY_OK);
    for (int t = 0; t < 3; t++) {
        assert_int_equal(hindcast_actor_act(actor, beyond, other), HINDCAST_POLICY_OUTSIDE);
        expect(other, action[0], action[1]);
    }
    assert_int_equal(hindcast_actor_start(actor, 1, 1, 0), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_act(actor, beyond, other), HINDCAST_POLICY_OUTSIDE);
    expect(other, home[0], home[1]);
    hindcast_actor_free(actor);
    hindcast_actor_free(free_one);
    hindcast_policy_free(policy);
}

static void bad_rules_are_refused_and_change_nothing(void **state)
{
    (void)state;
    hindcast_policy *policy = load(&RANGES, NULL);
    hindcast_actor *actor;
    const float beyond[5] = {9, 1, 4, 0, 0};
    static const float home[N_ACTIONS] = {0, 0}, far[N_ACTIONS] = {8.5f, 0}, nan[2] = {0, NAN};
    float action[N_ACTIONS];
    assert_int_equal(hindcast_actor_new(&actor, policy, NULL, NULL), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_hold(actor, HINDCAST_HOLD_STOP, 0, NULL), HINDCAST_POLICY_OK);
    const struct {
        int rule;
        float margin;
        const float *action;
    } bad[] = {{-1, 0, home},
               {4, 0, home},
               {HINDCAST_HOLD_STOP, -1, NULL},
               {HINDCAST_HOLD_STOP, NAN, NULL},
               {HINDCAST_HOLD_LAST, 0, NULL},
               {HINDCAST_HOLD_ACTION, 0, NULL},
               {HINDCAST_HOLD_ACTION, 0, far},
               {HINDCAST_HOLD_LAST, 0, nan}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(hindcast_actor_hold(actor, bad[i].rule, bad[i].margin, bad[i].action),
                         HINDCAST_POLICY_NOT_ALLOWED);
        assert_int_equal(hindcast_actor_act(actor, beyond, action), HINDCAST_POLICY_OUTSIDE);
    }
    hindcast_actor_free(actor);
    hindcast_policy_free(policy);
}

/* A policy that is given earlier actions is given those that were written. */
static void history_has_what_was_done(void **state)
{
    (void)state;
    const struct episode_history history = {3, true};
    struct signature stacked;
    struct err err = {0};
    assert_int_equal(episode_history_signature(&history, &ROBOT, &stacked, &err), STATUS_OK);
    const size_t O = signature_observation(&stacked);
    float min[64], max[64];
    assert_true(O <= 64);
    for (size_t i = 0; i < O; i++) {
        min[i] = -5;
        max[i] = 5;
    }
    const struct policy_ranges ranges = {min, max, O};
    size_t size, new_size;
    void *package = policies_package(&stacked, 3, false, &size);
    void *ranged = policies_with(package, size, &ranges, NULL, &new_size);
    struct policy *reference;
    hindcast_policy *policy;
    hindcast_actor *actor;
    assert_int_equal(policy_parse(&reference, ranged, new_size, &err), STATUS_OK);
    assert_int_equal(hindcast_policy_parse(&policy, ranged, new_size, NULL), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_new(&actor, policy, "mean", NULL), HINDCAST_POLICY_OK);
    static const float home[N_ACTIONS] = {-2, 0.5f}; /* canonical: 0, 0 */
    assert_int_equal(hindcast_actor_hold(actor, HINDCAST_HOLD_ACTION, 0, home), HINDCAST_POLICY_OK);

    /* The stacked observations by hand: newest first, then the actions between them. */
    float inputs[64] = {0}, action[N_ACTIONS], expected[N_ACTIONS], canonical[N_ACTIONS] = {0};
    float *scratch = mem_aligned(policy_scratch(reference, 1) * sizeof *scratch);
    for (int t = 0; t < 6; t++) {
        const bool out = t == 1 || t == 2;
        float observation[5] = {(float)t / 4, 1, out ? 9.0f : 2.0f, -1, 0.5f};
        if (t == 0) {
            for (size_t k = 0; k < 3; k++) {
                memcpy(inputs + k * 5, observation, sizeof observation);
            }
        } else {
            memmove(inputs + 5, inputs, 10 * sizeof *inputs);
            memcpy(inputs, observation, sizeof observation);
            memmove(inputs + 17, inputs + 15, 2 * sizeof *inputs);
            memcpy(inputs + 15, canonical, sizeof canonical);
        }
        policy_act(reference, canonical, inputs, NULL, 1, scratch);
        signature_to_physical(&ROBOT, expected, canonical);
        const int code = hindcast_actor_act(actor, observation, action);
        assert_int_equal(code, out ? HINDCAST_POLICY_OUTSIDE : HINDCAST_POLICY_OK);
        if (out) {
            memcpy(expected, home, sizeof expected);
            canonical[0] = canonical[1] = 0;
        }
        expect(action, expected[0], expected[1]);
    }
    mem_free(scratch);
    mem_free(package);
    mem_free(ranged);
    policy_free(reference);
    hindcast_actor_free(actor);
    hindcast_policy_free(policy);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    const float nan[5] = {0, 0, NAN, 0, 0};
    const float low[5] = {-1, -1, 3.5f, 0, -100};
    refuse(&(struct policy_ranges){nan, MAX, 5}, NULL, "observed/min: element 2 is not finite");
    refuse(&(struct policy_ranges){MIN, low, 5}, NULL,
           "observed/min: element 2 is 4, expected at most that of observed/max, 3.5");
    refuse(&(struct policy_ranges){MIN, MAX, 4}, NULL, "observed/min");
    static const char *const half[] = {"offline_value", "1", NULL};
    static const char *const words[] = {"offline_value", "1", "offline_value_low", "one", NULL};
    static const char *const wrong[] = {
        "offline_value", "1", "offline_value_low", "2", "offline_value_high", "1.5", NULL};
    static const char *const inf[] = {"offline_value", "inf", NULL};
    refuse(NULL, half, "offline_value_low: '(absent)', expected a number");
    refuse(NULL, words, "offline_value_low: 'one', expected a number");
    refuse(NULL, wrong, "offline_value_low: 2, expected at most offline_value_high, 1.5");
    refuse(NULL, inf, "offline_value: 'inf', expected a number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_says_what_was_seen),
        cmocka_unit_test(a_file_without_ranges_acts),
        cmocka_unit_test(what_is_outside_is_told),
        cmocka_unit_test(an_actor_holds_by_its_rule),
        cmocka_unit_test(bad_rules_are_refused_and_change_nothing),
        cmocka_unit_test(history_has_what_was_done),
        cmocka_unit_test(bad_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
