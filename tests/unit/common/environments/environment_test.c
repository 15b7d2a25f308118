/* Environments as their users see them: names, descriptions, episodes, errors, sharing, threads. What
 * a reset forgets is in reset_state_test.c. */
#include "common/environments/environment.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/rng.h"
#include "common/environments/control_suite.h"
#include "common/environments/mujoco_guard.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/toy_environment.h"

#define THREADS 4

struct buffers {
    float action[SIGNATURE_ACTIONS_MAX];
    float observation[SIGNATURE_OBSERVATION_MAX];
    float rewards[SIGNATURE_TASKS_MAX];
    float discount;
    bool last;
};

static struct environment *open_or_fail(const char *name)
{
    struct err err = {0};
    struct environment *environment = NULL;
    if (environment_open(&environment, name, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return environment;
}

static void reset_or_fail(struct environment *environment, uint64_t seed, struct buffers *buffers)
{
    const struct environment_start start = {.seed = seed};
    struct err err = {0};
    if (environment_reset(environment, &start, buffers->observation, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static status step(struct environment *environment, struct buffers *buffers, struct err *err)
{
    return environment_step(environment, buffers->action, buffers->observation, buffers->rewards,
                            &buffers->discount, &buffers->last, err);
}

static void random_action(struct environment *environment, struct buffers *buffers, struct rng *rng)
{
    for (uint32_t a = 0; a < environment_signature(environment)->A; a++) {
        buffers->action[a] = (float)(2.0 * rng_uniform(rng) - 1.0);
    }
}

/* ---- what there is ---- */

static void every_name_opens_and_steps(void **state)
{
    (void)state;
    size_t n = 0;
    for (const char *const *name = environment_names(); *name != NULL; name++, n++) {
        struct err err = {0};
        struct buffers buffers = {0};
        struct environment *environment = open_or_fail(*name);
        assert_string_equal(environment_description(environment)->uri, *name);
        assert_int_equal(signature_check(environment_signature(environment), &err), STATUS_OK);
        reset_or_fail(environment, 1, &buffers);
        assert_int_equal(step(environment, &buffers, &err), STATUS_OK);
        assert_true(buffers.rewards[0] >= 0.0f && buffers.rewards[0] <= 1.0f);
        assert_true(buffers.discount == 1.0f && !buffers.last);
        environment_close(environment);
    }
    assert_true(n >= 32);
}

static void signatures_say_what_dm_control_says(void **state)
{
    (void)state;
    static const struct {
        const char *name, *reward, *slice;
        uint32_t O, A, n_slices;
        double period_s;
    } expected[] = {
        {"acrobot-swingup", "swingup", "velocity", 6, 1, 2, 0.01},
        {"acrobot-swingup_sparse", "swingup_sparse", "velocity", 6, 1, 2, 0.01},
        {"ball_in_cup-catch", "catch", "velocity", 8, 2, 2, 0.02},
        {"cartpole-balance", "balance", "velocity", 5, 1, 2, 0.01},
        {"cartpole-balance_sparse", "balance_sparse", "velocity", 5, 1, 2, 0.01},
        {"cartpole-swingup", "swingup", "velocity", 5, 1, 2, 0.01},
        {"cartpole-swingup_sparse", "swingup_sparse", "velocity", 5, 1, 2, 0.01},
        {"cheetah-run", "run", "velocity", 17, 6, 2, 0.01},
        {"finger-spin", "spin", "velocity", 9, 2, 3, 0.02},
        {"finger-turn_easy", "turn_easy", "velocity", 12, 2, 5, 0.02},
        {"finger-turn_hard", "turn_hard", "velocity", 12, 2, 5, 0.02},
        {"fish-upright", "upright", "upright", 21, 5, 3, 0.04},
        {"fish-swim", "swim", "upright", 24, 5, 4, 0.04},
        {"hopper-hop", "hop", "velocity", 15, 4, 3, 0.02},
        {"hopper-stand", "stand", "velocity", 15, 4, 3, 0.02},
        {"humanoid-stand", "stand", "head_height", 67, 21, 6, 0.025},
        {"humanoid-walk", "walk", "head_height", 67, 21, 6, 0.025},
        {"humanoid-run", "run", "head_height", 67, 21, 6, 0.025},
        {"manipulator-bring_ball", "bring_ball", "arm_vel", 44, 5, 7, 0.01},
        {"manipulator-bring_peg", "bring_peg", "arm_vel", 44, 5, 7, 0.01},
        {"manipulator-insert_ball", "insert_ball", "arm_vel", 44, 5, 7, 0.01},
        {"manipulator-insert_peg", "insert_peg", "arm_vel", 44, 5, 7, 0.01},
        {"pendulum-swingup", "swingup", "velocity", 3, 1, 2, 0.02},
        {"point_mass-easy", "easy", "velocity", 4, 2, 2, 0.02},
        {"point_mass-hard", "hard", "velocity", 4, 2, 2, 0.02},
        {"quadruped-walk", "walk", "torso_velocity", 78, 12, 5, 0.02},
        {"quadruped-run", "run", "torso_velocity", 78, 12, 5, 0.02},
        {"reacher-easy", "easy", "to_target", 6, 2, 3, 0.02},
        {"reacher-hard", "hard", "to_target", 6, 2, 3, 0.02},
        {"walker-stand", "stand", "height", 24, 6, 3, 0.025},
        {"walker-walk", "walk", "height", 24, 6, 3, 0.025},
        {"walker-run", "run", "height", 24, 6, 3, 0.025},
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct environment *environment = open_or_fail(expected[i].name);
        const struct signature *signature = environment_signature(environment);
        struct environment_description description;
        struct err err = {0};
        assert_int_equal(signature_observation(signature), expected[i].O);
        assert_int_equal(signature->A, expected[i].A);
        assert_int_equal(signature->K, 1);
        assert_string_equal(signature->rewards[0], expected[i].reward);
        assert_int_equal(signature->n_slices, expected[i].n_slices);
        assert_string_equal(signature->slices[1].name, expected[i].slice);
        assert_true(fabs(signature->control_period_s - expected[i].period_s) < 1e-12);
        assert_int_equal(environment_description(environment)->step_limit, 1000);
        /* The description is the same without opening. */
        assert_int_equal(environment_describe(&description, expected[i].name, &err), STATUS_OK);
        assert_memory_equal(&description, environment_description(environment), sizeof description);
        assert_int_equal(description.open_max, ENVIRONMENT_OPEN_UNLIMITED);
        assert_false(description.real_time);
        assert_int_equal(description.start_flags, 0);
        environment_close(environment);
    }
}

static void unknown_names_are_told_the_known_ones(void **state)
{
    (void)state;
    struct err err = {0};
    struct environment *environment = NULL;
    static const char *const unknown[] = {"cheetah-fly", "cheetah-", "moon-walk", "",
                                          "cheetah-run2"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        struct environment_description description;
        assert_int_equal(environment_open(&environment, unknown[i], &err), STATUS_NOT_FOUND);
        assert_null(environment);
        assert_non_null(strstr(err.text, unknown[i]));
        assert_non_null(strstr(err.text, "quadruped-run"));
        assert_int_equal(environment_describe(&description, unknown[i], &err), STATUS_NOT_FOUND);
    }
    char longest[ENVIRONMENT_URI_SIZE + 1];
    memset(longest, 'x', ENVIRONMENT_URI_SIZE);
    longest[ENVIRONMENT_URI_SIZE] = '\0';
    assert_int_equal(environment_open(&environment, longest, &err), STATUS_INVALID);
}

/* ---- families ---- */

/* An added family is found by its prefix, listed, and described without being opened. */
static void families_are_found_by_prefix(void **state)
{
    (void)state;
    struct err err = {0};
    struct environment_description description;
    toy_environment_install();
    bool listed = false;
    for (const char *const *name = environment_names(); *name != NULL; name++) {
        listed = listed || strcmp(*name, "toy:walk") == 0;
    }
    assert_true(listed);
    assert_int_equal(environment_describe(&description, "toy:walk", &err), STATUS_OK);
    assert_int_equal(description.signature.K, 2);
    assert_int_equal(toy_environment_counts().opened, 0);
    struct environment *environment = open_or_fail("toy:walk");
    assert_int_equal(toy_environment_counts().open, 1);
    environment_close(environment);
    assert_int_equal(toy_environment_counts().open, 0);
    assert_int_equal(environment_open(&environment, "toy:run", &err), STATUS_NOT_FOUND);
}

static void open_max_is_enforced(void **state)
{
    (void)state;
    struct err err = {0};
    struct environment *second = NULL;
    toy_environment_install();
    struct environment *first = open_or_fail("toy:single");
    assert_int_equal(environment_open(&second, "toy:single", &err), STATUS_LIMIT);
    assert_null(second);
    environment_close(first);
    second = open_or_fail("toy:single");
    environment_close(second);
}

/* All rewards come on each step; a termination has discount 0 and ends the episode. */
static void several_rewards_and_a_termination(void **state)
{
    (void)state;
    struct err err = {0};
    struct buffers buffers = {0};
    toy_environment_install();
    struct environment *environment = open_or_fail("toy:walk");
    reset_or_fail(environment, 4, &buffers);
    buffers.action[0] = 0.5f;
    assert_int_equal(step(environment, &buffers, &err), STATUS_OK);
    assert_true(buffers.rewards[0] == 0.5f && buffers.rewards[1] == -0.5f);
    assert_true(buffers.discount == 1.0f && !buffers.last);
    buffers.action[0] = 0.95f;
    assert_int_equal(step(environment, &buffers, &err), STATUS_OK);
    assert_true(buffers.discount == 0.0f && buffers.last);
    assert_int_equal(step(environment, &buffers, &err), STATUS_CLOSED);
    environment_close(environment);
}

/* A start is checked against the description before anything moves. */
static void starts_are_checked(void **state)
{
    (void)state;
    struct err err = {0};
    struct buffers buffers = {0};
    toy_environment_install();
    struct environment *environment = open_or_fail("toy:walk");
    struct environment_start start = {.seed = 1, .task = 2};
    assert_int_equal(environment_reset(environment, &start, buffers.observation, &err),
                     STATUS_INVALID);
    start = (struct environment_start){.seed = 1, .flags = ENVIRONMENT_START_ADVANCED};
    assert_int_equal(environment_reset(environment, &start, buffers.observation, &err),
                     STATUS_INVALID);
    assert_int_equal(toy_environment_counts().resets, 0);
    assert_int_equal(step(environment, &buffers, &err), STATUS_CLOSED);
    /* The task and an allowed flag reach the family. */
    float by_task[2];
    for (uint32_t task = 0; task < 2; task++) {
        start = (struct environment_start){.seed = 1, .task = task};
        assert_int_equal(environment_reset(environment, &start, buffers.observation, &err),
                         STATUS_OK);
        by_task[task] = buffers.observation[0];
    }
    assert_true(by_task[0] != by_task[1]);
    buffers.action[0] = 0.25f;
    assert_int_equal(step(environment, &buffers, &err), STATUS_OK);
    start.flags = ENVIRONMENT_START_KEEP;
    assert_int_equal(environment_reset(environment, &start, buffers.observation, &err), STATUS_OK);
    assert_true(buffers.observation[2] == 0.25f);
    environment_close(environment);
    environment = open_or_fail("cheetah-run");
    assert_int_equal(environment_reset(environment, &start, buffers.observation, &err),
                     STATUS_INVALID); /* the suite has no such flag */
    environment_close(environment);
}

/* ---- episodes ---- */

static void an_episode_ends_at_its_limit(void **state)
{
    (void)state;
    struct err err = {0};
    struct buffers buffers = {0};
    struct environment *environment = open_or_fail("cheetah-run");
    assert_int_equal(step(environment, &buffers, &err), STATUS_CLOSED); /* no reset yet */
    reset_or_fail(environment, 3, &buffers);
    for (uint32_t k = 1; k <= 1000; k++) {
        assert_int_equal(step(environment, &buffers, &err), STATUS_OK);
        assert_int_equal(buffers.last, k == 1000);
        assert_true(buffers.discount == 1.0f);
    }
    assert_int_equal(step(environment, &buffers, &err), STATUS_CLOSED);
    reset_or_fail(environment, 4, &buffers);
    assert_int_equal(step(environment, &buffers, &err), STATUS_OK);
    environment_close(environment);
}

/* Runs n steps with actions of a fixed stream; a digest of all that came out. */
static double run_digest(const char *name, uint64_t seed, int n)
{
    struct err err = {0};
    struct buffers buffers = {0};
    struct rng rng;
    rng_init(&rng, 11, "environment_test", 0);
    struct environment *environment = open_or_fail(name);
    uint32_t O = signature_observation(environment_signature(environment));
    reset_or_fail(environment, seed, &buffers);
    double digest = 0.0;
    for (int k = 0; k < n; k++) {
        if (k % 50 == 49) {
            reset_or_fail(environment, seed + (uint64_t)k, &buffers);
        }
        random_action(environment, &buffers, &rng);
        if (step(environment, &buffers, &err) != STATUS_OK) {
            fail_msg("%s", err.text);
        }
        for (uint32_t i = 0; i < O; i++) {
            digest = digest * 0.75 + (double)buffers.observation[i];
        }
        digest += (double)buffers.rewards[0];
    }
    environment_close(environment);
    return digest;
}

static void same_seed_same_bits(void **state)
{
    (void)state;
    assert_true(run_digest("hopper-hop", 5, 200) == run_digest("hopper-hop", 5, 200));
    assert_true(run_digest("hopper-hop", 5, 200) != run_digest("hopper-hop", 6, 200));
}

static void episodes_of_other_seeds_differ(void **state)
{
    (void)state;
    struct buffers first = {0}, second = {0};
    struct environment *environment = open_or_fail("walker-walk");
    reset_or_fail(environment, 5, &first);
    reset_or_fail(environment, 6, &second);
    assert_memory_not_equal(first.observation, second.observation, 24 * sizeof(float));
    environment_close(environment);
}

/* The suite itself draws on, as dm_control does: one generator, seeded once, serves many episodes. */
static void one_generator_gives_the_suite_new_starts(void **state)
{
    (void)state;
    struct err err = {0};
    double first[24], second[24], again[24];
    struct control_suite *suite = NULL;
    assert_int_equal(control_suite_open(&suite, "walker-walk", &err), STATUS_OK);
    control_suite_seed(suite, 5);
    assert_int_equal(control_suite_reset(suite, first, &err), STATUS_OK);
    assert_int_equal(control_suite_reset(suite, second, &err), STATUS_OK);
    control_suite_seed(suite, 5);
    assert_int_equal(control_suite_reset(suite, again, &err), STATUS_OK);
    assert_memory_not_equal(first, second, sizeof first);
    assert_memory_equal(first, again, sizeof first);
    control_suite_close(suite);
}

/* The float side is the double side, rounded; actions reach their physical limits. */
static void floats_are_rounded_doubles(void **state)
{
    (void)state;
    struct err err = {0};
    struct buffers buffers = {0};
    double action[12], observation[78], reward, discount;
    bool last;
    struct environment *environment = open_or_fail("quadruped-run");
    const struct signature *signature = environment_signature(environment);
    struct control_suite *suite = NULL;
    assert_int_equal(control_suite_open(&suite, "quadruped-run", &err), STATUS_OK);
    control_suite_seed(suite, 9);
    reset_or_fail(environment, 9, &buffers);
    assert_int_equal(control_suite_reset(suite, observation, &err), STATUS_OK);
    for (int k = 0; k < 30; k++) {
        for (uint32_t a = 0; a < 12; a++) {
            bool high = ((uint32_t)k + a) % 3 == 0;
            buffers.action[a] = high ? 1.0f : -1.0f;
            action[a] = (double)(high ? signature->action_max[a] : signature->action_min[a]);
        }
        assert_int_equal(step(environment, &buffers, &err), STATUS_OK);
        assert_int_equal(
            control_suite_step(suite, action, observation, &reward, &discount, &last, &err),
            STATUS_OK);
        for (int i = 0; i < 78; i++) {
            assert_true(buffers.observation[i] == (float)observation[i]);
        }
        assert_true(buffers.rewards[0] == (float)reward);
    }
    assert_true(fabsf(signature->action_max[1] - 1.1f) < 1e-6f); /* lift */
    environment_close(environment);
    control_suite_close(suite);
}

/* ---- errors ---- */

/* The first observation (O) of an episode after an action that comes at `share` of the step. */
static void delayed_step(struct environment *environment, double share, float action,
                         struct buffers *buffers)
{
    struct err err = {0};
    reset_or_fail(environment, 3, buffers);
    for (uint32_t a = 0; a < environment_signature(environment)->A; a++) {
        buffers->action[a] = action;
    }
    environment_delay(environment, share);
    assert_int_equal(step(environment, buffers, &err), STATUS_OK);
}

/* An action that comes late acts in the rest of the step; the next one is in time again. */
static void late_actions_act_late(void **state)
{
    (void)state;
    static struct buffers still, whole, half, late;
    static const char *const names[] = {"finger-spin", "sawyer-stack"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct environment *environment = open_or_fail(names[i]);
        const size_t size =
            signature_observation(environment_signature(environment)) * sizeof(float);
        delayed_step(environment, 0.0, 1.0f, &whole);
        delayed_step(environment, 0.5, 1.0f, &half);
        delayed_step(environment, 1.0, 1.0f, &late);
        assert_memory_not_equal(half.observation, whole.observation, size);
        assert_memory_not_equal(half.observation, late.observation, size);
        assert_memory_not_equal(late.observation, whole.observation, size);
        /* In finger, as after a reset, nothing acts before the first action. */
        delayed_step(environment, 0.0, 0.0f, &still);
        if (i == 0) {
            assert_memory_equal(late.observation, still.observation, size);
        }
        environment_close(environment);
    }
}

static void bad_actions_move_nothing(void **state)
{
    (void)state;
    struct err err = {0};
    struct buffers buffers = {0}, other = {0};
    struct environment *environment = open_or_fail("walker-run");
    struct environment *undisturbed = open_or_fail("walker-run");
    reset_or_fail(environment, 2, &buffers);
    reset_or_fail(undisturbed, 2, &other);
    static const float bad[] = {NAN, INFINITY, -INFINITY, 1.001f, -2.0f};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buffers.action[3] = bad[i];
        assert_int_equal(step(environment, &buffers, &err), STATUS_INVALID);
        assert_non_null(strstr(err.text, "action 3"));
    }
    buffers.action[3] = 1.000005f; /* a float's rounding: clipped */
    other.action[3] = 1.0f;
    assert_int_equal(step(environment, &buffers, &err), STATUS_OK);
    assert_int_equal(step(undisturbed, &other, &err), STATUS_OK);
    assert_memory_equal(buffers.observation, other.observation, 24 * sizeof(float));
    environment_close(environment);
    environment_close(undisturbed);
}

/* MuJoCo would reset by itself and go on: here the episode is over, and says why. */
static void bad_states_end_the_episode(void **state)
{
    (void)state;
    static const double bad[] = {(double)NAN, (double)INFINITY, 1e30};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = {0};
        double observation[17], action[6] = {0}, reward = -1.0, discount = -1.0;
        bool last = false;
        struct control_suite *suite = NULL;
        assert_int_equal(control_suite_open(&suite, "cheetah-run", &err), STATUS_OK);
        assert_int_equal(control_suite_reset(suite, observation, &err), STATUS_OK);
        control_suite_simulation(suite)->data->qvel[2] = bad[i];
        assert_int_equal(
            control_suite_step(suite, action, observation, &reward, &discount, &last, &err),
            STATUS_CORRUPT);
        assert_non_null(strstr(err.text, "cheetah-run: step 1"));
        assert_true(reward == -1.0 && discount == -1.0);
        assert_int_equal(
            control_suite_step(suite, action, observation, &reward, &discount, &last, &err),
            STATUS_CLOSED);
        /* The next episode is untouched by it. */
        assert_int_equal(control_suite_reset(suite, observation, &err), STATUS_OK);
        assert_int_equal(
            control_suite_step(suite, action, observation, &reward, &discount, &last, &err),
            STATUS_OK);
        control_suite_close(suite);
    }
}

static void raise_error(void *arg)
{
    mju_error("stack overflow of %d bytes", *(int *)arg);
}

static void mujoco_errors_do_not_end_the_process(void **state)
{
    (void)state;
    struct err err = {0};
    int bytes = 17;
    mujoco_guard_install();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mujoco_guard_run(raise_error, &bytes, &err), STATUS_INTERNAL);
        assert_non_null(strstr(err.text, "stack overflow of 17 bytes"));
    }
    assert_int_not_equal(access("MUJOCO_LOG.TXT", F_OK), 0);
}

static void absent_and_wrong_models_are_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct environment *environment = NULL;
    assert_int_equal(setenv("HINDCAST_CONTROL_SUITE", "/nonexistent", 1), 0);
    assert_int_equal(environment_open(&environment, "walker-run", &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/walker.xml"));

    char folder[SCRATCH_SIZE], path[2 * SCRATCH_SIZE];
    scratch_make(folder);
    scratch_path(path, folder, "walker.xml");
    static const char *const models[] = {
        "<mujoco><worldbody><body><joint/></body></worldbody></mujoco>", /* no mass: not compiled */
        ("<mujoco><worldbody><body><joint type='slide'/><geom "
         "size='1'/></body></worldbody></mujoco>"),
        "<mujoco><unfinished",
    };
    assert_int_equal(setenv("HINDCAST_CONTROL_SUITE", folder, 1), 0);
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        scratch_write(path, models[i]);
        assert_int_equal(environment_open(&environment, "walker-run", &err), STATUS_INVALID);
        assert_non_null(strstr(err.text, "walker"));
    }
    assert_null(environment);
    scratch_remove(folder);
    assert_int_equal(unsetenv("HINDCAST_CONTROL_SUITE"), 0);
}

/* ---- sharing ---- */

static const mjModel *model_of(struct control_suite *suite)
{
    return control_suite_simulation(suite)->model;
}

static void models_are_shared_within_a_domain(void **state)
{
    (void)state;
    struct err err = {0};
    struct control_suite *hop = NULL, *stand = NULL, *walk = NULL, *run = NULL;
    assert_int_equal(control_suite_open(&hop, "hopper-hop", &err), STATUS_OK);
    assert_int_equal(control_suite_open(&stand, "hopper-stand", &err), STATUS_OK);
    assert_int_equal(control_suite_open(&walk, "quadruped-walk", &err), STATUS_OK);
    assert_int_equal(control_suite_open(&run, "quadruped-run", &err), STATUS_OK);
    assert_ptr_equal(model_of(hop), model_of(stand));
    assert_ptr_not_equal(model_of(walk), model_of(run)); /* other floors */
    assert_true((model_of(hop)->opt.disableflags & mjDSBL_AUTORESET) != 0);
    control_suite_close(hop);
    double observation[15];
    assert_int_equal(control_suite_reset(stand, observation, &err), STATUS_OK); /* still there */
    control_suite_close(stand);
    control_suite_close(walk);
    control_suite_close(run);
}

static void *digest_on_thread(void *arg)
{
    *(double *)arg = run_digest("walker-walk", 4, 150);
    return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
    (void)state;
    double alone = run_digest("walker-walk", 4, 150);
    double digests[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, digest_on_thread, &digests[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(digests[i] == alone);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_opens_and_steps),
        cmocka_unit_test(signatures_say_what_dm_control_says),
        cmocka_unit_test(unknown_names_are_told_the_known_ones),
        cmocka_unit_test(families_are_found_by_prefix),
        cmocka_unit_test(open_max_is_enforced),
        cmocka_unit_test(several_rewards_and_a_termination),
        cmocka_unit_test(starts_are_checked),
        cmocka_unit_test(an_episode_ends_at_its_limit),
        cmocka_unit_test(same_seed_same_bits),
        cmocka_unit_test(episodes_of_other_seeds_differ),
        cmocka_unit_test(one_generator_gives_the_suite_new_starts),
        cmocka_unit_test(floats_are_rounded_doubles),
        cmocka_unit_test(late_actions_act_late),
        cmocka_unit_test(bad_actions_move_nothing),
        cmocka_unit_test(bad_states_end_the_episode),
        cmocka_unit_test(mujoco_errors_do_not_end_the_process),
        cmocka_unit_test(absent_and_wrong_models_are_refused),
        cmocka_unit_test(models_are_shared_within_a_domain),
        cmocka_unit_test(threads_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
