/* Episodes: rows as they are acted, and everything that a check must refuse. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/episode.h"
#include "tests/lib/check.h"
#include "tests/lib/trajectories.h"

static void steps_become_rows(void **state)
{
    (void)state;
    struct signature s;
    struct episode e;
    trajectories_signature(&s, 2);
    episode_init(&e, signature_width(&s));
    const float first[5] = {1, 2, 3, 4, 5};
    const float next[5] = {6, 7, 8, 9, 10};
    const float action[2] = {0.5f, -0.5f};
    const float rewards[2] = {0.25f, 0.75f};
    assert_int_equal(episode_begin(&e, &s, first, NULL), STATUS_OK);
    assert_int_equal(e.T, 0);
    assert_int_equal(episode_step(&e, &s, action, rewards, 0.0f, next, NULL), STATUS_OK);
    const float expected[2][10] = {{1, 2, 3, 4, 5, 0.5f, -0.5f, 0.25f, 0.75f, 0},
                                   {6, 7, 8, 9, 10, 0, 0, 0, 0, 0}};
    assert_int_equal(e.T, 1);
    assert_memory_equal(e.rows, expected, sizeof expected);
    assert_int_equal(episode_check(&e, &s, NULL), STATUS_OK);
    assert_true(episode_return(&e, &s, 1) == 0.75);
    episode_fini(&e);
}

static void it_grows_and_begins_again(void **state)
{
    (void)state;
    struct signature s;
    struct episode a;
    struct episode b;
    trajectories_signature(&s, 1);
    trajectories_episode(&a, &s, 1000, 1, true);
    trajectories_episode(&b, &s, 1000, 1, true);
    assert_int_equal(episode_check(&a, &s, NULL), STATUS_OK);
    double sum = 0;
    for (size_t t = 0; t < 1000; t++) {
        sum += (double)a.rows[t * a.W + signature_rewards_at(&s)];
    }
    assert_true(sum == episode_return(&a, &s, 0));
    const float *rows = a.rows;
    assert_int_equal(episode_begin(&a, &s, b.rows, NULL), STATUS_OK);
    assert_ptr_equal(rows, a.rows); /* memory is kept */
    assert_int_equal(a.T, 0);
    episode_fini(&a);
    episode_fini(&b);
}

static void failed_allocations_leave_it_as_it_was(void **state)
{
    (void)state;
    struct signature s;
    struct episode e;
    trajectories_signature(&s, 1);
    trajectories_episode(&e, &s, 63, 5, false); /* 64 rows: full */
    const float observation[5] = {0};
    const float action[2] = {0};
    const float reward = 0;
    struct err err = {0};
    memory_fail_at(1);
    assert_int_equal(episode_step(&e, &s, action, &reward, 1, observation, &err), STATUS_NO_MEMORY);
    memory_fail_at(0);
    assert_int_equal(e.T, 63);
    assert_int_equal(episode_check(&e, &s, NULL), STATUS_OK);
    assert_int_equal(episode_step(&e, &s, action, &reward, 1, observation, &err), STATUS_OK);
    assert_int_equal(e.T, 64);
    assert_int_equal(episode_reserve(&e, EPISODE_TRANSITIONS_MAX + 2, &err), STATUS_TOO_LONG);
    assert_int_equal(episode_check(&e, &s, NULL), STATUS_OK);
    episode_fini(&e);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    struct signature s;
    trajectories_signature(&s, 2);
    for (int i = 0;; i++) {
        struct episode e;
        trajectories_episode(&e, &s, 4, 3, false);
        float(*rows)[10] = (float(*)[10])(void *)e.rows;
        const char *word = NULL;
        switch (i) {
        case 0:
            rows[2][4] = NAN;
            word = "row 2, observation velocity[1]: nan is not finite";
            break;
        case 1:
            rows[4][0] = INFINITY;
            word = "row 4, observation position[0]: inf is not finite";
            break;
        case 2:
            rows[1][6] = NAN;
            word = "row 1, action 1: nan is not finite";
            break;
        case 3:
            rows[0][8] = -INFINITY;
            word = "row 0, reward walk: -inf is not finite";
            break;
        case 4:
            rows[3][9] = NAN;
            word = "row 3, discount: nan";
            break;
        case 5:
            rows[3][5] = 1.001f;
            word = "row 3, action 0: 1.00100005 is outside";
            break;
        case 6:
            rows[1][9] = 0;
            word = "row 1, discount: the episode terminates here, but goes on to row 4";
            break;
        case 7:
            rows[1][9] = 1.5f;
            word = "row 1, discount: 1.5, expected 0..1";
            break;
        case 8:
            e.T = 0;
            word = "0 transitions";
            break;
        case 9:
            e.W = 9;
            word = "rows of 9 floats, the signature has 10";
            break;
        default:
            break;
        }
        struct err err = {0};
        if (word != NULL) {
            assert_int_equal(episode_check(&e, &s, &err), STATUS_INVALID);
            if (strstr(err.text, word) == NULL) {
                fail_msg("case %d: expected \"%s\" in \"%s\"", i, word, err.text);
            }
        }
        episode_fini(&e);
        if (word == NULL) {
            return;
        }
    }
}

static void rounding_of_actions_is_clipped(void **state)
{
    (void)state;
    struct signature s;
    struct episode e;
    trajectories_signature(&s, 1);
    trajectories_episode(&e, &s, 2, 3, true);
    e.rows[5] = 1.000005f;
    e.rows[6] = -1.000005f;
    /* The last row's action is never read: anything may stand there. */
    e.rows[2 * e.W + 5] = NAN;
    assert_int_equal(episode_check(&e, &s, NULL), STATUS_OK);
    assert_true(e.rows[5] == 1.0f && e.rows[6] == -1.0f);
    episode_fini(&e);
}

static void identities_have_an_order(void **state)
{
    (void)state;
    const struct episode_identity a = {1, 2, 3, 4};
    for (unsigned i = 0; i < 4; i++) {
        const struct episode_identity b = {1 + (i == 0), 2 + (i == 1), 3 + (i == 2), 4 + (i == 3)};
        assert_int_equal(episode_identity_compare(&a, &b), -1);
        assert_int_equal(episode_identity_compare(&b, &a), 1);
    }
    assert_int_equal(episode_identity_compare(&a, &a), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_become_rows),
        cmocka_unit_test(it_grows_and_begins_again),
        cmocka_unit_test(failed_allocations_leave_it_as_it_was),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(rounding_of_actions_is_clipped),
        cmocka_unit_test(identities_have_an_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
