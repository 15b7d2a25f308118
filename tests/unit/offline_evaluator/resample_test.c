/* Bootstraps of the episodes. */
#include "offline_evaluator/resample.h"

#include "tests/lib/check.h"

/* Three episodes, O = A = K = 1, of 2, 1 and 3 transitions; the observation is the row's number. */
static const uint32_t lengths[] = {2, 1, 3};
enum { EPISODES = 3, ROWS = 9, TRANSITIONS = 6 };

static void make(struct logged_data *data)
{
    float rows[ROWS * 4] = {0};
    for (int row = 0; row < ROWS; row++) {
        rows[row * 4] = (float)row;
    }
    assert_int_equal(logged_data_of_rows(data, 1, 1, 1, rows, lengths, EPISODES), STATUS_OK);
}

static void whole_is_all_transitions_in_order(void **state)
{
    (void)state;
    struct logged_data data;
    struct resample resample;
    make(&data);
    assert_int_equal(resample_init(&resample, &data, true, 1, 0), STATUS_OK);
    assert_int_equal(resample_size(&resample), TRANSITIONS);
    for (uint64_t i = 0; i < TRANSITIONS; i++) {
        assert_int_equal(resample_transition(&resample, &data, i), i);
    }
    resample_fini(&resample);
    logged_data_fini(&data);
}

/* An episode is in a resample with all its transitions, in order, as often as it was drawn. */
static void a_resample_has_whole_episodes(void **state)
{
    (void)state;
    struct logged_data data;
    make(&data);
    size_t drawn[EPISODES] = {0};
    for (uint64_t index = 0; index < 300; index++) {
        struct resample resample;
        assert_int_equal(resample_init(&resample, &data, false, 7, index), STATUS_OK);
        uint64_t i = 0;
        for (size_t k = 0; k < EPISODES; k++) {
            const uint32_t e = resample.episodes[k];
            assert_true(e < EPISODES);
            drawn[e]++;
            for (uint32_t t = 0; t < data.episodes[e].T; t++, i++) {
                const size_t transition = resample_transition(&resample, &data, i);
                assert_int_equal(data.transitions[transition], data.episodes[e].first + t);
            }
        }
        assert_int_equal(resample_size(&resample), i);
        resample_fini(&resample);
    }
    /* Each about 300 times; the std is 14. */
    for (size_t e = 0; e < EPISODES; e++) {
        assert_true(drawn[e] > 230 && drawn[e] < 370);
    }
    logged_data_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_is_all_transitions_in_order),
        cmocka_unit_test(a_resample_has_whole_episodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
