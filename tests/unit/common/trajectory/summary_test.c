/* The summary of logs: numbers worked out by hand, and bad episodes told with their reasons. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/summary.h"
#include "tests/lib/check.h"
#include "tests/lib/trajectories.h"

/* Episode i of n: `T` steps with reward `reward` each; actions at both limits in dimension 0, at
 * none in 1. */
static void steady_episode(struct episode *episode, const struct signature *signature, uint32_t T,
                           float reward, bool terminated)
{
    trajectories_episode(episode, signature, T, 1, terminated);
    for (size_t t = 0; t < T; t++) {
        float *row = episode->rows + t * episode->W;
        row[5] = t % 2 == 0 ? -1.0f : 1.0f;
        row[6] = 0.999f;
        row[7] = reward;
    }
}

static void assert_near(double a, double b)
{
    if (fabs(a - b) > 1e-9) {
        fail_msg("%.12g, expected %.12g", a, b);
    }
}

static void numbers_are_those_of_numpy(void **state)
{
    (void)state;
    struct signature signature;
    struct dataset_summary *summary;
    trajectories_signature(&signature, 1);
    assert_int_equal(dataset_summary_new(&summary, &signature, NULL), STATUS_OK);
    struct dataset_returns r;
    dataset_summary_returns(summary, 0, &r);
    assert_true(r.mean == 0 && r.max == 0);
    static const struct {
        uint32_t T;
        float reward;
    } cases[] = {{4, 2.5f}, {2, 0.5f}, {10, 0.25f}, {1, 7.0f}}; /* returns 10, 1, 2.5, 7 */
    for (size_t i = 0; i < 4; i++) {
        struct episode episode;
        steady_episode(&episode, &signature, cases[i].T, cases[i].reward, i == 3);
        assert_int_equal(dataset_summary_add(summary, &episode), STATUS_OK);
        episode_fini(&episode);
    }
    dataset_summary_add_bad(summary, 3, "a reason");
    dataset_summary_returns(summary, 0, &r);
    assert_string_equal(r.task, "run");
    assert_near(r.mean, 5.125);
    assert_near(r.min, 1);
    assert_near(r.median, 4.75); /* np.median([10, 1, 2.5, 7]) */
    assert_near(r.p90, 9.1);     /* np.percentile(.., 90) */
    assert_near(r.max, 10);
    assert_near(r.std, 3.5772720053135464); /* np.std */
    struct dataset_totals totals;
    dataset_summary_totals(summary, &totals);
    assert_int_equal(totals.episodes, 4);
    assert_int_equal(totals.transitions, 17);
    assert_int_equal(totals.terminated, 1);
    assert_int_equal(totals.bad, 3);
    assert_int_equal(totals.T_min, 1);
    assert_int_equal(totals.T_max, 10);
    assert_near(totals.T_mean, 4.25);
    assert_near(totals.at_limit, 0.5);
    assert_near(dataset_summary_at_limit(summary, 0), 1);
    assert_near(dataset_summary_at_limit(summary, 1), 0);
    cJSON *json = dataset_summary_json(summary);
    const cJSON *run = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "returns"), "run");
    assert_near(cJSON_GetObjectItem(run, "p90")->valuedouble, 9.1);
    assert_near(cJSON_GetObjectItem(json, "bad")->valuedouble, 3);
    cJSON_Delete(json);
    dataset_summary_free(summary);
}

static void failing_memory_is_reported(void **state)
{
    (void)state;
    struct signature signature;
    struct dataset_summary *summary;
    struct episode episode;
    trajectories_signature(&signature, 1);
    trajectories_episode(&episode, &signature, 3, 1, false);
    assert_int_equal(dataset_summary_new(&summary, &signature, NULL), STATUS_OK);
    memory_fail_at(1);
    assert_int_equal(dataset_summary_add(summary, &episode), STATUS_NO_MEMORY);
    memory_fail_at(1);
    dataset_summary_add_bad(summary, 1, "no room for this text");
    memory_fail_at(0);
    assert_int_equal(dataset_summary_bad(summary), 1);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(dataset_summary_add(summary, &episode), STATUS_OK);
    }
    struct dataset_returns r;
    dataset_summary_returns(summary, 0, &r);
    assert_near(r.min, r.max);
    assert_near(r.mean, episode_return(&episode, &signature, 0));
    dataset_summary_free(summary);
    episode_fini(&episode);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_numpy),
        cmocka_unit_test(failing_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
