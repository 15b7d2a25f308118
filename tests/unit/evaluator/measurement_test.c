/* Measurements: the same returns for any number of threads, other starts for other streams, and
 * environments that are opened once. */
#include "evaluator/measurement.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "evaluator/options.h"
#include "tests/lib/check.h"
#include "tests/lib/policies.h"
#include "tests/lib/toy_environment.h"

#define EPISODES 6u

static struct signature signature;
static struct policy *policy;

static int setup(void **state)
{
    (void)state;
    struct environment_description description;
    struct err err = {0};
    if (environment_describe(&description, "cheetah-run", &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    signature = description.signature;
    policy = policies_make(&signature, 3);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    policy_free(policy);
    return 0;
}

static struct measurement_settings settings_of(const char *stream, bool sample)
{
    return (struct measurement_settings){
        .seed = 5, .stream = stream, .episodes = EPISODES, .sample = sample};
}

static struct environment_pool *open_pool_of(const char *uri, uint32_t threads,
                                             uint32_t environments)
{
    struct environment_pool *pool;
    struct err err = {0};
    if (environment_pool_open(&pool, uri, threads, environments, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return pool;
}

/* With one environment for each thread. */
static struct environment_pool *open_pool(const char *uri, uint32_t threads)
{
    return open_pool_of(uri, threads, threads);
}

static struct measurement *take_of(uint32_t threads, uint32_t environments, const char *stream,
                                   bool sample)
{
    struct measurement *measurement;
    struct measurement_settings settings = settings_of(stream, sample);
    struct environment_pool *pool = open_pool_of("cheetah-run", threads, environments);
    struct err err = {0};
    if (measurement_take(&measurement, policy, pool, &settings, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    environment_pool_close(pool);
    assert_int_equal(measurement->n_tasks, 1);
    assert_string_equal(measurement->tasks[0], "run");
    assert_int_equal(measurement->steps, EPISODES * 1000);
    assert_int_equal(measurement->failed, 0);
    return measurement;
}

static struct measurement *take(uint32_t threads, const char *stream, bool sample)
{
    return take_of(threads, threads, stream, sample);
}

static bool same(const struct measurement *a, const struct measurement *b)
{
    return memcmp(a->returns, b->returns, EPISODES * sizeof *a->returns) == 0;
}

static void returns_do_not_depend_on_threads(void **state)
{
    (void)state;
    for (int sample = 0; sample < 2; sample++) {
        struct measurement *one = take(1, MEASUREMENT_WINDOW, sample);
        struct measurement *three = take(3, MEASUREMENT_WINDOW, sample);
        struct measurement *final = take(3, MEASUREMENT_FINAL, sample);
        assert_true(same(one, three));
        assert_false(same(one, final));
        measurement_free(one);
        measurement_free(three);
        measurement_free(final);
    }
}

/* A policy that is evaluated for several environments in one batch acts as it does alone: the same
 * returns to the last bit, however environments and threads divide the episodes. */
static void returns_do_not_depend_on_environments(void **state)
{
    (void)state;
    for (int sample = 0; sample < 2; sample++) {
        struct measurement *one = take(1, MEASUREMENT_WINDOW, sample);
        static const uint32_t divisions[][2] = {{1, 2}, {1, 8}, {2, 5}, {3, 0}};
        for (size_t i = 0; i < sizeof divisions / sizeof divisions[0]; i++) {
            struct measurement *other =
                take_of(divisions[i][0], divisions[i][1], MEASUREMENT_WINDOW, sample);
            assert_true(same(one, other));
            measurement_free(other);
        }
        measurement_free(one);
    }
}

/* Each thread has its share; where there are fewer than threads, one each. */
static void environments_are_divided_among_threads(void **state)
{
    (void)state;
    static const uint32_t cases[][4] = {
        /* asked for: threads, environments; threads, environments */
        {2, 5, 2, 5},
        {3, 2, 2, 2},
        {1, 1, 1, 1},
        {2, 0, 2, 16}};
    toy_environment_install();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct environment_pool *pool = open_pool_of("toy:walk", cases[i][0], cases[i][1]);
        assert_int_equal(pool->n_threads, cases[i][2]);
        assert_int_equal(pool->n, cases[i][3]);
        assert_int_equal(environment_pool_first(pool, 0), 0);
        assert_int_equal(environment_pool_first(pool, pool->n_threads), pool->n);
        for (uint32_t t = 0; t < pool->n_threads; t++) {
            const uint32_t share =
                environment_pool_first(pool, t + 1) - environment_pool_first(pool, t);
            assert_true(share == pool->n / pool->n_threads ||
                        share == pool->n / pool->n_threads + 1);
        }
        environment_pool_close(pool);
    }
}

static void sampling_differs_from_the_mean(void **state)
{
    (void)state;
    struct measurement *mean = take(2, MEASUREMENT_WINDOW, false);
    struct measurement *sample = take(2, MEASUREMENT_WINDOW, true);
    assert_false(same(mean, sample));
    measurement_free(mean);
    measurement_free(sample);
}

static void json_holds_returns_and_statistics(void **state)
{
    (void)state;
    struct measurement *measurement = take(2, MEASUREMENT_WINDOW, false);
    /* An episode that failed counts nowhere. */
    measurement->returns[2] = (double)NAN;
    measurement->failed = 1;
    double sum = 0, most = -INFINITY;
    for (uint32_t i = 0; i < EPISODES; i++) {
        sum += i == 2 ? 0 : measurement->returns[i];
        most = i == 2 ? most : fmax(most, measurement->returns[i]);
    }
    cJSON *object = cJSON_CreateObject();
    assert_int_equal(measurement_to_json(measurement, object), STATUS_OK);
    cJSON *task = cJSON_GetArrayItem(cJSON_GetObjectItem(object, "tasks"), 0);
    cJSON *returns = cJSON_GetObjectItem(task, "returns");
    assert_int_equal(cJSON_GetArraySize(returns), EPISODES - 1);
    assert_true(cJSON_GetArrayItem(returns, 0)->valuedouble == measurement->returns[0]);
    assert_true(cJSON_GetArrayItem(returns, 2)->valuedouble == measurement->returns[3]);
    assert_true(cJSON_GetObjectItem(task, "n")->valuedouble == EPISODES - 1);
    assert_true(cJSON_GetObjectItem(task, "max")->valuedouble == most);
    assert_true(fabs(cJSON_GetObjectItem(task, "mean")->valuedouble - sum / (EPISODES - 1)) < 1e-9);
    assert_true(fabs(measurement_mean(measurement) - sum / (EPISODES - 1)) < 1e-9);
    assert_true(cJSON_GetObjectItem(object, "failed_episodes")->valuedouble == 1);
    cJSON_Delete(object);
    measurement_free(measurement);
}

static bool stop_soon(void *arg)
{
    return atomic_fetch_add((_Atomic int *)arg, 1) > 500;
}

static void it_stops_between_steps(void **state)
{
    (void)state;
    struct measurement *measurement;
    struct err err = {0};
    _Atomic int asked = 0;
    struct measurement_settings settings = settings_of(MEASUREMENT_WINDOW, false);
    struct environment_pool *pool = open_pool("cheetah-run", 2);
    settings.stopping = stop_soon;
    settings.arg = &asked;
    assert_int_equal(measurement_take(&measurement, policy, pool, &settings, &err), STATUS_CLOSED);
    environment_pool_close(pool);
    assert_true(asked < 510);
}

#define THREADS_MAX 16

/* Which threads have acted. */
static struct {
    pthread_mutex_t mutex;
    pid_t ids[THREADS_MAX];
    size_t n;
} seen = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static bool note_thread(void *arg)
{
    (void)arg;
    const pid_t id = gettid();
    pthread_mutex_lock(&seen.mutex);
    size_t i = 0;
    while (i < seen.n && seen.ids[i] != id) {
        i++;
    }
    if (i == seen.n && seen.n < THREADS_MAX) {
        seen.ids[seen.n++] = id;
    }
    pthread_mutex_unlock(&seen.mutex);
    return false;
}

static size_t count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    size_t n = 0;
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        n++;
    }
    closedir(folder);
    return n;
}

/* Threads are started with the pool, act in all of its measurements, and end with it. */
static void measurements_share_the_threads_of_the_pool(void **state)
{
    (void)state;
    enum { THREADS = 3, MEASUREMENTS = 4 };
    struct err err = {0};
    struct measurement_settings settings = settings_of(MEASUREMENT_WINDOW, false);
    settings.stopping = note_thread;
    const size_t before = count_threads();
    struct environment_pool *pool = open_pool("cheetah-run", THREADS);
    assert_int_equal(count_threads(), before + THREADS - 1);
    seen.n = 0;
    struct measurement *first = NULL;
    for (int i = 0; i < MEASUREMENTS; i++) {
        struct measurement *measurement;
        assert_int_equal(measurement_take(&measurement, policy, pool, &settings, &err), STATUS_OK);
        assert_int_equal(count_threads(), before + THREADS - 1);
        /* An environment that was used before gives the same returns. */
        assert_true(first == NULL || same(first, measurement));
        if (first == NULL) {
            first = measurement;
        } else {
            measurement_free(measurement);
        }
    }
    assert_int_equal(seen.n, THREADS);
    measurement_free(first);
    environment_pool_close(pool);
    assert_int_equal(count_threads(), before);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct measurement *measurement;
    struct err err = {0};
    struct measurement_settings settings = settings_of(MEASUREMENT_WINDOW, false);
    struct environment_pool *pool = open_pool("walker-run", 2);
    assert_int_equal(measurement_take(&measurement, policy, pool, &settings, &err),
                     STATUS_MISMATCH);
    environment_pool_close(pool);
    pool = NULL;
    assert_int_equal(environment_pool_open(&pool, "moon-walk", 2, 0, &err), STATUS_NOT_FOUND);
    assert_null(pool);
}

/* ---- environments are held ---- */

static struct policy *toy_policy(uint64_t seed)
{
    struct environment_description description;
    assert_int_equal(environment_describe(&description, "toy:walk", NULL), STATUS_OK);
    return policies_make(&description.signature, seed);
}

/* Two measurements of two tasks: as many environments as threads, whatever the number of episodes,
 * and the second measurement repeats the first. */
static void environments_are_opened_once_and_reset(void **state)
{
    (void)state;
    struct measurement *first, *second;
    struct measurement_settings settings = settings_of(MEASUREMENT_WINDOW, true);
    toy_environment_install();
    struct policy *two_tasks = toy_policy(1);
    struct environment_pool *pool = open_pool("toy:walk", 3);
    assert_int_equal(measurement_take(&first, two_tasks, pool, &settings, NULL), STATUS_OK);
    assert_int_equal(measurement_take(&second, two_tasks, pool, &settings, NULL), STATUS_OK);
    environment_pool_close(pool);
    assert_int_equal(first->n_tasks, 2);
    assert_memory_equal(first->returns, second->returns, 2 * EPISODES * sizeof *first->returns);
    struct toy_counts counts = toy_environment_counts();
    assert_int_equal(counts.opened, 3);
    assert_int_equal(counts.open, 0);
    assert_int_equal(counts.resets, 2 * 2 * EPISODES);
    measurement_free(first);
    measurement_free(second);
    policy_free(two_tasks);
}

/* An environment that may be open once is shared by no threads, and measured by one. */
static void no_more_are_opened_than_may_be(void **state)
{
    (void)state;
    struct measurement *measurement;
    struct measurement_settings settings = settings_of(MEASUREMENT_FINAL, false);
    toy_environment_install();
    struct policy *two_tasks = toy_policy(2);
    struct environment_pool *pool = open_pool("toy:single", 4);
    assert_int_equal(pool->n, 1);
    assert_int_equal(measurement_take(&measurement, two_tasks, pool, &settings, NULL), STATUS_OK);
    environment_pool_close(pool);
    assert_int_equal(toy_environment_counts().most_open, 1);
    assert_int_equal(toy_environment_counts().resets, 2 * EPISODES);
    measurement_free(measurement);
    policy_free(two_tasks);
}

/* A simulation that goes bad ends the episode, which is counted as failed and nowhere else. */
static void failed_episodes_count_nowhere(void **state)
{
    (void)state;
    struct measurement *measurement;
    struct err err = {0};
    struct measurement_settings settings = settings_of(MEASUREMENT_FINAL, false);
    settings.keep = true;
    toy_environment_install();
    struct policy *two_tasks = toy_policy(3);
    struct environment_pool *pool = open_pool("toy:walk", 1);
    toy_environment_fail(4, STATUS_CORRUPT, 2);
    assert_int_equal(measurement_take(&measurement, two_tasks, pool, &settings, &err), STATUS_OK);
    assert_int_equal(measurement->failed, 2);
    for (uint32_t i = 0; i < 2 * EPISODES; i++) {
        assert_true(isnan(measurement->returns[i]) == (i < 2));
        assert_true((measurement->kept[i].T == 0) == (i < 2));
    }
    measurement_free(measurement);
    /* Where every episode of a task fails there is nothing to report. */
    toy_environment_fail(4, STATUS_CORRUPT, EPISODES);
    assert_int_equal(measurement_take(&measurement, two_tasks, pool, &settings, &err),
                     STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "task high"));
    environment_pool_close(pool);
    policy_free(two_tasks);
}

/* What --check does: the environment is described, and nothing is opened. */
static void options_are_checked_without_opening(void **state)
{
    (void)state;
    struct err err = {0};
    static struct experiment experiment;
    static struct evaluator_options options;
    options.count = 1;
    toy_environment_install();
    strcpy(experiment.environment, "toy:single");
    assert_int_equal(evaluator_options_check(&options, &experiment, &err), STATUS_OK);
    strcpy(experiment.environment, "toy:run");
    assert_int_equal(evaluator_options_check(&options, &experiment, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "experiment.environment"));
    assert_int_equal(toy_environment_counts().opened, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_do_not_depend_on_threads),
        cmocka_unit_test(returns_do_not_depend_on_environments),
        cmocka_unit_test(environments_are_divided_among_threads),
        cmocka_unit_test(sampling_differs_from_the_mean),
        cmocka_unit_test(json_holds_returns_and_statistics),
        cmocka_unit_test(it_stops_between_steps),
        cmocka_unit_test(measurements_share_the_threads_of_the_pool),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(environments_are_opened_once_and_reset),
        cmocka_unit_test(no_more_are_opened_than_may_be),
        cmocka_unit_test(failed_episodes_count_nowhere),
        cmocka_unit_test(options_are_checked_without_opening),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
