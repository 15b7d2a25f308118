/* The worker pool: the same log for any number of workers, new episodes after a restart, and one
 * environment per worker, whatever the number of episodes. */
#include <string.h>

#include "collector/worker_pool.h"
#include "tests/lib/check.h"
#include "tests/lib/toy_environment.h"

#define EPISODES 7u

static struct environment_description cheetah, walk;

static int setup(void **state)
{
    (void)state;
    struct err err = {0};
    toy_environment_install();
    if (environment_describe(&cheetah, "cheetah-run", &err) != STATUS_OK ||
        environment_describe(&walk, "toy:walk", &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return 0;
}

static struct worker_pool *start_with(const struct environment_description *environment,
                                      uint32_t n_environments, uint32_t n_threads, uint64_t done,
                                      uint64_t last)
{
    struct worker_pool *pool;
    struct err err = {0};
    struct worker_pool_settings settings = {.environment = environment,
                                            .seed = 11,
                                            .index = 2,
                                            .n_environments = n_environments,
                                            .n_threads = n_threads,
                                            .done = done,
                                            .last = last,
                                            .random_episodes = UINT64_MAX};
    if (worker_pool_start(&pool, &settings, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return pool;
}

/* A thread for each environment. */
static struct worker_pool *start_in(const struct environment_description *environment, uint32_t n,
                                    uint64_t done, uint64_t last)
{
    return start_with(environment, n, n, done, last);
}

static struct worker_pool *start(uint32_t n, uint64_t done, uint64_t last)
{
    return start_in(&cheetah, n, done, last);
}

/* Takes all episodes, in order after `done`; returns how many. */
static size_t collect(struct worker_pool *pool, uint64_t done, struct finished_episode **all)
{
    size_t n = 0;
    for (;;) {
        struct err err = {0};
        status s = worker_pool_next(pool, 60000, &all[n], &err);
        if (s == STATUS_CLOSED) {
            return n;
        }
        if (s != STATUS_OK) {
            fail_msg("%s %s", status_text(s), err.text);
        }
        assert_int_equal(all[n]->sequence, done + n + 1);
        assert_int_equal(all[n]->acting, ACTING_RANDOM);
        n++;
    }
}

static bool same(const struct finished_episode *a, const struct finished_episode *b)
{
    return a->episode->T == b->episode->T && a->task == b->task &&
           memcmp(a->episode->rows, b->episode->rows,
                  (size_t)(a->episode->T + 1) * a->episode->W * sizeof(float)) == 0;
}

static void free_all(struct finished_episode **all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        finished_episode_free(all[i]);
    }
}

static void the_log_does_not_depend_on_workers_or_restarts(void **state)
{
    (void)state;
    struct finished_episode *one[EPISODES + 1], *three[EPISODES + 1], *later[EPISODES + 1];
    struct finished_episode *four[EPISODES + 1]; /* side by side on one thread */
    struct worker_pool *pool = start(1, 0, EPISODES);
    assert_int_equal(collect(pool, 0, one), EPISODES);
    assert_int_equal(worker_pool_steps(pool), EPISODES * 1000);
    worker_pool_free(pool);
    pool = start(3, 0, EPISODES);
    assert_int_equal(collect(pool, 0, three), EPISODES);
    worker_pool_free(pool);
    pool = start_with(&cheetah, 4, 1, 0, EPISODES);
    assert_int_equal(collect(pool, 0, four), EPISODES);
    worker_pool_free(pool);
    pool = start(2, 4, EPISODES);
    assert_int_equal(collect(pool, 4, later), EPISODES - 4);
    worker_pool_free(pool);
    for (size_t i = 0; i < EPISODES; i++) {
        assert_int_equal(one[i]->episode->T, 1000);
        assert_true(same(one[i], three[i]));
        assert_true(same(one[i], four[i]));
        assert_true(i < 4 || same(one[i], later[i - 4]));
        assert_true(i == 0 || !same(one[i], one[i - 1]));
    }
    free_all(one, EPISODES);
    free_all(three, EPISODES);
    free_all(four, EPISODES);
    free_all(later, EPISODES - 4);
}

/* Without an end and without a reader the window fills; stopping then does not hang, and frees
 * everything. */
static void stopping_leaves_nothing_behind(void **state)
{
    (void)state;
    struct finished_episode *finished;
    struct err err = {0};
    struct worker_pool *pool = start(2, 0, 0);
    assert_int_equal(worker_pool_next(pool, 60000, &finished, &err), STATUS_OK);
    finished_episode_free(finished);
    worker_pool_stop(pool);
    status s;
    while ((s = worker_pool_next(pool, 60000, &finished, &err)) == STATUS_OK) {
        finished_episode_free(finished);
    }
    assert_int_equal(s, STATUS_CLOSED);
    worker_pool_free(pool);
}

static void an_environment_that_cannot_be_opened_is_reported_at_start(void **state)
{
    (void)state;
    struct worker_pool *pool = NULL;
    struct environment_description description = {0};
    struct err err = {0};
    strcpy(description.uri, "moon-walk");
    description.open_max = 1;
    struct worker_pool_settings settings = {.environment = &description,
                                            .n_environments = 1,
                                            .n_threads = 1,
                                            .random_episodes = UINT64_MAX};
    assert_int_equal(worker_pool_start(&pool, &settings, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "moon-walk"));

    /* Another has taken the only one there may be; nothing of this pool stays open. */
    struct environment *other = NULL;
    toy_environment_install();
    assert_int_equal(environment_describe(&description, "toy:single", &err), STATUS_OK);
    assert_int_equal(environment_open(&other, "toy:single", &err), STATUS_OK);
    assert_int_equal(worker_pool_start(&pool, &settings, &err), STATUS_LIMIT);
    assert_int_equal(toy_environment_counts().open, 1);
    environment_close(other);
}

static void environments_are_opened_once_and_reset(void **state)
{
    (void)state;
    enum { MANY = 40 };
    struct finished_episode *all[MANY + 1];
    bool seen[2] = {false, false};
    toy_environment_install();
    struct worker_pool *pool = start_in(&walk, 3, 0, MANY);
    assert_int_equal(collect(pool, 0, all), MANY);
    worker_pool_free(pool);
    assert_int_equal(toy_environment_counts().opened, 3);
    assert_int_equal(toy_environment_counts().open, 0);
    assert_int_equal(toy_environment_counts().resets, MANY);
    for (size_t i = 0; i < MANY; i++) {
        seen[all[i]->task] = true;
    }
    assert_true(seen[0] && seen[1]); /* a random task per episode */
    free_all(all, MANY);
}

/* Logs whose rewards are to be computed later. */
static void an_environment_may_have_no_rewards(void **state)
{
    (void)state;
    struct environment_description description;
    struct finished_episode *all[EPISODES + 1];
    struct err err = {0};
    toy_environment_install();
    assert_int_equal(environment_describe(&description, "toy:unrewarded", &err), STATUS_OK);
    assert_int_equal(description.signature.K, 0);
    struct worker_pool *pool = start_with(&description, 2, 1, 0, EPISODES);
    assert_int_equal(collect(pool, 0, all), EPISODES);
    worker_pool_free(pool);
    for (size_t i = 0; i < EPISODES; i++) {
        assert_int_equal(all[i]->task, 0);
        assert_true(all[i]->episode->T > 0);
        assert_int_equal(all[i]->episode->W, 3 + 1 + 1);
    }
    free_all(all, EPISODES);
}

/* A simulation that goes bad: its episode is acted again from another stream, and no row of the bad
 * one is passed on. */
static void failed_episodes_are_never_passed_on(void **state)
{
    (void)state;
    struct finished_episode *good[EPISODES + 1], *retried[EPISODES + 1];
    toy_environment_install();
    struct worker_pool *pool = start_in(&walk, 1, 0, EPISODES);
    assert_int_equal(collect(pool, 0, good), EPISODES);
    worker_pool_free(pool);
    toy_environment_fail(1, STATUS_CORRUPT, 3);
    pool = start_in(&walk, 1, 0, EPISODES);
    assert_int_equal(collect(pool, 0, retried), EPISODES);
    worker_pool_free(pool);
    assert_false(same(good[0], retried[0]));
    for (size_t i = 1; i < EPISODES; i++) {
        assert_true(same(good[i], retried[i]));
    }
    assert_int_equal(toy_environment_counts().resets, 2 * EPISODES + 3);
    free_all(good, EPISODES);
    free_all(retried, EPISODES);
}

static void an_environment_that_always_fails_ends_the_pool(void **state)
{
    (void)state;
    struct finished_episode *finished;
    struct err err = {0};
    toy_environment_install();
    toy_environment_fail(2, STATUS_CORRUPT, UINT32_MAX);
    struct worker_pool *pool = start_in(&walk, 2, 0, EPISODES);
    assert_int_equal(worker_pool_next(pool, 60000, &finished, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "failed 10 times"));
    worker_pool_free(pool);
    toy_environment_install();
}

/* Does `next` begin where `before` ended? */
static bool goes_on(const struct finished_episode *before, const struct finished_episode *next,
                    uint32_t O)
{
    const struct episode *a = before->episode, *b = next->episode;
    return memcmp(a->rows + (size_t)a->T * a->W, b->rows, O * sizeof(float)) == 0;
}

#define SCENES 8u

/* Scripted episodes with the one or the other noise, two to a scene, in so many environments. */
static void collect_scenes(uint32_t n_environments, uint32_t n_threads, uint64_t done,
                           struct finished_episode **all)
{
    static const double noise[] = {0.0, 0.5};
    struct environment_description sawyer;
    struct err err = {0};
    struct worker_pool *pool;
    assert_int_equal(environment_describe(&sawyer, "sawyer-stack", &err), STATUS_OK);
    struct worker_pool_settings settings = {.environment = &sawyer,
                                            .seed = 1,
                                            .n_environments = n_environments,
                                            .n_threads = n_threads,
                                            .done = done,
                                            .last = SCENES,
                                            .script = true,
                                            .script_noise = noise,
                                            .n_script_noise = 2,
                                            .reset_episodes = 2};
    if (worker_pool_start(&pool, &settings, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    for (uint64_t i = 0; i < SCENES - done; i++) {
        assert_int_equal(worker_pool_next(pool, 60000, &all[i], &err), STATUS_OK);
        assert_int_equal(all[i]->acting, ACTING_SCRIPT);
    }
    worker_pool_free(pool);
}

/* Episodes 1, 2 and 3, 4 and so on share a scene, whichever environment acts them. */
static void scripted_episodes_go_on_until_there_is_a_new_start(void **state)
{
    (void)state;
    struct finished_episode *one[SCENES], *three[SCENES], *two[SCENES];
    struct environment_description sawyer;
    assert_int_equal(environment_describe(&sawyer, "sawyer-stack", NULL), STATUS_OK);
    const uint32_t O = signature_observation(&sawyer.signature);
    collect_scenes(1, 1, 0, one);
    collect_scenes(3, 1, 0, three);
    collect_scenes(2, 2, 0, two);
    for (size_t i = 0; i < SCENES; i++) {
        assert_true(i == 0 || goes_on(one[i - 1], one[i], O) == (i % 2 == 1));
        assert_true(same(one[i], three[i]));
        assert_true(same(one[i], two[i]));
    }
    /* A restart within a scene begins with a new one; scenes are counted as before. */
    struct finished_episode *later[SCENES];
    collect_scenes(2, 1, 3, later);
    assert_false(same(one[3], later[0]));
    for (size_t i = 4; i < SCENES; i++) {
        assert_true(same(one[i], later[i - 3]));
    }
    free_all(one, SCENES);
    free_all(three, SCENES);
    free_all(two, SCENES);
    free_all(later, SCENES - 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scripted_episodes_go_on_until_there_is_a_new_start),
        cmocka_unit_test(the_log_does_not_depend_on_workers_or_restarts),
        cmocka_unit_test(stopping_leaves_nothing_behind),
        cmocka_unit_test(an_environment_that_cannot_be_opened_is_reported_at_start),
        cmocka_unit_test(environments_are_opened_once_and_reset),
        cmocka_unit_test(an_environment_may_have_no_rewards),
        cmocka_unit_test(failed_episodes_are_never_passed_on),
        cmocka_unit_test(an_environment_that_always_fails_ends_the_pool),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
