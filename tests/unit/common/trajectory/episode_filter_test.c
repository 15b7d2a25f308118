/* Filters: their texts, and which episodes they leave. */
#include "tests/lib/check.h"

#include <string.h>

#include "common/trajectory/episode_filter.h"
#include "common/trajectory/episode_rules.h"

#define N 10u

/* Makes a filter of conditions that end with NULL. */
static struct episode_filter make(const char *const *conditions)
{
    struct episode_filter filter;
    struct err err = {0};
    episode_filter_init(&filter);
    for (; *conditions != NULL; conditions++) {
        if (episode_filter_add(&filter, *conditions, &err) != STATUS_OK) {
            fail_msg("%s", err.text);
        }
    }
    return filter;
}

/* Episodes 0..9 with returns 0, 3, 6, 9, 2, 5, 8, 1, 4, 7 and 1..10 steps; even ones succeed, and
 * those below 5 have the tag. Compares those that are kept, as digits. */
static void expect(const char *const *conditions, const char *kept)
{
    const struct episode_filter filter = make(conditions);
    struct episode_facts facts[N];
    char left[N + 1] = "";
    for (uint32_t i = 0; i < N; i++) {
        facts[i] = (struct episode_facts){.episode_return = i * 3 % 10,
                                          .last_reward = i % 2 == 0 ? 0.5 : 0,
                                          .T = i + 1,
                                          .tagged = i < 5};
    }
    if (filter.tag[0] == '\0') {
        for (uint32_t i = 0; i < N; i++) {
            facts[i].tagged = true;
        }
    }
    assert_int_equal(episode_filter_apply(&filter, facts, N, NULL), STATUS_OK);
    for (uint32_t i = 0, n = 0; i < N; i++) {
        if (facts[i].reason == EPISODE_KEPT) {
            left[n++] = (char)('0' + i);
        }
    }
    assert_string_equal(left, kept);
}

#define CONDITIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void conditions_leave_episodes_out(void **state)
{
    (void)state;
    expect(CONDITIONS("every=1"), "0123456789");
    expect(CONDITIONS("success"), "02468");
    expect(CONDITIONS("min_return=6"), "2369");
    expect(CONDITIONS("min_return=2", "max_return=4"), "148");
    expect(CONDITIONS("min_length=3", "max_length=5"), "234");
    expect(CONDITIONS("tag=robot=left"), "01234");
    expect(CONDITIONS("every=3"), "0369");
}

/* The best of those that fulfil the conditions, then every n-th of these. */
static void parts_come_after_conditions(void **state)
{
    (void)state;
    expect(CONDITIONS("best=0.3"), "369");
    expect(CONDITIONS("best=0.01"), "3");
    expect(CONDITIONS("best=0.5", "success"), "268");
    expect(CONDITIONS("every=2", "best=0.5", "success"), "28");
}

static void equal_filters_have_equal_texts(void **state)
{
    (void)state;
    static const char text[] =
        "reward=reach, success, min_return=-1.5, max_return=3, min_length=2, max_length=9, "
        "tag=who=a=b c, best=0.1, every=4";
    struct episode_filter filter =
        make(CONDITIONS("every=4", "best=0.1", "tag=who=a=b c", "max_length=9", "min_length=2",
                        "max_return=3", "min_return=-1.5", "success", "reward=reach"));
    struct text written = {0};
    episode_filter_write(&filter, &written);
    assert_string_equal(written.bytes, text);
    text_fini(&written);
    /* A filter that keeps everything has no text, and neither have its rules. */
    struct episode_rules rules;
    episode_rules_init(&rules);
    assert_true(episode_rules_use_all(&rules));
    episode_rules_write(&rules, &written);
    assert_int_equal(written.size, 0);
    rules.split_bad_rows = true;
    rules.filter = make(CONDITIONS("success"));
    episode_rules_write(&rules, &written);
    assert_string_equal(written.bytes, "bad_rows: split, min_piece: 2, filter: success");
    text_fini(&written);
}

static void wrong_conditions_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",          "best",           "best=0",        "best=1.5",
                                        "best=0.1x", "min_return=",    "every=0",       "every=1.5",
                                        "tag=a",     "tag==b",         "min_length=-1", "reward=",
                                        "succes",    "min_return=nan", "tag=a=b, c"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct episode_filter filter;
        struct err err = {0};
        episode_filter_init(&filter);
        assert_int_equal(episode_filter_add(&filter, wrong[i], &err), STATUS_INVALID);
        assert_non_null(strstr(err.text, "expected"));
    }
    struct episode_filter filter = make(CONDITIONS("min_return=3"));
    assert_int_equal(episode_filter_add(&filter, "max_return=2", NULL), STATUS_INVALID);
}

static void the_reward_must_be_logged(void **state)
{
    (void)state;
    struct signature signature = {.K = 2, .rewards = {"reach", "lift"}};
    struct err err = {0};
    uint32_t k = 7;
    struct episode_filter filter = make(CONDITIONS("reward=lift", "success"));
    assert_int_equal(episode_filter_reward(&filter, &signature, &k, &err), STATUS_OK);
    assert_int_equal(k, 1);
    filter = make(CONDITIONS("reward=drop"));
    assert_int_equal(episode_filter_reward(&filter, &signature, &k, &err), STATUS_INVALID);
    signature.K = 0;
    filter = make(CONDITIONS("success"));
    assert_int_equal(episode_filter_reward(&filter, &signature, &k, &err), STATUS_INVALID);
    filter = make(CONDITIONS("every=2"));
    assert_int_equal(episode_filter_reward(&filter, &signature, &k, &err), STATUS_OK);
}

static void tags_are_numbers_or_texts(void **state)
{
    (void)state;
    struct episode_filter filter = make(CONDITIONS("tag=robot=2"));
    assert_true(episode_filter_tag_is(&filter, "2"));
    assert_true(episode_filter_tag_is(&filter, "2.0"));
    assert_false(episode_filter_tag_is(&filter, "2 "));
    assert_false(episode_filter_tag_is(&filter, "two"));
    filter = make(CONDITIONS("tag=robot=left"));
    assert_true(episode_filter_tag_is(&filter, "left"));
    assert_false(episode_filter_tag_is(&filter, "Left"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conditions_leave_episodes_out),
        cmocka_unit_test(parts_come_after_conditions),
        cmocka_unit_test(equal_filters_have_equal_texts),
        cmocka_unit_test(wrong_conditions_are_refused),
        cmocka_unit_test(the_reward_must_be_logged),
        cmocka_unit_test(tags_are_numbers_or_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
