/* Options of the learner: what follows from the list of hyperparameters, and the texts that other
 * builds compare or have written: digest, terms, a checkpoint. */
#include "tests/lib/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "learner/run/checkpoint.h"

#define GOLDEN "tests/golden/learner/"
/* Of the defaults, as version 0.1.0 has it. */
#define DIGEST UINT64_C(0x26c7b4a87636e7b0)

static struct learner_options options;

static status load(const char *const *flags, int n, struct err *err)
{
    static char texts[8][128];
    char *argv[9] = {texts[0]};
    assert_true(n < 8);
    for (int i = 0; i < n; i++) {
        snprintf(texts[i + 1], sizeof texts[i + 1], "%s", flags[i]);
        argv[i + 1] = texts[i + 1];
    }
    memset(&options, 0, sizeof options);
    const struct config_section section = learner_options_section(&options);
    bool done = false;
    return config_load(&section, 1, "test", n + 1, argv, &done, err);
}

static void check_load(const char *const *flags, int n)
{
    struct err err = {0};
    if (load(flags, n, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static struct signature one_task(void)
{
    struct signature signature = {.n_slices = 1, .A = 2, .K = 1};
    signature.slices[0].size = 5;
    return signature;
}

/* A hyperparameter reaches the settings, whatever its kind, and keeps every bit. */
static void options_reach_the_settings(void **state)
{
    (void)state;
    const char *flags[] = {"--algorithm=bcq", "--samples=7",   "--widths=16,8",
                           "--gamma=0.1",     "--prior_f=exp", "--target_period=9007199254740992",
                           "--init_eta=0.25"};
    check_load(flags, 7);
    const struct signature signature = one_task();
    struct settings settings;
    struct err err = {0};
    assert_int_equal(learner_options_settings(&options, &signature, UINT64_MAX, &settings, &err),
                     STATUS_OK);
    assert_int_equal(settings.algorithm, ALGORITHM_BCQ);
    assert_int_equal(settings.M, 7);
    assert_int_equal(settings.n_widths, 2);
    assert_int_equal(settings.widths[1], 8);
    assert_true(settings.gamma == 0.1 && settings.init_eta == 0.25);
    assert_int_equal(settings.prior_f, PRIOR_F_EXP);
    assert_int_equal(settings.target_period, INT64_C(9007199254740992));
    assert_int_equal(settings.act_candidates, 100);
    assert_true(settings.seed == UINT64_MAX && settings.O == 5 && settings.A == 2);
}

/* The defaults of the options are those of the settings. */
static void the_defaults_agree(void **state)
{
    (void)state;
    check_load(NULL, 0);
    const struct signature signature = one_task();
    struct settings settings, expected = settings_default();
    struct err err = {0};
    assert_int_equal(learner_options_settings(&options, &signature, 0, &settings, &err), STATUS_OK);
    expected.O = 5;
    expected.A = 2;
    expected.normalize = NORMALIZE_STANDARD; /* of a new run, where the option says auto */
    assert_int_equal(settings_check(&expected, &err), STATUS_OK);
    assert_memory_equal(&settings, &expected, sizeof settings);
    assert_true(learner_options_normalize_auto(&options));
}

static void values_out_of_range_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *flag, *says;
    } bad[] = {{"--beta1=0.9999999", "beta1"},
               {"--adam_eps=0", "adam_eps"},
               {"--clip_norm=1e13", "clip_norm"},
               {"--algorithm=sac", "algorithm"},
               {"--act_candidates=2000", "act_can"},
               {"--rho_floor=-81", "rho_floor"},
               {"--widths=0", "widths"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = {0};
        if (load(&bad[i].flag, 1, &err) != STATUS_INVALID ||
            strstr(err.text, bad[i].says) == NULL) {
            fail_msg("%s: '%s'", bad[i].flag, err.text);
        }
    }
    /* In the range of the option, where 0 has a meaning of its own, but not in the setting's. */
    const char *flag = "--init_eta=1e-9";
    check_load(&flag, 1);
    struct err err = {0};
    assert_int_equal(learner_options_check(&options, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "init_eta 1e-09: expected 1e-06..1e+06"));
}

/* Options that came later change the digest; what 0.1.0 had is recorded as it was. */
static void the_digest_is_that_of_0_1_0(void **state)
{
    (void)state;
    static const char *const later[] = {"max_connection_bytes",
                                        "max_connections",
                                        "max_host_connections",
                                        "max_client_calls",
                                        "idle_connection_seconds",
                                        "grace_ms",
                                        "normalize",
                                        "precision",
                                        "kernels",
                                        "reward_scale",
                                        "policy_average",
                                        "expectile",
                                        "beta",
                                        "iql_max_weight",
                                        "bc_alpha",
                                        "smoothing_std",
                                        "smoothing_clip",
                                        "priorities",
                                        "importance_exponent",
                                        "priority_mix",
                                        "priority_offset",
                                        "validation_snippets",
                                        "keep_policies"};
    check_load(NULL, 0);
    struct config_section recorded = learner_options_recorded(&options);
    struct config_option rows[128];
    size_t n = 0;
    for (size_t i = 0; i < recorded.n_options; i++) {
        bool is_later = false;
        for (size_t j = 0; j < sizeof later / sizeof later[0]; j++) {
            is_later = is_later || strcmp(recorded.options[i].name, later[j]) == 0;
        }
        assert_true(n < sizeof rows / sizeof rows[0]);
        if (!is_later) {
            rows[n++] = recorded.options[i];
        }
    }
    recorded.options = rows;
    recorded.n_options = n;
    assert_true(config_digest(&recorded) == DIGEST);
}

/* What ranks of different builds compare, to the letter. Hyperparameters that came later follow what
 * 0.1.0 had. */
static void the_terms_are_those_of_0_1_0(void **state)
{
    (void)state;
    check_load(NULL, 0);
    char *terms = learner_options_terms(&options, 7);
    assert_non_null(terms);
    void *golden = NULL;
    size_t size = 0;
    struct err err = {0};
    if (file_read(GOLDEN "terms.txt", 1 << 16, &golden, &size, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    static const char later[] =
        "  normalize: auto\n  priorities: none\n  importance_exponent: 0.6\n"
        "  priority_mix: 0.9\n  priority_offset: 0.1\n"
        "  precision: f32\n  reward_scale: 1\n"
        "  policy_average: 0\n  expectile: 0.7\n  beta: 3\n"
        "  iql_max_weight: 100\n  bc_alpha: 2.5\n  smoothing_std: 0.2\n"
        "  smoothing_clip: 0.5\n";
    if (strlen(terms) != size + strlen(later) || memcmp(terms, golden, size) != 0 ||
        strcmp(terms + size, later) != 0) {
        fail_msg("the terms are\n%s", terms);
    }
    mem_free(terms);
    mem_free(golden);
}

static void an_option_has_its_old_name_for_one_release(void **state)
{
    (void)state;
    const char *flag = "--replay_batch=failed-batch-1.safetensors";
    check_load(&flag, 1);
    assert_string_equal(options.rerun_step, "failed-batch-1.safetensors");
}

/* ---- A checkpoint that version 0.1.0 wrote ---- */

struct comparing {
    const struct safetensors *file;
    int compared;
};

static void compare(void *arg, const char *name, const char *text)
{
    struct comparing *comparing = arg;
    const char *found = safetensors_metadata(comparing->file, name);
    /* What 0.1.0 did not have: it took observations as they were, and the other defaults are what
     * it did, or belong to algorithms that came later. */
    static const char *const later[][2] = {{"normalize", "none"},
                                           {"precision", "f32"},
                                           {"reward_scale", "1"},
                                           {"policy_average", "0"},
                                           {"expectile", "0.69999999999999996"},
                                           {"beta", "3"},
                                           {"iql_max_weight", "100"},
                                           {"bc_alpha", "2.5"},
                                           {"smoothing_std", "0.20000000000000001"},
                                           {"smoothing_clip", "0.5"}};
    for (size_t i = 0; found == NULL && i < sizeof later / sizeof later[0]; i++) {
        found = strcmp(name, later[i][0]) == 0 ? later[i][1] : NULL;
    }
    if (found == NULL || strcmp(found, text) != 0) {
        fail_msg("%s is '%s', in the file '%s'", name, text, found != NULL ? found : "(absent)");
    }
    comparing->compared++;
}

static void a_checkpoint_of_0_1_0_is_resumed(void **unused)
{
    (void)unused;
    const char *flags[] = {"--widths=8,4", "--samples=5", "--target_period=10"};
    check_load(flags, 3);
    struct state *state = NULL;
    struct settings settings;
    static struct checkpoint about;
    struct err err = {0};
    if (checkpoint_look(GOLDEN, &options, 3, &state, &settings, &about, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(state_step(state), 3);
    assert_int_equal(about.next_batch, 3);
    assert_true(about.finished);
    assert_string_equal(about.finish_reason, "3 steps done");
    /* Every setting has the text that it had. */
    struct safetensors *file = NULL;
    assert_int_equal(safetensors_read(&file, GOLDEN "step-00000003.safetensors", 1 << 20, &err),
                     STATUS_OK);
    struct comparing comparing = {.file = file};
    settings_visit(&settings, compare, &comparing);
    assert_int_equal(comparing.compared, SETTINGS_COUNT);
    safetensors_free(file);
    state_free(state);
}

int main(void)
{
    log_open("test", LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_reach_the_settings),
        cmocka_unit_test(the_defaults_agree),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(the_digest_is_that_of_0_1_0),
        cmocka_unit_test(the_terms_are_those_of_0_1_0),
        cmocka_unit_test(an_option_has_its_old_name_for_one_release),
        cmocka_unit_test(a_checkpoint_of_0_1_0_is_resumed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
