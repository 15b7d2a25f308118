/* Rewards chosen and computed: right columns, right numbers, and scripts that cannot get out of
 * their box. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/relabel/relabel.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

static char path[2 * SCRATCH_SIZE];
static struct signature signature;
static struct episode episode;

static int setup(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "rewards.lua");
    trajectories_signature(&signature, 3);
    trajectories_episode(&episode, &signature, 12, 4, true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    episode_fini(&episode);
    scratch_remove(scratch_folder);
    return 0;
}

static struct config_texts names(const char *a, const char *b)
{
    struct config_texts texts = {0};
    const char *const all[] = {a, b};
    for (size_t i = 0; i < 2 && all[i] != NULL; i++) {
        snprintf(texts.items[texts.n++], CONFIG_TEXT_SIZE, "%s", all[i]);
    }
    return texts;
}

static struct relabel *make(const char *a, const char *b, const char *script)
{
    struct relabel *relabel;
    struct err err = {0};
    const struct config_texts rewards = names(a, b);
    if (script != NULL) {
        scratch_write(path, script);
    }
    if (relabel_new(&relabel, &signature, &rewards, script != NULL ? path : "", &err) !=
        STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return relabel;
}

/* Row t of `to` is that of the episode, with these rewards. */
static void assert_row(const struct relabel *relabel, const struct episode *to, size_t t,
                       const float *rewards)
{
    const struct signature *made = relabel_signature(relabel);
    const float *a = episode.rows + t * episode.W;
    const float *b = to->rows + t * to->W;
    const uint32_t at = signature_rewards_at(&signature);
    assert_memory_equal(a, b, at * sizeof(float));
    assert_memory_equal(b + at, rewards, made->K * sizeof(float));
    assert_true(b[at + made->K] == a[at + signature.K]);
}

static void rewards_are_chosen_by_name(void **state)
{
    (void)state;
    struct episode to;
    struct relabel *all = make(NULL, NULL, NULL);
    assert_memory_equal(relabel_signature(all), &signature, sizeof signature);
    episode_init(&to, signature_width(relabel_signature(all)));
    assert_int_equal(relabel_apply(all, &episode, &to, NULL), STATUS_OK);
    assert_true(trajectories_difference(&to, &episode) == 0.0);
    assert_int_equal(episode_identity_compare(&to.identity, &episode.identity), 0);
    episode_fini(&to);
    relabel_free(all);

    struct relabel *two = make("stand", "run", NULL);
    assert_int_equal(relabel_signature(two)->K, 2);
    assert_string_equal(relabel_signature(two)->rewards[0], "stand");
    episode_init(&to, signature_width(relabel_signature(two)));
    assert_int_equal(relabel_apply(two, &episode, &to, NULL), STATUS_OK);
    for (size_t t = 0; t <= 12; t++) {
        const float *row = episode.rows + t * episode.W;
        const float rewards[2] = {row[9], row[7]};
        assert_row(two, &to, t, rewards);
    }
    episode_fini(&to);
    relabel_free(two);
}

static void a_script_computes_rewards(void **state)
{
    (void)state;
    static const char script[] =
        "local calls = 0\n"
        "return {\n"
        "  walk = function(now, action, after) return after.position[3] - now.position[1] end,\n"
        "  jump = function(now, action, after) calls = calls + 1\n"
        "    return math.max(now.velocity[2], 0) + 10 * action[1] + 100 * #now.velocity end,\n"
        "}\n";
    struct relabel *relabel = make(NULL, NULL, script);
    const struct signature *made = relabel_signature(relabel);
    assert_int_equal(made->K, 4);
    assert_string_equal(made->rewards[1], "walk"); /* in its logged place */
    assert_string_equal(made->rewards[3], "jump");
    struct episode to;
    episode_init(&to, signature_width(made));
    assert_int_equal(relabel_apply(relabel, &episode, &to, NULL), STATUS_OK);
    for (size_t t = 0; t < 12; t++) {
        const float *now = episode.rows + t * episode.W;
        const float *after = now + episode.W;
        const double jump = fmax((double)now[4], 0) + 10 * (double)now[5] + 200;
        const float rewards[4] = {now[7], (float)((double)after[2] - (double)now[0]), now[9],
                                  (float)jump};
        assert_row(relabel, &to, t, rewards);
    }
    assert_row(relabel, &to, 12, (const float[4]){0});
    assert_true(to.identity.relabel != 0);
    assert_int_equal(episode_check(&to, made, NULL), STATUS_OK);
    relabel_free(relabel);
    /* Another script, another identity. */
    const uint64_t first = to.identity.relabel;
    episode_fini(&to);
    relabel = make("jump", NULL, "return { jump = function() return 1 end }");
    episode_init(&to, signature_width(relabel_signature(relabel)));
    assert_int_equal(relabel_apply(relabel, &episode, &to, NULL), STATUS_OK);
    assert_true(to.identity.relabel != first);
    assert_true(episode_return(&to, relabel_signature(relabel), 0) == 12.0);
    episode_fini(&to);
    relabel_free(relabel);
}

static void slices_of_size_1_are_numbers(void **state)
{
    (void)state;
    signature.slices[1].size = 1;
    signature.n_slices = 3;
    signature.slices[2] = (struct signature_slice){.name = "arm/height", .size = 1};
    struct relabel *relabel = make(
        "up", NULL, "return { up = function(now) return now.velocity + now['arm/height'] end }");
    struct episode to;
    episode_init(&to, signature_width(relabel_signature(relabel)));
    assert_int_equal(relabel_apply(relabel, &episode, &to, NULL), STATUS_OK);
    const float expected = (float)((double)episode.rows[3] + (double)episode.rows[4]);
    assert_true(to.rows[7] == expected);
    episode_fini(&to);
    relabel_free(relabel);
}

/* Each row is seen as it was logged, whatever a function has read, changed or kept before. */
static void each_step_shows_its_own_observation(void **state)
{
    (void)state;
    static const char script[] =
        "local kept\n"
        "return {\n"
        "  a_spoils = function(now, action, after)\n"
        "    local first = kept and kept[1] or after.position[1]\n" /* one row old: filled again */
        "    kept = after.position\n"
        "    kept[1], kept[2] = -1000, nil\n"
        "    local _ = now.velocity; now.velocity = 7\n"
        "    action[1] = -1000\n"
        "    return first end,\n"
        "  b_iterates = function(now, action, after)\n"
        "    local slices, sum = 0, 0\n"
        "    for name, values in pairs(now) do slices = slices + 1\n"
        "      if name == 'position' then for _, value in ipairs(values) do sum = sum + value end "
        "end\n"
        "    end\n"
        "    return slices * 100 + sum end,\n"
        "  c_misses = function(now) return now.nothing == nil and now[1] == nil and\n"
        "    not getmetatable(now) and 1 or 0 end,\n"
        "  d_reads = function(now) return now.position[2] + (now.velocity == 7 and 1000 or 0) "
        "end,\n"
        "}\n";
    struct relabel *relabel = make(NULL, NULL, script);
    struct episode to;
    const struct signature *made = relabel_signature(relabel);
    episode_init(&to, signature_width(made));
    for (int again = 0; again < 2; again++) {
        assert_int_equal(relabel_apply(relabel, &episode, &to, NULL), STATUS_OK);
        for (size_t t = 0; t < 12; t++) {
            const float *now = episode.rows + t * episode.W;
            const float *rewards = to.rows + t * to.W + signature_rewards_at(made) + 3;
            const double sum = (double)now[0] + (double)now[1] + (double)now[2];
            /* What was kept has been spoiled, once it is no longer the first row of all. */
            const bool first = t == 0 && again == 0;
            assert_true(rewards[0] == (first ? now[episode.W] : -1000.0F));
            assert_true(rewards[1] == (float)(200 + sum));
            assert_true(rewards[2] == 1.0F);
            assert_true(rewards[3] == (float)((double)now[1] + 1000));
        }
    }
    episode_fini(&to);
    relabel_free(relabel);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *reward, *script, *word;
    } cases[] = {
        {"fly", NULL, "reward fly: is neither logged nor computed"},
        {NULL, "return 3", "returns number, expected a table"},
        {NULL, "return {}", "empty table"},
        {NULL, "return { a = 3 }", "a: expected a name with a function"},
        {NULL, "return { [1] = function() end }", "a key that is not a name"},
        {NULL, "return { ['a b'] = function() end }", "bad name"},
        {NULL, "syntax error", "rewards.lua:1: syntax error near 'error'"},
        {NULL, "error('stop')", "rewards.lua:1: stop"},
        {NULL, "while true do end", "more than 1000000 instructions"},
        {NULL, "local t = {} for i = 1, 1e9 do t[i] = i end", "instructions"},
        {NULL, "local s = 'x' for i = 1, 60 do s = s .. s end", "not enough memory"},
        {NULL, "io.open('/etc/passwd')", "global 'io'"},
        {NULL, "os.execute('true')", "global 'os'"},
        {NULL, "require('io')", "global 'require'"},
        {NULL, "load('return 1')", "global 'load'"},
        {NULL, "dofile('/etc/passwd')", "global 'dofile'"},
        {NULL, "pcall(error)", "global 'pcall'"},
        {NULL, "setmetatable({}, {__gc = function() while true do end end})",
         "global 'setmetatable'"},
        {NULL, "next({})", "global 'next'"},
        {NULL, "rawget({}, 1)", "global 'rawget'"},
        {NULL, "math.random()", "field 'random'"},
        {NULL, "string.rep('x', 1e9)", "global 'string'"},
        {NULL, "\x1bLua", "attempt to load a binary chunk"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct relabel *relabel;
        struct err err = {0};
        const struct config_texts rewards = names(cases[i].reward, NULL);
        if (cases[i].script != NULL) {
            scratch_write(path, cases[i].script);
        }
        const status s =
            relabel_new(&relabel, &signature, &rewards, cases[i].script != NULL ? path : "", &err);
        if (s == STATUS_OK || strstr(err.text, cases[i].word) == NULL) {
            fail_msg("case %zu: expected \"%s\" in \"%s\"", i, cases[i].word, err.text);
        }
    }
    struct relabel *relabel;
    struct err err = {0};
    const struct config_texts none = {0};
    assert_int_equal(relabel_new(&relabel, &signature, &none, "nowhere.lua", &err),
                     STATUS_NOT_FOUND);
}

static void failing_functions_name_task_and_row(void **state)
{
    (void)state;
    static const struct {
        const char *body, *word;
    } cases[] = {
        {"return 'x'", "row 0, t: returns string, expected a finite number"},
        {"return nil", "row 0, t: returns nil"},
        {"return 0/0", "row 0, t: returns no finite number"},
        {"return now.nothing[1]", "row 0, t: "},
        {"n = (n or 0) + 1; if n == 8 then error('eight') end return 0", "row 7, t: "},
        {"while true do end", "row 0, t: "},
        {"now.position = 3 return 0", "rewards.lua:1: a reward function changed position"},
        {"after.sum = 3 return 0", "a reward function changed sum"},
        {"local s = 'x' for i = 1, 40 do s = s .. s end return 0", "not enough memory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char script[256];
        snprintf(script, sizeof script, "return { t = function(now, action, after) %s end }",
                 cases[i].body);
        struct relabel *relabel = make("t", NULL, script);
        struct episode to;
        struct err err = {0};
        episode_init(&to, signature_width(relabel_signature(relabel)));
        for (int again = 0; again < 2; again++) {
            const status s = relabel_apply(relabel, &episode, &to, &err);
            if (i == 4 && again == 1) {
                assert_int_equal(s, STATUS_OK); /* it goes on after a bad episode */
            } else if (s != STATUS_INVALID ||
                       (again == 0 && strstr(err.text, cases[i].word) == NULL)) {
                fail_msg("case %zu: expected \"%s\" in \"%s\"", i, cases[i].word, err.text);
            }
        }
        episode_fini(&to);
        relabel_free(relabel);
    }
}

/* Sets the flag while the script below is running. */
static void *stop_soon(void *flag)
{
    clock_sleep_ms(20);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

static void a_running_script_can_be_stopped(void **state)
{
    (void)state;
    /* Comparing long texts takes long within few instructions. */
    struct relabel *relabel = make("t", NULL,
                                   "local a = 'x' for i = 1, 15 do a = a .. a end "
                                   "local b = a .. 'y' b = a .. 'z' "
                                   "return { t = function() local n = 0 for i = 1, 300000 do "
                                   "if a < b then n = n + 1 end end return n end }");
    struct episode to;
    struct episode long_one;
    struct err err = {0};
    atomic_bool stop = false;
    pthread_t thread;
    trajectories_episode(&long_one, &signature, 20000, 1, false);
    episode_init(&to, signature_width(relabel_signature(relabel)));
    relabel_set_stop(relabel, &stop);
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &stop), 0);
    const uint64_t start_ns = clock_now_ns();
    const status s = relabel_apply(relabel, &long_one, &to, &err);
    assert_true(clock_now_ns() - start_ns < 8 * NS_PER_S);
    assert_true(s == STATUS_CLOSED || s == STATUS_INVALID);
    assert_non_null(strstr(err.text, "stopped"));
    pthread_join(thread, NULL);
    episode_fini(&to);
    episode_fini(&long_one);
    relabel_free(relabel);
}

static void failing_memory_is_reported(void **state)
{
    (void)state;
    scratch_write(path, "return { t = function(now) return now.position[1] end }");
    const struct config_texts none = {0};
    uint64_t nth = 1;
    for (;; nth++) {
        struct relabel *relabel = NULL;
        struct episode to;
        episode_init(&to, signature_width(&signature) + 1);
        memory_fail_at(nth);
        status s = relabel_new(&relabel, &signature, &none, path, NULL);
        if (s == STATUS_OK) {
            s = relabel_apply(relabel, &episode, &to, NULL);
        }
        memory_fail_at(0);
        episode_fini(&to);
        relabel_free(relabel);
        if (s == STATUS_OK) {
            break;
        }
        assert_true(s == STATUS_NO_MEMORY || s == STATUS_INVALID); /* Lua says it as a text */
    }
    print_message("%d allocations\n", (int)nth - 1);
    assert_true(nth > 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rewards_are_chosen_by_name),          TEST(a_script_computes_rewards),
        TEST(slices_of_size_1_are_numbers),        TEST(each_step_shows_its_own_observation),
        TEST(what_cannot_be_is_refused),           TEST(a_running_script_can_be_stopped),
        TEST(failing_functions_name_task_and_row), TEST(failing_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
