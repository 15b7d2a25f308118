/* History: names of slices, and rows worked out by hand. */
#include "tests/lib/check.h"

#include <string.h>

#include "common/trajectory/episode_history.h"
#include "tests/lib/trajectories.h"

static void slices_are_named_by_their_age(void **state)
{
    (void)state;
    struct signature signature, stacked;
    trajectories_signature(&signature, 1);
    const struct episode_history history = {3, true};
    assert_int_equal(episode_history_signature(&history, &signature, &stacked, NULL), STATUS_OK);
    static const char *const names[] = {"position",     "velocity",     "position/t-1",
                                        "velocity/t-1", "position/t-2", "velocity/t-2",
                                        "action/t-1",   "action/t-2"};
    assert_int_equal(stacked.n_slices, 8);
    for (uint32_t i = 0; i < 8; i++) {
        assert_string_equal(stacked.slices[i].name, names[i]);
    }
    assert_int_equal(signature_observation(&stacked), 3 * 5 + 2 * 2);
    assert_int_equal(stacked.A, signature.A);
    /* The names tell the history. */
    struct episode_history found = episode_history_of(&stacked, &signature);
    assert_int_equal(found.steps, 3);
    assert_true(found.actions);
    found = episode_history_of(&signature, &signature);
    assert_int_equal(found.steps, 1);
    memcpy(stacked.slices[3].name, "speed/t-1", sizeof "speed/t-1");
    assert_int_equal(episode_history_of(&stacked, &signature).steps, 1);
}

static void rows_hold_the_steps_before(void **state)
{
    (void)state;
    /* One number of observation, one action, one reward. */
    struct signature signature = {.n_slices = 1,
                                  .slices = {{"q", 1}},
                                  .A = 1,
                                  .action_min = {-1},
                                  .action_max = {1},
                                  .K = 1,
                                  .rewards = {"r"}};
    struct signature stacked;
    struct episode_window window;
    struct episode from, to;
    const struct episode_history history = {3, true};
    const float rows[4][4] = {{1, 0.1f, 5, 1}, {2, 0.2f, 6, 1}, {3, 0.3f, 7, 0}, {4, 0, 0, 0}};
    const float expected[4][8] = {{1, 1, 1, 0, 0, 0.1f, 5, 1},
                                  {2, 1, 1, 0.1f, 0, 0.2f, 6, 1},
                                  {3, 2, 1, 0.2f, 0.1f, 0.3f, 7, 0},
                                  {4, 3, 2, 0.3f, 0.2f, 0, 0, 0}};
    assert_int_equal(episode_history_signature(&history, &signature, &stacked, NULL), STATUS_OK);
    assert_int_equal(episode_window_init(&window, &history, &signature, NULL), STATUS_OK);
    episode_init(&from, 4);
    episode_init(&to, 8);
    assert_int_equal(episode_reserve(&from, 4, NULL), STATUS_OK);
    memcpy(from.rows, rows, sizeof rows);
    from.T = 3;
    /* Twice: nothing of an episode stays in the window. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(episode_history_stack(&window, &signature, &from, &to, NULL), STATUS_OK);
        assert_int_equal(to.T, 3);
        assert_memory_equal(to.rows, expected, sizeof expected);
        assert_int_equal(episode_check(&to, &stacked, NULL), STATUS_OK);
    }
    episode_fini(&from);
    episode_fini(&to);
    episode_window_fini(&window);
}

static void too_much_history_is_refused(void **state)
{
    (void)state;
    struct signature signature = {.n_slices = 3,
                                  .slices = {{"a", 1}, {"b", 1}, {"c", 200}},
                                  .A = 1,
                                  .action_min = {-1},
                                  .action_max = {1}};
    struct signature stacked;
    struct err err = {0};
    struct episode_history history = {22, false};
    assert_int_equal(episode_history_signature(&history, &signature, &stacked, &err),
                     STATUS_INVALID);
    assert_non_null(strstr(err.text, "more than 64 slices"));
    history.steps = 21; /* 63 slices, but 4242 observations */
    assert_int_equal(episode_history_signature(&history, &signature, &stacked, &err),
                     STATUS_INVALID);
    /* A name that is in use. */
    signature = (struct signature){.n_slices = 2,
                                   .slices = {{"a", 1}, {"a/t-1", 1}},
                                   .A = 1,
                                   .action_min = {-1},
                                   .action_max = {1}};
    history.steps = 2;
    assert_int_equal(episode_history_signature(&history, &signature, &stacked, &err),
                     STATUS_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_named_by_their_age),
        cmocka_unit_test(rows_hold_the_steps_before),
        cmocka_unit_test(too_much_history_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
