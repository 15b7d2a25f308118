/* The Sawyer stacking domain as its users see it: description, start states, what continues, what a
 * bad state does. That physics, observations and rewards are the referee's is verify_tasks' affair. */
#include "common/environments/sawyer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/installation.h"
#include "common/base/rng.h"
#include "common/environments/sawyer/sawyer_rewards.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#define O2 SAWYER_OBSERVATION(2)

struct step {
    float observation[SAWYER_OBSERVATION_MAX], rewards[SAWYER_N_TASKS], discount;
    bool last;
};

static struct sawyer *open_or_fail(const char *name)
{
    struct err err = {0};
    struct sawyer *sawyer = NULL;
    if (sawyer_open(&sawyer, name, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return sawyer;
}

static void reset_or_fail(struct sawyer *sawyer, uint64_t seed, uint32_t flags, float *observation)
{
    const struct environment_start start = {.seed = seed, .flags = flags};
    struct err err = {0};
    if (environment_reset(sawyer_environment(sawyer), &start, observation, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static status take_step(struct sawyer *sawyer, const float *action, struct step *out,
                        struct err *err)
{
    return environment_step(sawyer_environment(sawyer), action, out->observation, out->rewards,
                            &out->discount, &out->last, err);
}

/* n steps of random actions. */
static void wander(struct sawyer *sawyer, uint64_t seed, int n, struct step *out)
{
    struct err err = {0};
    struct rng rng;
    rng_init(&rng, seed, "sawyer_test", 0);
    for (int k = 0; k < n; k++) {
        float action[SAWYER_ACTIONS];
        for (int a = 0; a < SAWYER_ACTIONS; a++) {
            action[a] = (float)(2.0 * rng_uniform(&rng) - 1.0);
        }
        if (take_step(sawyer, action, out, &err) != STATUS_OK) {
            fail_msg("%s", err.text);
        }
    }
}

static void describes_itself(void **state)
{
    (void)state;
    static const char *const rewards[] = {"reach",       "grasp",           "lift",
                                          "place_wide",  "place_narrow",    "stack",
                                          "stack_leave", "bring_to_center", "bring_to_corner"};
    for (int blocks = 2; blocks <= 3; blocks++) {
        const char *name = blocks == 2 ? "sawyer-stack" : "sawyer-stack_blue";
        struct sawyer *sawyer = open_or_fail(name);
        const struct environment_description *is =
            environment_description(sawyer_environment(sawyer));
        struct environment_description described;
        struct err err = {0};
        assert_int_equal(environment_describe(&described, name, &err), STATUS_OK);
        assert_memory_equal(&described, is, sizeof described);
        assert_int_equal(signature_check(&is->signature, &err), STATUS_OK);
        assert_int_equal(signature_observation(&is->signature), 26 + 16 * blocks);
        assert_int_equal(is->signature.A, 5);
        assert_int_equal(is->signature.K, 9);
        for (int k = 0; k < 9; k++) {
            assert_string_equal(is->signature.rewards[k], rewards[k]);
        }
        assert_int_equal(is->step_limit, 200);
        assert_true(fabs(is->signature.control_period_s - 0.05) < 1e-12);
        environment_close(sawyer_environment(sawyer));
    }
}

static void an_unknown_name_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct environment *environment = NULL;
    assert_int_equal(environment_open(&environment, "sawyer-stak", &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "\"sawyer-stak\" is unknown"));
    assert_non_null(strstr(err.text, "sawyer-stack"));
}

static void absent_models_are_named(void **state)
{
    (void)state;
    struct err err = {0};
    struct environment *environment = NULL;
    assert_int_equal(setenv("HINDCAST_SAWYER", "/nowhere", 1), 0);
    status s = environment_open(&environment, "sawyer-stack", &err);
    assert_int_equal(unsetenv("HINDCAST_SAWYER"), 0);
    assert_int_equal(s, STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere"));
    assert_non_null(strstr(err.text, "deploy/install_dependencies"));
}

/* The arm alone, and a folder whose name is no text of XML. */
static void broken_models_are_refused(void **state)
{
    (void)state;
    char models[1024], path[2 * SCRATCH_SIZE], arm[1100];
    struct err err = {0};
    struct environment *environment = NULL;
    assert_int_equal(installation_folder(models, sizeof models, "sawyer", &err), STATUS_OK);
    (void)snprintf(arm, sizeof arm, "%s/rethink", models);
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "rethink");
    assert_int_equal(symlink(arm, path), 0);
    assert_int_equal(setenv("HINDCAST_SAWYER", scratch_folder, 1), 0);
    assert_int_equal(environment_open(&environment, "sawyer-stack", &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "environment sawyer-stack: gripper: "));
    scratch_path(path, scratch_folder, "a&b");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(setenv("HINDCAST_SAWYER", path, 1), 0);
    assert_int_equal(environment_open(&environment, "sawyer-stack", &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "a&b: expected"));
    assert_int_equal(unsetenv("HINDCAST_SAWYER"), 0);
}

static void an_episode_has_200_steps(void **state)
{
    (void)state;
    struct sawyer *sawyer = open_or_fail("sawyer-stack");
    struct step step = {0};
    reset_or_fail(sawyer, 1, 0, step.observation);
    wander(sawyer, 1, 199, &step);
    assert_false(step.last);
    wander(sawyer, 2, 1, &step);
    assert_true(step.last);
    /* The time is over, but the future is worth something. */
    assert_true(step.discount == 1.0f);
    environment_close(sawyer_environment(sawyer));
}

static void a_seed_gives_the_same_episode_whatever_came_before(void **state)
{
    (void)state;
    struct sawyer *sawyer = open_or_fail("sawyer-stack");
    struct step first, again;
    memset(&first, 0, sizeof first);
    memset(&again, 0, sizeof again);
    reset_or_fail(sawyer, 5, 0, first.observation);
    wander(sawyer, 3, 30, &first);
    reset_or_fail(sawyer, 6, ENVIRONMENT_START_ADVANCED, again.observation);
    wander(sawyer, 4, 20, &again);
    reset_or_fail(sawyer, 5, 0, again.observation);
    wander(sawyer, 3, 30, &again);
    assert_memory_equal(&first, &again, sizeof first);
    environment_close(sawyer_environment(sawyer));
}

/* Green on the table, in the hand, or on yellow. */
static void starts_further_along_are_held_or_stacked(void **state)
{
    (void)state;
    struct sawyer *sawyer = open_or_fail("sawyer-stack");
    int held = 0, stacked = 0, table = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        float o[SAWYER_OBSERVATION_MAX];
        reset_or_fail(sawyer, seed, ENVIRONMENT_START_ADVANCED, o);
        held += o[SAWYER_GRASP] == 1.0f;
        stacked += o[SAWYER_BLOCK(0) + 2] > 0.07f && o[SAWYER_GRASP] == 0.0f;
        reset_or_fail(sawyer, seed, 0, o);
        table += o[SAWYER_GRASP] == 0.0f && o[SAWYER_BLOCK(0) + 2] < 0.03f;
    }
    assert_int_equal(table, 40);
    assert_int_equal(held + stacked, 40);
    assert_in_range(held, 10, 30);
    environment_close(sawyer_environment(sawyer));
}

static void an_episode_may_continue_in_the_scene_of_the_last(void **state)
{
    (void)state;
    struct sawyer *sawyer = open_or_fail("sawyer-stack");
    struct step step = {0};
    float kept[SAWYER_OBSERVATION_MAX], fresh[SAWYER_OBSERVATION_MAX];
    /* Without an earlier episode there is nothing to continue. */
    reset_or_fail(sawyer, 8, ENVIRONMENT_START_KEEP, kept);
    reset_or_fail(sawyer, 8, 0, fresh);
    assert_memory_equal(kept, fresh, O2 * sizeof(float));
    wander(sawyer, 8, 200, &step);
    assert_true(step.last);
    reset_or_fail(sawyer, 9, ENVIRONMENT_START_KEEP, kept);
    assert_memory_equal(kept, step.observation, O2 * sizeof(float));
    wander(sawyer, 9, 200, &step);
    assert_true(step.last);
    /* A block that left the basket ends the scene. */
    sawyer_simulation(sawyer)->data->qpos[15] += 1.0;
    reset_or_fail(sawyer, 9, ENVIRONMENT_START_KEEP, kept);
    reset_or_fail(sawyer, 9, 0, fresh);
    assert_memory_equal(kept, fresh, O2 * sizeof(float));
    environment_close(sawyer_environment(sawyer));
}

static void physics_that_go_bad_end_the_episode(void **state)
{
    (void)state;
    struct sawyer *sawyer = open_or_fail("sawyer-stack");
    struct environment *environment = sawyer_environment(sawyer);
    const float action[SAWYER_ACTIONS] = {0};
    static const double bad[] = {(double)NAN, 1e12};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct step step = {0};
        struct err err = {0};
        float kept[SAWYER_OBSERVATION_MAX], fresh[SAWYER_OBSERVATION_MAX];
        reset_or_fail(sawyer, 1, 0, step.observation);
        sawyer_simulation(sawyer)->data->qvel[20] = bad[i];
        assert_int_equal(take_step(sawyer, action, &step, &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.text, "sawyer-stack: step 1"));
        assert_int_equal(take_step(sawyer, action, &step, &err), STATUS_CLOSED);
        /* Nothing continues from a bad state. */
        reset_or_fail(sawyer, 2, ENVIRONMENT_START_KEEP, kept);
        reset_or_fail(sawyer, 2, 0, fresh);
        assert_memory_equal(kept, fresh, O2 * sizeof(float));
        wander(sawyer, 1, 3, &step);
    }
    environment_close(environment);
}

/* Numbers worked out by hand. */
static void rewards_are_those_of_the_table(void **state)
{
    (void)state;
    double o[O2] = {0}, r[SAWYER_N_TASKS];
    double *tool = o + SAWYER_TOOL, *green = o + SAWYER_BLOCK(0), *yellow = o + SAWYER_BLOCK(1);
    /* Green on yellow in the centre, the tool 10 cm above green. */
    const double place[3] = {0.6, 0.0, 0.075};
    memcpy(green, place, sizeof place);
    memcpy(yellow, place, sizeof place);
    memcpy(tool, place, sizeof place);
    yellow[2] = 0.025;
    tool[2] += 0.1;
    sawyer_rewards(r, o);
    assert_true(r[SAWYER_stack] == 1.0 && r[SAWYER_stack_leave] == 1.0);
    assert_true(fabs(r[SAWYER_lift] - 1.0) < 1e-12 && r[SAWYER_grasp] == 0.0);
    assert_true(r[SAWYER_place_wide] == 1.0 && r[SAWYER_bring_to_center] == 1.0);
    /* Held, there is no stack. */
    o[SAWYER_GRASP] = 1.0;
    sawyer_rewards(r, o);
    assert_true(r[SAWYER_stack] == 0.0 && r[SAWYER_stack_leave] == 0.0 && r[SAWYER_grasp] == 1.0);
    /* At its margin a reward is 0.05, and lifting is linear. */
    tool[2] = green[2] + 0.15;
    green[0] += 0.01 * 0.6;
    green[1] += 0.01 * 0.8;
    tool[0] = green[0];
    tool[1] = green[1];
    sawyer_rewards(r, o);
    assert_true(fabs(r[SAWYER_reach] - 0.05) < 1e-12);
    assert_true(fabs(r[SAWYER_place_narrow] - 0.05) < 1e-9);
    assert_true(r[SAWYER_place_wide] > 0.98);
    green[2] = 0.025 + 0.0275;
    sawyer_rewards(r, o);
    assert_true(fabs(r[SAWYER_lift] - 0.5) < 1e-12);
}

/* Rewards of a row are those of its observation as it is stored. */
static void rewards_can_be_computed_from_stored_observations(void **state)
{
    (void)state;
    struct sawyer *sawyer = open_or_fail("sawyer-stack");
    struct step step = {0};
    reset_or_fail(sawyer, 1, ENVIRONMENT_START_ADVANCED, step.observation);
    for (uint64_t k = 0; k < 20; k++) {
        double o[O2], r[SAWYER_N_TASKS];
        wander(sawyer, k, 1, &step);
        for (int i = 0; i < O2; i++) {
            o[i] = (double)step.observation[i];
        }
        sawyer_rewards(r, o);
        for (int i = 0; i < SAWYER_N_TASKS; i++) {
            assert_true((float)r[i] == step.rewards[i]);
        }
    }
    environment_close(sawyer_environment(sawyer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_itself),
        cmocka_unit_test(an_unknown_name_is_refused),
        cmocka_unit_test(absent_models_are_named),
        cmocka_unit_test_setup_teardown(broken_models_are_refused, NULL, scratch_tear_down),
        cmocka_unit_test(an_episode_has_200_steps),
        cmocka_unit_test(a_seed_gives_the_same_episode_whatever_came_before),
        cmocka_unit_test(starts_further_along_are_held_or_stacked),
        cmocka_unit_test(an_episode_may_continue_in_the_scene_of_the_last),
        cmocka_unit_test(physics_that_go_bad_end_the_episode),
        cmocka_unit_test(rewards_are_those_of_the_table),
        cmocka_unit_test(rewards_can_be_computed_from_stored_observations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
