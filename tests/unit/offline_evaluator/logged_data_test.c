/* Rows of episodes in memory, and what follows from them. */
#include <math.h>
#include <string.h>

#include "offline_evaluator/logged_data.h"
#include "tests/lib/check.h"

/* Two episodes, O = 1, A = 1, K = 2: of 3 transitions, terminated, and of 2, stopped by a limit. */
static const float rows[] = {
    1, 0.5f, 0, 2, 1, /* observation, action, two rewards, discount */
    2, 0.5f, 0, 2, 1, /**/
    3, 0.5f, 1, 2, 0, /**/
    4, 9,    9, 9, 9, /* only its observation counts */
    5, 0.5f, 0, 2, 1, /**/
    6, 0.5f, 0, 2, 1, /**/
    7, 9,    9, 9, 9,
};
static const uint32_t lengths[] = {3, 2};

static void make(struct logged_data *data)
{
    assert_int_equal(logged_data_of_rows(data, 1, 1, 2, rows, lengths, 2), STATUS_OK);
}

static void episodes_have_their_rows(void **state)
{
    (void)state;
    struct logged_data data;
    make(&data);
    assert_int_equal(data.n_rows, 7);
    assert_int_equal(data.n_transitions, 5);
    assert_int_equal(data.n_episodes, 2);
    for (size_t row = 0; row < 7; row++) {
        assert_true(*logged_row(&data, row) == (float)(row + 1));
    }
    /* Nothing of a last row but its observation. */
    assert_true(*logged_action(&data, 3) == 0.0f);
    assert_true(data.episodes[0].terminated && !data.episodes[1].terminated);
    assert_int_equal(data.episodes[1].first, 4);
    assert_int_equal(data.transitions[3], 4);
    logged_data_fini(&data);
}

static void returns_end_with_the_episode(void **state)
{
    (void)state;
    struct logged_data data;
    double returns[5];
    make(&data);
    logged_data_returns(&data, 0, 0.5, returns);
    const double first[5] = {0.25, 0.5, 1, 0, 0};
    logged_data_returns(&data, 1, 0.5, returns + 0);
    const double second[5] = {2 + 1 + 0.5, 2 + 1, 2, 2 + 1, 2};
    for (int i = 0; i < 5; i++) {
        assert_true(returns[i] == second[i]);
    }
    logged_data_returns(&data, 0, 0.5, returns);
    for (int i = 0; i < 5; i++) {
        assert_true(returns[i] == first[i]);
    }
    logged_data_fini(&data);
}

static void a_sparse_reward_is_a_success_at_the_end(void **state)
{
    (void)state;
    struct logged_data data;
    make(&data);
    assert_true(logged_data_is_sparse(&data, 0));
    assert_false(logged_data_is_sparse(&data, 1));
    /* In the middle of an episode it is no success. */
    data.rows[2] = 1;
    assert_false(logged_data_is_sparse(&data, 0));
    logged_data_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(episodes_have_their_rows),
        cmocka_unit_test(returns_end_with_the_episode),
        cmocka_unit_test(a_sparse_reward_is_a_success_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
