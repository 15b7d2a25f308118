/* JSON that is looked at: values found where they are, and everything that is no JSON refused. */
#include <stdio.h>
#include <string.h>

#include "common/base/json_view.h"
#include "common/base/memory.h"
#include "tests/lib/check.h"

static struct json_view *parse(const char *text)
{
    struct err err = {0};
    struct json_view *json = NULL;
    assert_int_equal(json_view_parse(&json, text, strlen(text), &err), STATUS_OK);
    return json;
}

static void values_are_found(void **state)
{
    (void)state;
    struct json_view *json = parse(
        " {\"a\": [1, -2.5e3, {}], \"b\": {\"c\": \"x\", \"c\": \"y\"}, \"n\": null, \"e\": []} ");
    assert_int_equal(json_view_type(json, 0), JSON_OBJECT);
    assert_int_equal(json_view_size(json, 0), 4);
    assert_null(json_view_key(json, 0));
    const int a = json_view_member(json, 0, "a");
    assert_string_equal(json_view_key(json, a), "a");
    assert_int_equal(json_view_type(json, a), JSON_ARRAY);
    assert_int_equal(json_view_size(json, a), 3);
    int item = json_view_first(json, a);
    double number;
    assert_true(json_view_number(json, item, &number) && number == 1);
    item = json_view_next(json, item);
    assert_null(json_view_key(json, item));
    assert_true(json_view_number(json, item, &number) && number == -2500);
    item = json_view_next(json, item);
    assert_int_equal(json_view_type(json, item), JSON_OBJECT);
    assert_int_equal(json_view_first(json, item), JSON_NONE);
    assert_int_equal(json_view_next(json, item), JSON_NONE);
    /* Of two members of one name the first is found, and both are there. */
    const int b = json_view_member(json, 0, "b");
    assert_int_equal(json_view_size(json, b), 2);
    assert_string_equal(json_view_text(json, json_view_member(json, b, "c")), "x");
    assert_int_equal(json_view_type(json, json_view_member(json, 0, "n")), JSON_OTHER);
    assert_int_equal(json_view_size(json, json_view_member(json, 0, "e")), 0);
    json_view_free(json);
}

static void what_is_not_there_is_none(void **state)
{
    (void)state;
    struct json_view *json = parse("{\"a\": \"text\"}");
    const int nothing = json_view_member(json, json_view_member(json, 0, "b"), "c");
    double number;
    assert_int_equal(nothing, JSON_NONE);
    assert_int_equal(json_view_type(json, nothing), JSON_OTHER);
    assert_int_equal(json_view_size(json, nothing), 0);
    assert_int_equal(json_view_first(json, nothing), JSON_NONE);
    assert_int_equal(json_view_next(json, nothing), JSON_NONE);
    assert_null(json_view_text(json, nothing));
    assert_false(json_view_number(json, nothing, &number));
    /* A text has no members, and is no number. */
    const int a = json_view_member(json, 0, "a");
    assert_int_equal(json_view_member(json, a, "text"), JSON_NONE);
    assert_false(json_view_number(json, a, &number));
    json_view_free(json);
}

static void texts_are_unescaped(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"\"\"", ""},
        {"\"a\\\"b\\\\\\/\\b\\f\\n\\r\\t\"", "a\"b\\/\b\f\n\r\t"},
        {"\"\\u0041\\u00e9\\u20AC\"", "A\u00e9\u20ac"},
        {"\"\\ud83e\\uddbe!\"", "\U0001F9BE!"},
        {"\"\u00e9\"", "\u00e9"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "[%s, {%s: 1}]", pairs[i][0], pairs[i][0]);
        struct json_view *json = parse(text);
        const int first = json_view_first(json, 0);
        assert_string_equal(json_view_text(json, first), pairs[i][1]);
        const int member = json_view_first(json, json_view_next(json, first));
        assert_string_equal(json_view_key(json, member), pairs[i][1]);
        json_view_free(json);
    }
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "[}",
        "{]",
        "[1",
        "[1,2}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,\"b\"}",
        "{1:2}",
        "{\"a\":1 2}",
        "{\"a\":{}{}}",
        "[\"a\":1]",
        "{\"a\":\"b\":1}",
        "{} {}",
        "{} x",
        "[1] 2",
        "{\"a\":tru}",
        "[nul]",
        "[nan]",
        "[inf]",
        "[1e999]",
        "[0x10]",
        "[1.2.3]",
        "[--1]",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "[\"\\u12g4\"]",
        "[\"\\ud800\"]",
        "[\"\\ud800\\u0041\"]",
        "[\"\\udc00\"]",
        "[\"\\u0000\"]",
        "[\"\n\"]",
        "[\"a",
        "{\"a\\",
        "'a'",
        "{a:1}",
        "{\"a\":[}]",
        "\"\\\"",
        "{{}:1}",
        "{\"a\" 1}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = {0};
        struct json_view *json = NULL;
        const status s = json_view_parse(&json, bad[i], strlen(bad[i]), &err);
        if (s != STATUS_CORRUPT) {
            fail_msg("%s: %s", bad[i], status_text(s));
        }
        assert_non_null(strstr(err.text, "JSON"));
    }
    /* A NUL is no end. */
    struct err err = {0};
    struct json_view *json = NULL;
    assert_int_equal(json_view_parse(&json, "[1]\0[2]", 7, &err), STATUS_CORRUPT);
    assert_int_equal(json_view_parse(&json, "[\"a\0b\"]", 7, &err), STATUS_CORRUPT);
}

/* `levels` arrays within each other, and one beside them with brackets in texts. */
static char *nested(size_t levels)
{
    char *text = mem_new(2 * levels + 64);
    memset(text, '[', levels);
    memset(text + levels, ']', levels);
    strcpy(text + levels + levels - 1, ", [\"[[[\\\"[[[\", \"]]]\"]]");
    return text;
}

static void depth_is_limited(void **state)
{
    (void)state;
    char *text = nested(JSON_VIEW_DEPTH_MAX);
    struct json_view *json = parse(text);
    int depth = 0;
    for (int value = 0; value != JSON_NONE; value = json_view_first(json, value)) {
        depth++;
    }
    assert_int_equal(depth, JSON_VIEW_DEPTH_MAX);
    json_view_free(json);
    mem_free(text);
    /* Deeper ones are refused, at once however long they are. */
    static const size_t levels[] = {JSON_VIEW_DEPTH_MAX + 1, 4000000};
    for (size_t i = 0; i < 2; i++) {
        struct err err = {0};
        text = nested(levels[i]);
        assert_int_equal(json_view_parse(&json, text, strlen(text), &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.text, "levels"));
        mem_free(text);
    }
}

static void a_lack_of_memory_is_no_bad_text(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct err err = {0};
        struct json_view *json = NULL;
        memory_fail_at(nth);
        const status s = json_view_parse(&json, "[1, {\"a\": 2}]", 13, &err);
        memory_fail_at(0);
        if (s == STATUS_OK) {
            assert_true(nth > 4);
            json_view_free(json);
            return;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
        assert_null(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_found),    cmocka_unit_test(what_is_not_there_is_none),
        cmocka_unit_test(texts_are_unescaped), cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(depth_is_limited),    cmocka_unit_test(a_lack_of_memory_is_no_bad_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
