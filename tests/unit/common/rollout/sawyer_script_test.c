/* The scripted behaviours bring each task of the Sawyer domain to its success.
 *
 * sawyer_script_test [N [FIRST [LAST]]]: N episodes without noise instead of 2, of tasks FIRST to LAST
 * (0 .. 8) instead of all; fails where fewer than 98% of a task's succeed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/rollout/rollout.h"
#include "tests/lib/check.h"

#define LEAST_RATE 0.98

static uint32_t n_episodes = 2, first_task = 0, last_task = 8;
static struct environment *environment;
static struct actor *actor;
static struct episode episode;

static int setup(void **state)
{
    (void)state;
    struct err err = {0};
    if (environment_open(&environment, "sawyer-stack", &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    const struct signature *signature = environment_signature(environment);
    assert_int_equal(actor_new(&actor, signature, &err), STATUS_OK);
    episode_init(&episode, signature_width(signature));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    episode_fini(&episode);
    actor_free(actor);
    environment_close(environment);
    return 0;
}

/* Acts an episode by the script of `task`; did it succeed? */
static bool act(uint64_t number, uint32_t task, double noise, uint32_t flags)
{
    struct err err = {0};
    struct rollout_stream stream;
    rollout_stream(&stream, 7, "script", 0, number);
    const struct environment_start start = {
        .seed = stream.start_seed, .task = task, .flags = flags};
    actor_use_script(actor, rollout_script, environment, noise);
    actor_start(actor, &stream.rng, task);
    if (rollout_run(environment, &start, actor, &episode, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(episode.T, 200);
    return rollout_success(environment_description(environment), &episode, task);
}

static void scripts_succeed_in_every_task(void **state)
{
    (void)state;
    const struct signature *signature = environment_signature(environment);
    uint32_t n_bad = 0;
    assert_int_equal(signature->K, 9);
    for (uint32_t task = first_task; task <= last_task; task++) {
        uint32_t n_good = 0;
        for (uint32_t i = 0; i < n_episodes; i++) {
            n_good += act(task * 1000 + i, task, 0.0, 0);
        }
        printf("%-16s %u of %u\n", signature->rewards[task], n_good, n_episodes);
        (void)fflush(stdout);
        n_bad += n_good < LEAST_RATE * n_episodes;
    }
    assert_int_equal(n_bad, 0);
}

/* One behaviour takes over where another one stopped. */
static void scripts_go_on_in_a_scene_that_was_left(void **state)
{
    (void)state;
    static const uint32_t tasks[] = {2, 6, 8, 0};
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(act(i, tasks[i], 0.0, i == 0 ? 0 : ENVIRONMENT_START_KEEP));
    }
}

static void noise_is_drawn_from_the_stream(void **state)
{
    (void)state;
    const struct signature *signature = environment_signature(environment);
    const size_t A = signature->A, at = signature_action_at(signature), W = episode.W;
    double sum = 0.0, squares = 0.0, products = 0.0;
    float first[5];
    (void)act(3, 0, 0.2, 0);
    for (size_t a = 0; a < A; a++) {
        first[a] = episode.rows[at + a];
    }
    (void)act(3, 0, 0.2, 0);
    for (size_t a = 0; a < A; a++) {
        assert_true(first[a] == episode.rows[at + a]);
    }
    /* Once the tool has arrived, the script's turn is near 0, and what is left of the action is the
     * noise: its spread, and its correlation from step to step. */
    const uint32_t from = 100, n = episode.T - from - 1;
    for (uint32_t t = from; t < from + n; t++) {
        const float *row = episode.rows + t * W + at;
        sum += (double)row[1];
        squares += (double)row[1] * (double)row[1];
        products += (double)row[1] * (double)row[1 + W];
    }
    double spread = sqrt(squares / n);
    assert_true(spread > 0.05 && spread < 0.6);
    assert_true(products / squares > 0.3);
    assert_true(fabs(sum / n) < 0.3);
}

int main(int argc, char **argv)
{
    uint32_t *const numbers[] = {&n_episodes, &first_task, &last_task};
    for (int i = 1; i < argc && i <= 3; i++) {
        *numbers[i - 1] = (uint32_t)strtoul(argv[i], NULL, 10);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(scripts_succeed_in_every_task, setup, tear_down),
        cmocka_unit_test_setup_teardown(scripts_go_on_in_a_scene_that_was_left, setup, tear_down),
        cmocka_unit_test_setup_teardown(noise_is_drawn_from_the_stream, setup, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
