/* Arrays of stored numbers as doubles, and as columns of float rows. */
#include "tests/lib/check.h"

#include <math.h>
#include <string.h>

#include "common/base/elements.h"

#define N 131 /* two blocks and a rest */

/* Every type, from an address without alignment. */
static void every_type_becomes_doubles(void **state)
{
    (void)state;
    static const struct element types[] = {
        {ELEMENT_FLOAT, 4},    {ELEMENT_FLOAT, 8},   {ELEMENT_SIGNED, 1},   {ELEMENT_SIGNED, 2},
        {ELEMENT_SIGNED, 4},   {ELEMENT_SIGNED, 8},  {ELEMENT_UNSIGNED, 1}, {ELEMENT_UNSIGNED, 2},
        {ELEMENT_UNSIGNED, 4}, {ELEMENT_UNSIGNED, 8}};
    for (size_t k = 0; k < sizeof types / sizeof types[0]; k++) {
        unsigned char bytes[8 * N + 1];
        double values[N], expected[N];
        for (int i = 0; i < N; i++) {
            const int whole = types[k].kind == ELEMENT_UNSIGNED ? i : i - 60;
            const float f = (float)whole / 4;
            const double d = whole / 3.0;
            const int64_t n = whole;
            const bool is_float = types[k].kind == ELEMENT_FLOAT;
            /* Little-endian, so the first bytes of a wide integer are the narrow one. */
            const void *from = !is_float            ? (const void *)&n
                               : types[k].size == 4 ? (const void *)&f
                                                    : (const void *)&d;
            memcpy(bytes + 1 + (size_t)i * types[k].size, from, types[k].size);
            expected[i] = !is_float ? whole : types[k].size == 4 ? (double)f : d;
        }
        elements_to_doubles(values, bytes + 1, N, types[k]);
        assert_memory_equal(values, expected, sizeof values);
    }
}

static void impossible_types_are_none(void **state)
{
    (void)state;
    assert_int_equal(element_make(ELEMENT_FLOAT, 2).kind, ELEMENT_NONE);
    assert_int_equal(element_make(ELEMENT_SIGNED, 3).kind, ELEMENT_NONE);
    assert_int_equal(element_make(ELEMENT_UNSIGNED, 1ull << 32).kind, ELEMENT_NONE);
    assert_int_equal(element_make(ELEMENT_NONE, 4).kind, ELEMENT_NONE);
    assert_int_equal(element_make(ELEMENT_SIGNED, 8).size, 8);
}

static void columns_are_scattered_and_scaled(void **state)
{
    (void)state;
    double values[3 * 2] = {1, 2, 3, 4, 5, 6};
    float rows[3 * 4] = {0};
    assert_true(elements_scatter(rows + 1, 4, values, 3, 2, 10, 1));
    const float expected[3 * 4] = {0, 11, 21, 0, 0, 31, 41, 0, 0, 51, 61, 0};
    assert_memory_equal(rows, expected, sizeof rows);
    assert_true(elements_scatter(rows, 4, values, 3, 1, 1, 0));
    assert_true(rows[0] == 1 && rows[4] == 2 && rows[8] == 3);
}

static void values_that_are_not_finite_are_told(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY, 1e39};
    for (int i = 0; i < 4; i++) {
        double values[4] = {0, 1, 2, 3};
        float rows[4];
        values[i] = bad[i];
        assert_false(elements_scatter(rows, 1, values, 4, 1, 1, 0));
        assert_false(elements_scatter(rows, 2, values, 2, 2, 1, 0));
        float floats[4] = {0, 1, 2, 3};
        assert_true(elements_finite(floats, 4));
        floats[i] = (float)bad[i];
        assert_false(elements_finite(floats, 4));
    }
}

/* Against the values that the standard gives for these bits. */
static void halves_become_doubles(void **state)
{
    (void)state;
    static const uint16_t bits[] = {0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0400,
                                    0x0001, 0x83ff, 0x7c00, 0xfc00, 0x7e00};
    static const double expected[] = {
        0,        -0.0,     1, -2, 65504, 1.0 / 16384, 1.0 / 16777216, -1023.0 / 16777216,
        INFINITY, -INFINITY};
    double values[11];
    elements_halves_to_doubles(values, bits, 11);
    for (int i = 0; i < 10; i++) {
        assert_true(values[i] == expected[i] && signbit(values[i]) == signbit(expected[i]));
    }
    assert_true(isnan(values[10]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_becomes_doubles),
        cmocka_unit_test(impossible_types_are_none),
        cmocka_unit_test(columns_are_scattered_and_scaled),
        cmocka_unit_test(values_that_are_not_finite_are_told),
        cmocka_unit_test(halves_become_doubles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
