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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_described_and_not_opened),
        cmocka_unit_test(more_environments_than_may_be_open_are_refused),
        cmocka_unit_test(what_does_not_fit_together_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
