/* Decimal numbers: the short way gives the bits of strtod, or leaves the number to it. */
#include "tests/lib/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/logs/files/decimal.h"

static void check_equal(const char *text)
{
    double value;
    const char *after;
    char *end;
    if (decimal_read(text, text + strlen(text), &value, &after)) {
        const double expected = strtod(text, &end);
        if (memcmp(&value, &expected, sizeof value) != 0 || after != end) {
            fail_msg("%s: %.17g, expected %.17g; %zu bytes, expected %zu", text, value, expected,
                     (size_t)(after - text), (size_t)(end - text));
        }
    }
}

static void numbers_equal_those_of_strtod(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",     "-0",    "+7",       "1.",    ".5",     "-.25e1",
        "1e22",  "1e-22", "1e23",     "1E+05", "3e0004", "0.1,5",
        "12;",   "1.5\n", "0.000000", "1e5e5", "1.2.3",  "9007199254740993",
        "1e309", "4e-400"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        check_equal(texts[i]);
    }
    struct rng rng;
    rng_init(&rng, 1, "decimal_test", 0);
    for (int i = 0; i < 200000; i++) {
        char text[64];
        const double value = ldexp((double)(int64_t)rng_u64(&rng), (int)(rng_u64(&rng) % 80) - 100);
        snprintf(text, sizeof text, "%.*g", 1 + (int)(rng_u64(&rng) % 18), value);
        check_equal(text);
        snprintf(text, sizeof text, "%.*f", (int)(rng_u64(&rng) % 8), value);
        check_equal(text);
    }
}

/* Usual numbers do not go the long way. */
static void usual_numbers_are_read(void **state)
{
    (void)state;
    static const char *const texts[] = {"0", "-1.25", "123456.789", "1e-3", "0.333333333333333"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        double value;
        const char *after;
        assert_true(decimal_read(texts[i], texts[i] + strlen(texts[i]), &value, &after));
    }
}

static void other_texts_are_left_alone(void **state)
{
    (void)state;
    static const char *const texts[] = {"",    "-",   ".",    "e5", "1e", "1e+",
                                        "nan", "inf", "true", " 1", "--1"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        double value = 7;
        const char *after;
        assert_false(decimal_read(texts[i], texts[i] + strlen(texts[i]), &value, &after));
        assert_true(value == 7);
    }
    /* Only what is before the end counts. */
    double value;
    const char *after;
    const char *text = "1234";
    assert_true(decimal_read(text, text + 2, &value, &after));
    assert_true(value == 12 && after == text + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_equal_those_of_strtod),
        cmocka_unit_test(usual_numbers_are_read),
        cmocka_unit_test(other_texts_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
