/* Cutting episodes around rows that cannot be used. */
#include "tests/lib/check.h"

#include <math.h>
#include <string.h>

#include "common/trajectory/episode_pieces.h"
#include "tests/lib/trajectories.h"

#define STEPS 10u

static struct signature signature;
static struct episode episode;

/* A sound episode of 10 steps that terminates. */
static int set_up(void **state)
{
    (void)state;
    trajectories_signature(&signature, 2);
    trajectories_episode(&episode, &signature, STEPS, 1, true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    episode_fini(&episode);
    return 0;
}

static float *at(uint32_t row, uint32_t column)
{
    return &episode.rows[(size_t)row * episode.W + column];
}

/* Finds the pieces and compares them with (first, T) pairs. */
static void expect(uint32_t T_min, const uint32_t (*expected)[2], uint32_t n, uint32_t bad_rows,
                   uint32_t n_short, uint32_t lost)
{
    struct episode_pieces pieces = {0};
    assert_int_equal(episode_pieces_find(&pieces, &episode, &signature, T_min, NULL), STATUS_OK);
    assert_int_equal(pieces.n, n);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(pieces.items[i].first, expected[i][0]);
        assert_int_equal(pieces.items[i].T, expected[i][1]);
        kept += pieces.items[i].T;
    }
    assert_int_equal(pieces.bad_rows, bad_rows);
    assert_int_equal(pieces.n_short, n_short);
    assert_int_equal(pieces.lost, lost);
    assert_int_equal(kept + lost, STEPS);
    episode_pieces_fini(&pieces);
}

static void a_sound_episode_is_one_piece(void **state)
{
    (void)state;
    expect(1, (const uint32_t[][2]){{0, 10}}, 1, 0, 0, 0);
}

/* A bad observation spoils the step to it and the step from it. */
static void a_bad_observation_costs_two_steps(void **state)
{
    (void)state;
    *at(4, 0) = NAN;
    expect(1, (const uint32_t[][2]){{0, 3}, {5, 5}}, 2, 1, 0, 2);
    expect(4, (const uint32_t[][2]){{5, 5}}, 1, 1, 1, 5);
}

/* A bad action or reward spoils its own step only: the observations around it are good. */
static void a_bad_action_costs_one_step(void **state)
{
    (void)state;
    *at(4, signature_action_at(&signature)) = INFINITY;
    expect(1, (const uint32_t[][2]){{0, 4}, {5, 5}}, 2, 1, 0, 1);
    *at(8, signature_rewards_at(&signature) + 1) = NAN;
    expect(1, (const uint32_t[][2]){{0, 4}, {5, 3}, {9, 1}}, 3, 2, 0, 2);
}

static void bad_rows_at_the_ends(void **state)
{
    (void)state;
    *at(0, 0) = NAN;
    *at(STEPS, 0) = NAN;
    expect(1, (const uint32_t[][2]){{1, 8}}, 1, 2, 0, 2);
    for (uint32_t t = 0; t <= STEPS; t += 2) {
        *at(t, 0) = NAN;
    }
    expect(1, NULL, 0, 6, 0, 10);
}

/* Only the piece with the last step terminates; identities differ. */
static void pieces_are_episodes(void **state)
{
    (void)state;
    struct episode whole, first, last;
    const uint32_t discount = signature_discount_at(&signature);
    episode_init(&whole, episode.W);
    episode_init(&first, episode.W);
    episode_init(&last, episode.W);
    episode.identity = (struct episode_identity){1, 2, 3, 4};
    const struct episode_piece all = {0, STEPS}, a = {0, 4}, b = {5, 5};
    assert_int_equal(episode_piece_copy(&whole, &episode, &signature, all, NULL), STATUS_OK);
    assert_int_equal(episode_identity_compare(&whole.identity, &episode.identity), 0);
    assert_memory_equal(whole.rows, episode.rows, (STEPS + 1) * episode.W * sizeof(float));

    *at(4, signature_action_at(&signature)) = NAN;
    assert_int_equal(episode_piece_copy(&first, &episode, &signature, a, NULL), STATUS_OK);
    assert_int_equal(episode_piece_copy(&last, &episode, &signature, b, NULL), STATUS_OK);
    assert_int_equal(episode_check(&first, &signature, NULL), STATUS_OK);
    assert_int_equal(episode_check(&last, &signature, NULL), STATUS_OK);
    assert_true(first.rows[3 * episode.W + discount] == 1.0f);
    assert_true(last.rows[4 * episode.W + discount] == 0.0f);
    /* The row behind a piece holds nothing but the observation. */
    assert_true(first.rows[4 * episode.W + discount] == 0.0f);
    assert_true(first.rows[4 * episode.W] == *at(4, 0));
    assert_true(episode_identity_compare(&first.identity, &last.identity) != 0);
    assert_true(episode_identity_compare(&first.identity, &episode.identity) != 0);
    episode_fini(&whole);
    episode_fini(&first);
    episode_fini(&last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sound_episode_is_one_piece, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_observation_costs_two_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bad_action_costs_one_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_rows_at_the_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pieces_are_episodes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
