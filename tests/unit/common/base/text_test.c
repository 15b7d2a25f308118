/* Growing texts, and what becomes of them where memory fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "tests/lib/check.h"

static void pieces_add_up(void **state)
{
    (void)state;
    struct text text = {0};
    char expected[40000] = "";
    size_t used = 0;
    for (int i = 0; i < 1000; i++) {
        text_add(&text, "a");
        text_format(&text, "%d %s", i, i % 2 ? "odd" : "even");
        text_add_bytes(&text, "\0b", 2);
        used += (size_t)sprintf(expected + used, "a%d %s", i, i % 2 ? "odd" : "even");
        memcpy(expected + used, "\0b", 2);
        used += 2;
    }
    size_t size = 0;
    char *bytes = text_take(&text, &size);
    assert_int_equal(size, used);
    assert_memory_equal(bytes, expected, used);
    assert_int_equal(bytes[size], 0);
    mem_free(bytes);
    bytes = text_take(&text, &size); /* empty again */
    assert_string_equal(bytes, "");
    assert_int_equal(size, 0);
    mem_free(bytes);
}

static void quotes_and_numbers_read_back(void **state)
{
    (void)state;
    struct text text = {0};
    text_add_quoted(&text, "a \"b\" \\ \n\x01 \xc3\xa9");
    text_add(&text, " ");
    text_add_number(&text, 0.1);
    text_add(&text, " ");
    text_add_number(&text, 1.0 / 3);
    char *bytes = text_take(&text, NULL);
    assert_string_equal(bytes,
                        "\"a \\\"b\\\" \\\\ \\u000a\\u0001 \xc3\xa9\" 0.1 0.3333333333333333");
    assert_true(strtod(strrchr(bytes, ' '), NULL) == 1.0 / 3);
    mem_free(bytes);
}

/* Whichever allocation fails: there is the whole text or none. */
static void nothing_is_left_out_in_silence(void **state)
{
    (void)state;
    unsigned failed = 0;
    for (uint64_t nth = 1;; nth++) {
        struct text text = {0};
        memory_fail_at(nth);
        for (int i = 0; i < 500; i++) {
            text_format(&text, "%03d,", i);
        }
        size_t size = 0;
        char *bytes = text_take(&text, &size);
        memory_fail_at(0);
        if (bytes != NULL) {
            assert_int_equal(size, 2000);
            mem_free(bytes);
            break;
        }
        failed++;
        assert_null(text.bytes);
    }
    assert_in_range(failed, 2, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_add_up),
        cmocka_unit_test(quotes_and_numbers_read_back),
        cmocka_unit_test(nothing_is_left_out_in_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
