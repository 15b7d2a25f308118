/* UTF-8: every sequence of up to four bytes against a decoder written the other way round. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/utf8.h"
#include "tests/lib/check.h"

/* The referee: encodes a code point; 0 for what must not be encoded. */
static size_t encode(uint32_t point, unsigned char out[4])
{
    if (point == 0 || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
        return 0;
    }
    if (point < 0x80) {
        out[0] = (unsigned char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (unsigned char)(0xc0 | point >> 6);
        out[1] = (unsigned char)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (unsigned char)(0xe0 | point >> 12);
        out[1] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
        out[2] = (unsigned char)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (unsigned char)(0xf0 | point >> 18);
    out[1] = (unsigned char)(0x80 | (point >> 12 & 0x3f));
    out[2] = (unsigned char)(0x80 | (point >> 6 & 0x3f));
    out[3] = (unsigned char)(0x80 | (point & 0x3f));
    return 4;
}

static void every_code_point_is_sound(void **state)
{
    (void)state;
    for (uint32_t point = 0; point < 0x110100; point++) {
        unsigned char bytes[5] = {0};
        const size_t n = encode(point, bytes);
        if (n == 0) {
            continue;
        }
        assert_int_equal(utf8_sound(bytes, n), n);
        assert_int_equal(utf8_sound(bytes, n - 1), 0);
        const bool control = point < 0x20 || (point >= 0x7f && point <= 0x9f);
        assert_true(utf8_is_name((char *)bytes) == !control);
        assert_true(utf8_is_text((char *)bytes));
    }
}

/* All two- and three-byte sequences, and four-byte ones with a chosen end: sound ones are exactly
 * those that the referee makes. */
static void nothing_else_is_sound(void **state)
{
    (void)state;
    static unsigned char made[1u << 24]; /* by the three bytes */
    for (uint32_t point = 1; point < 0x10000; point++) {
        unsigned char b[4];
        const size_t n = encode(point, b);
        if (n == 3) {
            made[b[0] << 16 | b[1] << 8 | b[2]] = 1;
        }
    }
    for (uint32_t key = 0; key < 1u << 24; key++) {
        const unsigned char b[3] = {(unsigned char)(key >> 16), (unsigned char)(key >> 8),
                                    (unsigned char)key};
        if (b[0] >= 0xe0 && b[0] <= 0xef) {
            assert_int_equal(utf8_sound(b, 3) == 3, made[key] == 1);
        }
    }
    for (unsigned first = 0x80; first < 0x100; first++) {
        for (unsigned second = 0; second < 0x100; second++) {
            const unsigned char b[4] = {(unsigned char)first, (unsigned char)second, 0x80, 0xbf};
            const bool two = first >= 0xc2 && first <= 0xdf && second >= 0x80 && second <= 0xbf;
            assert_int_equal(utf8_sound(b, 2) == 2, two);
            const bool four =
                (first == 0xf0 && second >= 0x90 && second <= 0xbf) ||
                (first >= 0xf1 && first <= 0xf3 && second >= 0x80 && second <= 0xbf) ||
                (first == 0xf4 && second >= 0x80 && second <= 0x8f);
            assert_int_equal(utf8_sound(b, 4) == 4, four);
        }
    }
    assert_int_equal(utf8_sound("ab\0c", 4), 2);
    assert_int_equal(utf8_sound("", 0), 0);
    assert_false(utf8_is_text("a\xff"));
    assert_false(utf8_is_name("two\nlines"));
    assert_false(utf8_is_name("\x1b[31m"));
    assert_false(utf8_is_name("a\xc2\x9b")); /* CSI as one character */
    assert_true(utf8_is_name(""));
}

static void texts_are_cut_between_characters(void **state)
{
    (void)state;
    const char *text = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"; /* 1, 2, 3, 4, 1 bytes */
    static const size_t ends[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11, 11};
    for (size_t most = 0; most < sizeof ends / sizeof ends[0]; most++) {
        assert_int_equal(utf8_cut(text, most), ends[most]);
        char copy[16] = "";
        memcpy(copy, text, most < 11 ? most : 11);
        utf8_trim(copy);
        assert_int_equal(strlen(copy), ends[most]);
    }
    char other[] = "abc\xff";
    utf8_trim(other);
    assert_string_equal(other, "abc");
    char kept[] = "abc\x80\x80\x80\x80"; /* not a cut character: left to utf8_clean */
    utf8_trim(kept);
    assert_int_equal(strlen(kept), 7);
}

static void clean_texts_are_names(void **state)
{
    (void)state;
    char text[] = "a\tb\x1b[0m \xc2\x9b \xff\xc3 \xe2\x82\xac\x7f";
    utf8_clean(text);
    assert_string_equal(text, "a b [0m    ?? \xe2\x82\xac ");
    srand(1);
    for (int i = 0; i < 200000; i++) {
        char any[12];
        for (size_t k = 0; k < sizeof any; k++) {
            any[k] = (char)(rand() % 4 == 0 ? 0xc2 + rand() % 0x33 : 1 + rand() % 255);
        }
        any[sizeof any - 1] = '\0';
        const size_t size = strlen(any);
        utf8_clean(any);
        assert_int_equal(strlen(any), size);
        assert_true(utf8_is_name(any));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_sound),
        cmocka_unit_test(nothing_else_is_sound),
        cmocka_unit_test(texts_are_cut_between_characters),
        cmocka_unit_test(clean_texts_are_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
