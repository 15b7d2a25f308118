/* The signature: what is refused, what matches, and that JSON brings back every bit. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/signature.h"
#include "tests/lib/check.h"
#include "tests/lib/trajectories.h"

static void offsets_follow_the_row(void **state)
{
    (void)state;
    struct signature s;
    trajectories_signature(&s, 3);
    assert_int_equal(signature_observation(&s), 5);
    assert_int_equal(signature_action_at(&s), 5);
    assert_int_equal(signature_rewards_at(&s), 7);
    assert_int_equal(signature_discount_at(&s), 10);
    assert_int_equal(signature_width(&s), 11);
}

/* Each case spoils one thing; the text must name it. */
static void what_is_wrong_is_named(void **state)
{
    (void)state;
    struct signature good;
    trajectories_signature(&good, 2);
    assert_int_equal(signature_check(&good, NULL), STATUS_OK);
    for (int i = 0;; i++) {
        struct signature bad = good;
        const char *word;
        switch (i) {
        case 0:
            bad.n_slices = 0;
            word = "observation slices";
            break;
        case 1:
            bad.n_slices = SIGNATURE_SLICES_MAX + 1;
            word = "observation slices";
            break;
        case 2:
            bad.slices[1].size = 0;
            word = "velocity has size 0";
            break;
        case 3:
            bad.slices[1].size = SIGNATURE_OBSERVATION_MAX;
            word = "4099 floats";
            break;
        case 4:
            strcpy(bad.slices[1].name, "position");
            word = "position is there twice";
            break;
        case 5:
            strcpy(bad.slices[1].name, "a b");
            word = "slice 1 has a bad name";
            break;
        case 6:
            memset(bad.slices[0].name, 'x', SIGNATURE_NAME_SIZE);
            word = "slice 0 has a bad name";
            break;
        case 7:
            bad.A = 0;
            word = "0 action dimensions";
            break;
        case 8:
            bad.A = SIGNATURE_ACTIONS_MAX + 1;
            word = "65 action dimensions";
            break;
        case 9:
            bad.action_max[1] = 0;
            word = "action 1 has limits 0..0";
            break;
        case 10:
            bad.action_min[0] = NAN;
            word = "action 0";
            break;
        case 11:
            bad.action_max[0] = INFINITY;
            word = "action 0";
            break;
        case 12:
            bad.K = SIGNATURE_TASKS_MAX + 1;
            word = "33 rewards";
            break;
        case 13:
            strcpy(bad.rewards[1], "run");
            word = "run is there twice";
            break;
        case 14:
            bad.rewards[0][0] = 0;
            word = "reward 0 has a bad name";
            break;
        case 15:
            bad.control_period_s = NAN;
            word = "control period";
            break;
        case 16:
            bad.control_period_s = -1;
            word = "control period -1 s";
            break;
        default:
            return;
        }
        struct err err = {0};
        assert_int_equal(signature_check(&bad, &err), STATUS_INVALID);
        if (strstr(err.text, word) == NULL) {
            fail_msg("case %d: expected \"%s\" in \"%s\"", i, word, err.text);
        }
    }
}

static void rewards_match_by_name_all_else_exactly(void **state)
{
    (void)state;
    struct signature have;
    struct signature want;
    trajectories_signature(&have, 3);
    trajectories_signature(&want, 2);
    strcpy(want.rewards[0], "stand");
    strcpy(want.rewards[1], "run");
    uint32_t map[2] = {9, 9};
    assert_int_equal(signature_match(&have, &want, map, NULL), STATUS_OK);
    assert_int_equal(map[0], 2);
    assert_int_equal(map[1], 0);
    want.control_period_s = 0; /* not known */
    assert_int_equal(signature_match(&have, &want, NULL, NULL), STATUS_OK);
    for (int i = 0;; i++) {
        struct signature other = want;
        const char *word;
        switch (i) {
        case 0:
            strcpy(other.rewards[1], "jump");
            word = "reward jump: wanted there, here are only: run, walk, stand";
            break;
        case 1:
            other.slices[1].size = 3;
            word = "observation slice 1: velocity(2) here, velocity(3) there";
            break;
        case 2:
            other.n_slices = 1;
            word = "velocity(2) is only here";
            break;
        case 3:
            other.A = 1;
            word = "action: 2 dimensions here, 1 there";
            break;
        case 4:
            other.action_max[1] = 3;
            word = "action 1: limits 0..4 here, 0..3 there";
            break;
        case 5:
            other.control_period_s = 0.04;
            word = "control period: 0.02 s here, 0.04 s there";
            break;
        default:
            return;
        }
        struct err err = {0};
        assert_int_equal(signature_match(&have, &other, map, &err), STATUS_MISMATCH);
        if (strstr(err.text, word) == NULL) {
            fail_msg("case %d: expected \"%s\" in \"%s\"", i, word, err.text);
        }
    }
}

static void json_brings_back_every_bit(void **state)
{
    (void)state;
    struct signature s;
    struct signature back = {0};
    trajectories_signature(&s, 3);
    s.action_min[0] = -0.1f;
    s.action_max[0] = 1.0f / 3.0f;
    s.control_period_s = 1.0 / 30.0;
    char *json = signature_to_json(&s);
    assert_non_null(json);
    assert_int_equal(signature_from_json(&back, json, NULL), STATUS_OK);
    assert_memory_equal(&s, &back, sizeof s);
    /* Every truncation is refused, and leaves the signature alone. */
    for (size_t n = 0; n < strlen(json); n++) {
        char cut[1024];
        memcpy(cut, json, n);
        cut[n] = 0;
        assert_int_equal(signature_from_json(&back, cut, NULL), STATUS_INVALID);
    }
    assert_memory_equal(&s, &back, sizeof s);
    mem_free(json);
}

static void bad_json_is_refused(void **state)
{
    (void)state;
#define HEAD "{\"control_period_s\": 0.1, \"rewards\": [\"run\"], "
    static const char *const bad[] = {
        "[]",
        "{}",
        "null",
        HEAD "\"observation\": 3, \"action\": {\"min\": [-1], \"max\": [1]}}",
        HEAD "\"observation\": [{\"name\": \"a\", \"size\": 1.5}], \"action\": {\"min\": [-1], "
             "\"max\": [1]}}",
        HEAD "\"observation\": [{\"name\": \"a\", \"size\": -1}], \"action\": {\"min\": [-1], "
             "\"max\": [1]}}",
        HEAD
        "\"observation\": [{\"name\": 3, \"size\": 1}], \"action\": {\"min\": [-1], \"max\": [1]}}",
        HEAD "\"observation\": [{\"name\": \"a\", \"size\": 1}], \"action\": {\"min\": [-1], "
             "\"max\": [1, 2]}}",
        HEAD "\"observation\": [{\"name\": \"a\", \"size\": 1}], \"action\": {\"min\": [-1], "
             "\"max\": [\"1\"]}}",
        HEAD "\"observation\": [{\"name\": \"a\", \"size\": 1}], \"action\": {\"min\": [-1], "
             "\"max\": [1e40]}}",
        HEAD "\"observation\": [{\"name\": \"a\", \"size\": 1}], \"action\": []}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct signature s;
        struct err err = {0};
        assert_int_equal(signature_from_json(&s, bad[i], &err), STATUS_INVALID);
        assert_non_null(strstr(err.text, "signature"));
    }
}

static void actions_change_units_and_back(void **state)
{
    (void)state;
    struct signature s;
    trajectories_signature(&s, 0);
    const float physical[2] = {-0.25f, 3.0f};
    float canonical[2];
    float back[2];
    signature_to_canonical(&s, canonical, physical);
    assert_true(canonical[0] == -0.25f && canonical[1] == 0.5f);
    signature_to_physical(&s, back, canonical);
    assert_true(back[0] == physical[0] && back[1] == physical[1]);
    /* Limits of -1..1 change nothing, not even the last bit of a tiny value; limits map to limits.
     */
    const float edges[2] = {1e-20f, 4.0f};
    signature_to_canonical(&s, canonical, edges);
    assert_true(canonical[0] == 1e-20f && canonical[1] == 1.0f);
    signature_to_physical(&s, back, canonical);
    assert_true(back[0] == edges[0] && back[1] == edges[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_follow_the_row),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(rewards_match_by_name_all_else_exactly),
        cmocka_unit_test(json_brings_back_every_bit),
        cmocka_unit_test(bad_json_is_refused),
        cmocka_unit_test(actions_change_units_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
