/* The example of docs/own_task.md, experiments/own_task/ball_plate.c: an environment like any other. */
#include <math.h>
#include <string.h>

#include "common/environments/environment.h"
#include "tests/lib/check.h"

enum { TILT, TILT_VELOCITY = 2, BALL = 4, BALL_VELOCITY = 6, TARGET = 8, O = 10 };

struct buffers {
    float action[2], observation[O], rewards[2], discount;
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
    buffers->last = false;
}

static void step_or_fail(struct environment *environment, struct buffers *buffers)
{
    struct err err = {0};
    if (environment_step(environment, buffers->action, buffers->observation, buffers->rewards,
                         &buffers->discount, &buffers->last, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

/* A steady hand: the plate tilts against the ball's distance from the target and its velocity. */
static void balance(struct buffers *buffers)
{
    const float *o = buffers->observation;
    float x = 4.0f * (o[BALL] - o[TARGET]) + 3.0f * o[BALL_VELOCITY];
    float y = 4.0f * (o[BALL + 1] - o[TARGET + 1]) + 3.0f * o[BALL_VELOCITY + 1];
    buffers->action[0] = fmaxf(fminf(y, 1.0f), -1.0f);
    buffers->action[1] = fmaxf(fminf(-x, 1.0f), -1.0f);
}

static void its_names_are_known(void **state)
{
    (void)state;
    size_t found = 0;
    for (const char *const *name = environment_names(); *name != NULL; name++) {
        found += strncmp(*name, "ball_plate-", 11) == 0;
    }
    assert_int_equal(found, 2);
    struct environment_description description;
    struct err err = {0};
    assert_int_equal(environment_describe(&description, "ball_plate-reach", &err), STATUS_OK);
    assert_int_equal(signature_check(&description.signature, &err), STATUS_OK);
    assert_int_equal(signature_observation(&description.signature), O);
    assert_int_equal(description.signature.K, 2);
    assert_string_equal(description.signature.rewards[1], "level");
    assert_true(fabsf(description.signature.action_max[0] - 0.2f) < 1e-6f);
    assert_int_equal(description.step_limit, 500);
    assert_int_equal(environment_describe(&description, "ball_plate-juggle", &err),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "ball_plate-reach"));
}

static void a_steady_hand_brings_the_ball_to_the_target(void **state)
{
    (void)state;
    static const char *const names[] = {"ball_plate-centre", "ball_plate-reach"};
    for (size_t i = 0; i < 2; i++) {
        struct environment *environment = open_or_fail(names[i]);
        for (uint64_t seed = 1; seed <= 5; seed++) {
            struct buffers buffers = {0};
            reset_or_fail(environment, seed, &buffers);
            bool middle = buffers.observation[TARGET] == 0.0f;
            assert_true(middle == (i == 0));
            int steps = 0;
            for (; !buffers.last; steps++) {
                balance(&buffers);
                step_or_fail(environment, &buffers);
                assert_true(buffers.discount == 1.0f);
            }
            assert_int_equal(steps, 500);
            assert_true(buffers.rewards[0] > 0.9f && buffers.rewards[1] > 0.9f);
        }
        environment_close(environment);
    }
}

static void a_fall_ends_the_episode(void **state)
{
    (void)state;
    struct buffers buffers = {.action = {1.0f, 1.0f}};
    struct environment *environment = open_or_fail("ball_plate-centre");
    reset_or_fail(environment, 1, &buffers);
    int steps = 0;
    for (; !buffers.last; steps++) {
        step_or_fail(environment, &buffers);
    }
    assert_in_range(steps, 10, 200);
    assert_true(buffers.discount == 0.0f);
    environment_close(environment);
}

/* The target of one environment is not that of another, and a seed gives the episode again. */
static void a_seed_gives_the_same_episode_again(void **state)
{
    (void)state;
    struct environment *one = open_or_fail("ball_plate-reach");
    struct environment *other = open_or_fail("ball_plate-reach");
    struct buffers a = {0}, b = {0};
    reset_or_fail(one, 1, &a);
    reset_or_fail(other, 2, &b);
    assert_true(a.observation[TARGET] != b.observation[TARGET]);
    step_or_fail(one, &a);
    reset_or_fail(one, 2, &a);
    for (int k = 0; k < 100; k++) {
        assert_memory_equal(a.observation, b.observation, sizeof a.observation);
        balance(&a);
        balance(&b);
        step_or_fail(one, &a);
        step_or_fail(other, &b);
    }
    environment_close(one);
    environment_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_names_are_known),
        cmocka_unit_test(a_steady_hand_brings_the_ball_to_the_target),
        cmocka_unit_test(a_fall_ends_the_episode),
        cmocka_unit_test(a_seed_gives_the_same_episode_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
