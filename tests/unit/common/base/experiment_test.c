/* The shared section: defaults, and what follows from them. */
#include <string.h>

#include "common/base/experiment.h"
#include "tests/lib/check.h"

static struct experiment experiment;

static void load(char *flag)
{
    char program[] = "program";
    char *argv[] = {program, flag, NULL};
    bool done = false;
    struct err err = {0};
    const struct config_section section = experiment_section(&experiment);
    assert_int_equal(config_load(&section, 1, "program", flag == NULL ? 1 : 2, argv, &done, &err),
                     STATUS_OK);
    experiment_finish(&experiment);
}

static void presets_make_a_run_on_this_machine(void **state)
{
    (void)state;
    load(NULL);
    assert_string_equal(experiment.run_dir, "runs/run");
    assert_int_equal(experiment.replay.n, 1);
    assert_string_equal(experiment.replay.items[0], "unix:runs/run/replay.sock");
    assert_string_equal(experiment.parameters, "unix:runs/run/parameters.sock");
    assert_int_equal(experiment.seed, 1);
    assert_string_equal(experiment.log_level, "info");
    assert_string_equal(experiment.admin, "");
    assert_false(experiment.allow_insecure);
    assert_false(experiment.check);
}

static void given_values_stay(void **state)
{
    (void)state;
    char replay[] = "--replay=10.0.0.1:7000,10.0.0.2:7000";
    load(replay);
    assert_int_equal(experiment.replay.n, 2);
    assert_string_equal(experiment.replay.items[1], "10.0.0.2:7000");
    char run_dir[] = "--run_dir=/data/x";
    load(run_dir);
    assert_string_equal(experiment.replay.items[0], "unix:/data/x/replay.sock");
    char parameters[] = "--parameters=host:1";
    load(parameters);
    assert_string_equal(experiment.parameters, "host:1");
    char name[] = "--name=cheetah";
    load(name);
    assert_string_equal(experiment.run_dir, "runs/cheetah");
}

static void overlong_folders_are_cut_not_overrun(void **state)
{
    (void)state;
    char flag[CONFIG_TEXT_SIZE + 16] = "--run_dir=";
    const size_t start = strlen(flag);
    memset(flag + start, 'd', CONFIG_TEXT_SIZE - 1);
    flag[start + CONFIG_TEXT_SIZE - 1] = '\0';
    load(flag);
    assert_int_equal(strlen(experiment.parameters), CONFIG_TEXT_SIZE - 1);
}

/* A process that knows environments lists them in --help. */
static void offered_environments_stand_in_the_help(void **state)
{
    (void)state;
    static const char *const names[] = {"cheetah-run", "robot:HOST:PORT", NULL};
    experiment_offer_environments(names);
    const struct config_section section = experiment_section(&experiment);
    bool found = false;
    for (size_t i = 0; i < section.n_options; i++) {
        if (strcmp(section.options[i].name, "environment") == 0) {
            assert_non_null(strstr(section.options[i].help, ": cheetah-run, robot:HOST:PORT"));
            found = true;
        }
    }
    assert_true(found);
    /* More than fit are cut between names. */
    const char *many[101];
    for (size_t i = 0; i < 100; i++) {
        many[i] = "environment-of-that-name";
    }
    many[100] = NULL;
    experiment_offer_environments(many);
    for (size_t i = 0; i < section.n_options; i++) {
        if (strcmp(section.options[i].name, "environment") == 0) {
            const char *help = section.options[i].help;
            assert_string_equal(help + strlen(help) - 10, "-that-name");
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_make_a_run_on_this_machine),
        cmocka_unit_test(given_values_stay),
        cmocka_unit_test(overlong_folders_are_cut_not_overrun),
        cmocka_unit_test(offered_environments_stand_in_the_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
