/* The crew: the same log for any number of workers, and new episodes after a restart. */
#include <string.h>

#include "collector/crew.h"
#include "common/environments/environment.h"
#include "tests/lib/check.h"

#define EPISODES 7u

static struct signature signature;

static int setup(void **state)
{
    (void)state;
    struct environment *environment;
    struct err err = {0};
    if (environment_open(&environment, "cheetah-run", 0, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    signature = *environment_signature(environment);
    environment_close(environment);
    return 0;
}

static struct crew *start(uint32_t n_workers, uint64_t done, uint64_t last)
{
    struct crew *crew;
    struct err err = {0};
    struct crew_settings settings = {.environment = "cheetah-run",
                                     .seed = 11,
                                     .index = 2,
                                     .n_workers = n_workers,
                                     .done = done,
                                     .last = last,
                                     .random_episodes = UINT64_MAX};
    if (crew_start(&crew, &settings, &signature, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return crew;
}

/* All that comes, in order after `done`; says how many. */
static size_t collect(struct crew *crew, uint64_t done, struct finished_episode **all)
{
    size_t n = 0;
    for (;;) {
        struct err err = {0};
        status s = crew_next(crew, 60000, &all[n], &err);
        if (s == STATUS_CLOSED) {
            return n;
        }
        if (s != STATUS_OK) {
            fail_msg("%s %s", status_text(s), err.text);
        }
        assert_int_equal(all[n]->sequence, done + n + 1);
        assert_true(all[n]->random);
        assert_int_equal(all[n]->episode->T, 1000);
        n++;
    }
}

static bool same(const struct finished_episode *a, const struct finished_episode *b)
{
    return a->episode->T == b->episode->T &&
           memcmp(a->episode->rows, b->episode->rows,
                  (size_t)(a->episode->T + 1) * a->episode->W * sizeof(float)) == 0;
}

static void the_log_does_not_depend_on_workers_or_restarts(void **state)
{
    (void)state;
    struct finished_episode *one[EPISODES], *three[EPISODES], *later[EPISODES];
    struct crew *crew = start(1, 0, EPISODES);
    assert_int_equal(collect(crew, 0, one), EPISODES);
    assert_int_equal(crew_steps(crew), EPISODES * 1000);
    crew_free(crew);
    crew = start(3, 0, EPISODES);
    assert_int_equal(collect(crew, 0, three), EPISODES);
    crew_free(crew);
    crew = start(2, 4, EPISODES);
    assert_int_equal(collect(crew, 4, later), EPISODES - 4);
    crew_free(crew);
    for (size_t i = 0; i < EPISODES; i++) {
        assert_true(same(one[i], three[i]));
        assert_true(i < 4 || same(one[i], later[i - 4]));
        assert_true(i == 0 || !same(one[i], one[i - 1]));
    }
    for (size_t i = 0; i < EPISODES; i++) {
        finished_episode_free(one[i]);
        finished_episode_free(three[i]);
        if (i >= 4) {
            finished_episode_free(later[i - 4]);
        }
    }
}

/* Without an end and without a keeper the window fills; stopping then does not hang, and frees
 * all. */
static void stopping_leaves_nothing_behind(void **state)
{
    (void)state;
    struct finished_episode *finished;
    struct err err = {0};
    struct crew *crew = start(2, 0, 0);
    assert_int_equal(crew_next(crew, 60000, &finished, &err), STATUS_OK);
    finished_episode_free(finished);
    crew_stop(crew);
    status s;
    while ((s = crew_next(crew, 60000, &finished, &err)) == STATUS_OK) {
        finished_episode_free(finished);
    }
    assert_int_equal(s, STATUS_CLOSED);
    crew_free(crew);
}

static void an_unknown_environment_is_said_at_start(void **state)
{
    (void)state;
    struct crew *crew;
    struct err err = {0};
    struct crew_settings settings = {
        .environment = "moon-walk", .n_workers = 1, .random_episodes = UINT64_MAX};
    assert_int_equal(crew_start(&crew, &settings, &signature, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "moon-walk"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_log_does_not_depend_on_workers_or_restarts),
        cmocka_unit_test(stopping_leaves_nothing_behind),
        cmocka_unit_test(an_unknown_environment_is_said_at_start),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
