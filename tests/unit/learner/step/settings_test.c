/* Settings: defaults, checks, text in and out. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "learner/step/settings.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static struct settings some(void)
{
    struct settings settings = settings_default();
    settings.O = 5;
    settings.A = 2;
    return settings;
}

static void defaults_depend_on_the_algorithm(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        struct settings settings = some();
        struct err err;
        settings.algorithm = (enum settings_algorithm)i;
        assert_int_equal(settings_check(&settings, &err), STATUS_OK);
        const char *name = settings_algorithm_name(settings.algorithm);
        const bool bcq = strcmp(name, "bcq") == 0;
        const bool bear = strcmp(name, "bear") == 0;
        const bool svg = strstr(name, "svg") != NULL;
        assert_int_equal(settings.act_candidates, bcq ? 100 : bear ? 10 : 1);
        assert_true(settings.init_eta == (bcq || bear || svg ? 1.0 : 10.0));
        struct settings named = some();
        assert_int_equal(settings_set(&named, "algorithm", name, &err), STATUS_OK);
        assert_int_equal(named.algorithm, i);
    }
    struct settings settings = some();
    assert_int_equal(settings_set(&settings, "algorithm", "abm+sac", NULL), STATUS_INVALID);
}

static void values_out_of_range_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *says;
    } bad[] = {
        {"algorithm", "sac", "algorithm sac: expected mpo|bm+mpo|"},
        {"O", "0", "O 0: expected 1.."},
        {"A", "65", "A 65: expected 1..64"},
        {"M", "0", "M 0"},
        {"T", "2", "tasks trained per snippet 2: expected 1..1"},
        {"gamma", "1.5", "gamma 1.5: expected 0..1"},
        {"gamma", "nan", "gamma"},
        {"prior_likelihood", "laplace", "prior_likelihood laplace: expected gaussian|censored"},
        {"prior_f", "ste", "prior_f ste: expected step|exp"},
        {"evaluation_precision", "half", "evaluation_precision half: expected f32|bf16"},
        {"precision", "f16", "precision f16: expected f32|bf16"},
        {"widths", "256,5000", "widths"},
        {"target_period", "0", "target_period 0"},
        {"clip_norm", "0", "clip_norm 0"},
        {"lr", "x", "lr 'x': expected a number"},
        {"M", "20.5", "M '20.5': expected a whole number"},
        {"widths", "256,", "widths '256,'"},
        {"seed", "-1", "seed '-1'"},
        {"M", "99999999999", "M '99999999999'"},
        {"algorithm", "a name that is longer than any of ours", "expected mpo"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct settings settings = some();
        struct err err = {0};
        status s = settings_set(&settings, bad[i].name, bad[i].text, &err);
        s = s != STATUS_OK ? s : settings_check(&settings, &err);
        if (s != STATUS_INVALID || strstr(err.text, bad[i].says) == NULL) {
            fail_msg("%s = %s: status %d, '%s'", bad[i].name, bad[i].text, (int)s, err.text);
        }
    }
    struct settings settings = some();
    assert_int_equal(settings_set(&settings, "steps", "3", NULL), STATUS_NOT_FOUND);
}

static void set_one(void *arg, const char *name, const char *text)
{
    struct err err;
    if (settings_set(arg, name, text, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

struct listing {
    size_t length;
    char text[4096];
};

static void list_one(void *arg, const char *name, const char *text)
{
    struct listing *listing = arg;
    listing->length +=
        (size_t)snprintf(listing->text + listing->length, sizeof listing->text - listing->length,
                         "%s=%s\n", name, text);
}

static void text_reads_back_exactly(void **state)
{
    (void)state;
    struct settings settings = some();
    settings.gamma = 0.1 + 0.2;
    settings.eps_std = 1.0 / 3.0;
    settings.seed = UINT64_MAX;
    settings.n_widths = 2;
    settings.K = 3;
    settings.T = 2;
    memset(settings.widths, 0, sizeof settings.widths);
    settings.widths[0] = 12;
    settings.widths[1] = 7;
    assert_int_equal(settings_check(&settings, NULL), STATUS_OK);
    struct settings again = {0};
    settings_visit(&settings, set_one, &again);
    struct listing want = {0};
    struct listing got = {0};
    settings_visit(&settings, list_one, &want);
    settings_visit(&again, list_one, &got);
    assert_string_equal(got.text, want.text);
    assert_true(again.gamma == settings.gamma && again.eps_std == settings.eps_std &&
                again.seed == UINT64_MAX);
    assert_int_equal(settings_inputs(&settings), 8);
    assert_int_equal(settings_row_width(&settings), 5 + 2 + 3 + 1);
}

/* ---- The page ---- */

#define PAGE       "docs/hyperparameters.md"
#define PAGE_WIDTH 110

/* "integer 1..1024", "number 1e-06..1e+06, or 0", "one of step, exp". */
static void range_of(struct text *out, const struct setting *setting)
{
    if (setting->kind == SETTING_CHOICE) {
        text_format(out, "one of ");
        for (size_t i = 0; setting->choices[i] != NULL; i++) {
            text_format(out, "%s%s", i > 0 ? ", " : "", setting->choices[i]);
        }
        return;
    }
    const char *kind = setting->kind == SETTING_REAL     ? "number"
                       : setting->kind == SETTING_WIDTHS ? "integers"
                                                         : "integer";
    text_format(out, "%s %.10g..%.10g%s%s%s", kind, setting->min, setting->max,
                setting->zero_is_own ? ", or 0" : "", setting->unit[0] ? ", " : "", setting->unit);
}

/* The block of the page is made from the list: when this fails, it prints the block to be put
 * there. */
static void the_page_shows_the_list(void **state)
{
    (void)state;
    struct text block = {0};
    for (size_t i = 0; i < SETTINGS_COUNT && settings_at(i)->option != NULL; i++) {
        const struct setting *setting = settings_at(i);
        text_format(&block, "    %s: %s    # ", setting->option, setting->default_text);
        range_of(&block, setting);
        text_format(&block, "\n");
        text_add_wrapped(&block, setting->help, 8, PAGE_WIDTH);
    }
    char *expected = text_take(&block, NULL);
    assert_non_null(expected);
    char *page = scratch_read(PAGE);
    if (page == NULL || strstr(page, expected) == NULL) {
        fprintf(stderr, "%s", expected);
        fail_msg(PAGE " lacks the block above");
    }
    mem_free(expected);
    free(page);
}

/* Each entry is whole: a name of its own, a default within its range, a help text. */
static void the_list_is_sound(void **state)
{
    (void)state;
    bool options_are_over = false;
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        const struct setting *setting = settings_at(i);
        assert_non_null(setting->name);
        assert_ptr_equal(settings_find(setting->name), setting);
        options_are_over = options_are_over || setting->option == NULL;
        assert_int_equal(options_are_over, setting->option == NULL); /* they come first */
        assert_true(setting->option == NULL || setting->help[0] != '\0');
        assert_true((setting->kind == SETTING_CHOICE) == (setting->choices != NULL));
    }
    struct settings settings = some();
    assert_int_equal(settings_check(&settings, NULL), STATUS_OK);
    /* Both ends of a range are in it, what lies beyond is not. */
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        const struct setting *setting = settings_at(i);
        if (setting->kind != SETTING_REAL) {
            continue;
        }
        const double values[] = {setting->min, setting->max, setting->min - 1e-3,
                                 setting->max * 1.001 + 1e-3};
        for (size_t v = 0; v < 4; v++) {
            struct settings changed = some();
            memcpy((char *)&changed + setting->offset, &values[v], sizeof values[v]);
            const bool own = setting->zero_is_own && values[v] == 0.0;
            assert_int_equal(settings_check(&changed, NULL),
                             v < 2 || own ? STATUS_OK : STATUS_INVALID);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_depend_on_the_algorithm),
        cmocka_unit_test(values_out_of_range_are_named),
        cmocka_unit_test(text_reads_back_exactly),
        cmocka_unit_test(the_list_is_sound),
        cmocka_unit_test(the_page_shows_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
