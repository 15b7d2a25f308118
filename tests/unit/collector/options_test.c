/* The collector's options against each other and against the environment, which is not opened. */
#include "collector/options.h"

#include <string.h>

#include "tests/lib/check.h"
#include "tests/lib/toy_environment.h"

static struct experiment experiment;
static struct collector_options options;
static struct environment_description environment;

static void set(const char *name, int64_t environments)
{
    memset(&options, 0, sizeof options);
    strcpy(experiment.environment, name);
    strcpy(experiment.run_dir, "runs/x");
    options.count = 1;
    options.environments = environments;
    strcpy(options.act, "policy");
    options.script_noise.n = 1;
    strcpy(options.script_noise.items[0], "0");
    options.reset_episodes = 1;
}

/* What --check and every start do. */
static void the_environment_is_described_and_not_opened(void **state)
{
    (void)state;
    struct err err = {0};
    toy_environment_install();
    set("toy:walk", 8);
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_OK);
    assert_int_equal(environment.signature.K, 2);
    assert_string_equal(options.folder, "runs/x/logs");
    assert_int_equal(toy_environment_counts().opened, 0);
}

static void more_environments_than_may_be_open_are_refused(void **state)
{
    (void)state;
    struct err err = {0};
    toy_environment_install();
    set("toy:single", 1);
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_OK);
    set("toy:single", 2);
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_INVALID);
    assert_non_null(strstr(err.text, "collector.environments 2"));
    assert_int_equal(toy_environment_counts().opened, 0);
}

static void what_does_not_fit_together_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    set("moon-walk", 1);
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "experiment.environment"));
    set("", 1);
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_INVALID);
    set("cheetah-run", 1);
    options.index = 1;
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_INVALID);
    set("cheetah-run", 1);
    options.finish_run = true;
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_INVALID);
    assert_non_null(strstr(err.text, "collector.episodes"));
}

static void refused(const char *what)
{
    struct err err = {0};
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_INVALID);
    if (strstr(err.text, what) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.text, what);
    }
}

static void scripts_and_starts_are_for_environments_that_have_them(void **state)
{
    (void)state;
    struct err err = {0};
    set("cheetah-run", 1);
    strcpy(options.act, "script");
    refused("collector.act script: cheetah-run has no script");
    set("cheetah-run", 1);
    options.reset_episodes = 20;
    refused("collector.reset_episodes 20");
    set("cheetah-run", 1);
    options.advanced = 0.5;
    refused("collector.advanced 0.5");
    set("sawyer-stack", 1);
    strcpy(options.act, "script");
    options.noise_correlation = 0.9;
    refused("collector.noise_correlation 0.9: needs collector.act policy");
    options.noise_correlation = 0;
    options.reset_episodes = 20;
    options.advanced = 0.5;
    options.script_noise.n = 2;
    strcpy(options.script_noise.items[1], "0.3");
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_OK);
    assert_true(options.noise[0] == 0.0 && options.noise[1] == 0.3);
    static const char *const bad[] = {"", "a", "0.3x", "-1", "nan", "1e9"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        strcpy(options.script_noise.items[1], bad[i]);
        refused("collector.script_noise");
    }
}

static void threads_are_chosen(void **state)
{
    (void)state;
    struct err err = {0};
    toy_environment_install();
    static const int64_t cases[][3] = {{3, 2, 2}, {2, 5, 2}, {1, 0, 1}}; /* environments, threads */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set("toy:walk", cases[i][0]);
        options.threads = cases[i][1];
        assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                         STATUS_OK);
        assert_int_equal(options.threads, cases[i][2]);
    }
    set("toy:walk", 200); /* 0: by the cores */
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_OK);
    assert_in_range(options.threads, 1, 200);
    /* Episodes that share a scene wait for one another, as far as there is room. */
    set("sawyer-stack", 2);
    options.reset_episodes = 1000000;
    refused("collector.reset_episodes 1000000 in 2 environments");
    set("sawyer-stack", 1);
    strcpy(options.act, "script");
    strcpy(options.policy, "some.safetensors");
    refused("collector.policy");
}

static void tasks_are_found_by_name(void **state)
{
    (void)state;
    struct err err = {0};
    set("sawyer-stack", 1);
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_OK);
    for (uint32_t k = 0; k < environment.signature.K; k++) {
        assert_true(options.pursued[k]); /* none is named: all */
    }
    options.tasks.n = 2;
    strcpy(options.tasks.items[0], "stack");
    strcpy(options.tasks.items[1], "reach");
    assert_int_equal(collector_options_finish(&options, &experiment, &environment, &err),
                     STATUS_OK);
    for (uint32_t k = 0; k < environment.signature.K; k++) {
        assert_int_equal(options.pursued[k], k == 0 || k == 5);
    }
    strcpy(options.tasks.items[1], "fly");
    refused("collector.tasks: fly: expected some of reach grasp lift");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_described_and_not_opened),
        cmocka_unit_test(more_environments_than_may_be_open_are_refused),
        cmocka_unit_test(what_does_not_fit_together_is_refused),
        cmocka_unit_test(scripts_and_starts_are_for_environments_that_have_them),
        cmocka_unit_test(threads_are_chosen),
        cmocka_unit_test(tasks_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
