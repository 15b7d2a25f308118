/* Physics that go unstable, in an environment of each family that simulates: the episode ends with an
 * error, is counted, and no row of it reaches logs or measurements. (Robots:
 * tests/integration/test_robot_faults.py.) */
#include <math.h>
#include <string.h>

#include "collector/worker_pool.h"
#include "common/rollout/rollout.h"
#include "evaluator/measurement.h"
#include "tests/lib/check.h"
#include "tests/lib/policies.h"
#include "tests/lib/spoiled_environment.h"

/* The control suite, the Sawyer domain, and a task of one's own. */
static const char *const names[] = {"spoiled:cheetah-run", "spoiled:sawyer-stack",
                                    "spoiled:ball_plate-reach"};
static const double values[] = {(double)NAN, (double)INFINITY, 1e30};

enum { N_NAMES = 3, N_VALUES = 3, EPISODES = 4, SPOILED_STEP = 12 };

static struct environment_description describe(const char *uri)
{
    struct environment_description description;
    struct err err = {0};
    spoiled_environment_install();
    if (environment_describe(&description, uri, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return description;
}

/* The episode is marked by its error, from that step on nothing more comes, and the next one is sound. */
static void the_episode_ends(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES * N_VALUES; i++) {
        const struct environment_description description = describe(names[i / N_VALUES]);
        struct err err = {0};
        struct environment *environment;
        struct actor *actor;
        struct episode episode;
        struct rng rng;
        const struct environment_start start = {.seed = 1};
        float action[SIGNATURE_ACTIONS_MAX] = {0};
        struct rollout rollout;
        assert_int_equal(environment_open(&environment, description.uri, &err), STATUS_OK);
        assert_int_equal(actor_new(&actor, &description.signature, &err), STATUS_OK);
        rng_init(&rng, 1, "test", 0);
        actor_start(actor, &rng, 0);
        episode_init(&episode, signature_width(&description.signature));
        spoiled_environment_plan(SPOILED_STEP, values[i % N_VALUES], 1);

        assert_int_equal(rollout_init(&rollout, environment, &err), STATUS_OK);
        assert_int_equal(rollout_begin(&rollout, &start, &episode, &err), STATUS_OK);
        for (int step = 1; step < SPOILED_STEP; step++) {
            assert_int_equal(rollout_step(&rollout, action, &err), STATUS_OK);
        }
        assert_int_equal(rollout_step(&rollout, action, &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.text, strchr(description.uri, ':') + 1));
        assert_int_equal(rollout_step(&rollout, action, &err), STATUS_CLOSED);
        assert_int_equal(episode.T, SPOILED_STEP - 1);
        rollout_fini(&rollout);

        assert_int_equal(rollout_run(environment, &start, actor, &episode, &err), STATUS_OK);
        assert_true(episode.T > SPOILED_STEP);
        episode_fini(&episode);
        actor_free(actor);
        environment_close(environment);
    }
}

/* EPISODES episodes of a collector, of which so many attempts are spoiled. */
static void collect(const struct environment_description *description, double value, uint32_t times,
                    struct finished_episode **all)
{
    struct err err = {0};
    struct worker_pool *pool;
    const struct worker_pool_settings settings = {.environment = description,
                                                  .seed = 5,
                                                  .n_environments = 2,
                                                  .n_threads = 1,
                                                  .last = EPISODES,
                                                  .random_episodes = UINT64_MAX};
    spoiled_environment_plan(SPOILED_STEP, value, times);
    if (worker_pool_start(&pool, &settings, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    for (size_t i = 0; i < EPISODES; i++) {
        assert_int_equal(worker_pool_next(pool, 60000, &all[i], &err), STATUS_OK);
    }
    struct finished_episode *more;
    assert_int_equal(worker_pool_next(pool, 60000, &more, &err), STATUS_CLOSED);
    worker_pool_free(pool);
}

/* What a collector passes on to the logs is whole and finite; an episode that was spoiled is another. */
static void a_collector_keeps_nothing_of_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        const struct environment_description description = describe(names[i]);
        struct finished_episode *sound[EPISODES], *spoiled[EPISODES];
        collect(&description, 0.0, 0, sound);
        collect(&description, values[i], 2, spoiled); /* both that are acted side by side */
        for (size_t n = 0; n < EPISODES; n++) {
            struct episode *a = sound[n]->episode, *b = spoiled[n]->episode;
            struct err err = {0};
            assert_int_equal(episode_check(b, &description.signature, &err), STATUS_OK);
            const bool same =
                a->T == b->T &&
                memcmp(a->rows, b->rows, (size_t)(a->T + 1) * a->W * sizeof(float)) == 0;
            assert_int_equal(same, n >= 2);
            finished_episode_free(sound[n]);
            finished_episode_free(spoiled[n]);
        }
    }
}

/* An evaluator counts it as failed and nowhere else. */
static void an_evaluator_counts_it_as_failed(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_NAMES; i++) {
        const struct environment_description description = describe(names[i]);
        struct err err = {0};
        struct environment_pool *pool;
        struct measurement *measurement;
        struct policy *policy = policies_make(&description.signature, 1);
        const struct measurement_settings settings = {
            .seed = 3, .stream = MEASUREMENT_FINAL, .episodes = EPISODES, .keep = true};
        assert_int_equal(environment_pool_open(&pool, description.uri, 1, 2, &err), STATUS_OK);
        spoiled_environment_plan(SPOILED_STEP, values[i], 2);
        assert_int_equal(measurement_take(&measurement, policy, pool, &settings, &err), STATUS_OK);
        assert_int_equal(measurement->failed, 2);
        for (uint32_t n = 0; n < measurement->n_tasks * EPISODES; n++) {
            assert_int_equal(isnan(measurement->returns[n]), n < 2);
            assert_int_equal(measurement->kept[n].T == 0, n < 2);
        }
        assert_true(isfinite(measurement_mean(measurement)));
        measurement_free(measurement);
        environment_pool_close(pool);
        policy_free(policy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_episode_ends),
        cmocka_unit_test(a_collector_keeps_nothing_of_it),
        cmocka_unit_test(an_evaluator_counts_it_as_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
