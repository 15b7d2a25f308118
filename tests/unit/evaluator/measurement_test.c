/* Measurements: the same returns for any number of threads, other starts for other streams. */
#include "evaluator/measurement.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "common/environments/environment.h"
#include "tests/lib/check.h"
#include "tests/lib/policies.h"

#define EPISODES 6u

static struct signature signature;
static struct policy *policy;

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
    policy = policies_make(&signature, 3);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    policy_free(policy);
    return 0;
}

static struct measurement_settings settings_of(uint32_t threads, const char *stream, bool sample)
{
    return (struct measurement_settings){.environment = "cheetah-run",
                                         .seed = 5,
                                         .stream = stream,
                                         .episodes = EPISODES,
                                         .threads = threads,
                                         .sample = sample};
}

static struct measurement *take(uint32_t threads, const char *stream, bool sample)
{
    struct measurement *measurement;
    struct measurement_settings settings = settings_of(threads, stream, sample);
    struct err err = {0};
    if (measurement_take(&measurement, policy, &settings, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(measurement->n_tasks, 1);
    assert_string_equal(measurement->tasks[0], "run");
    assert_int_equal(measurement->steps, EPISODES * 1000);
    assert_int_equal(measurement->failed, 0);
    return measurement;
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
    struct measurement_settings settings = settings_of(2, MEASUREMENT_WINDOW, false);
    settings.stopping = stop_soon;
    settings.arg = &asked;
    assert_int_equal(measurement_take(&measurement, policy, &settings, &err), STATUS_CLOSED);
    assert_true(asked < 510);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct measurement *measurement;
    struct err err = {0};
    struct measurement_settings settings = settings_of(2, MEASUREMENT_WINDOW, false);
    settings.environment = "walker-run";
    assert_int_equal(measurement_take(&measurement, policy, &settings, &err), STATUS_MISMATCH);
    settings.environment = "moon-walk";
    assert_int_equal(measurement_take(&measurement, policy, &settings, &err), STATUS_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_do_not_depend_on_threads),
        cmocka_unit_test(sampling_differs_from_the_mean),
        cmocka_unit_test(json_holds_returns_and_statistics),
        cmocka_unit_test(it_stops_between_steps),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
