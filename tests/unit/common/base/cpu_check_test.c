/* What is missing on a processor that is too old, bit by bit; and this one, which runs the test. */
#include <cpuid.h>

#include "common/base/cpu_check.h"
#include "tests/lib/check.h"

static const struct cpu_words all = {~0u, ~0u, ~0u, ~0u};

static void test_this_processor_has_all(void **state)
{
    (void)state;
    const struct cpu_words words = cpu_words();
    assert_null(cpu_missing(&words));
    assert_null(cpu_missing(&all));
}

/* The bits of x86-64-v3 as the psABI lists them, less those of every x86-64. */
static void test_each_feature_is_missed(void **state)
{
    (void)state;
    const struct {
        size_t word;
        uint32_t bit;
        const char *name;
    } features[] = {
        {offsetof(struct cpu_words, leaf1_ecx), bit_SSSE3, "ssse3"},
        {offsetof(struct cpu_words, leaf1_ecx), bit_CMPXCHG16B, "cmpxchg16b"},
        {offsetof(struct cpu_words, leaf1_ecx), bit_SSE4_1, "sse4.1"},
        {offsetof(struct cpu_words, leaf1_ecx), bit_SSE4_2, "sse4.2"},
        {offsetof(struct cpu_words, leaf1_ecx), bit_POPCNT, "popcnt"},
        {offsetof(struct cpu_words, leaf1_ecx), bit_MOVBE, "movbe"},
        {offsetof(struct cpu_words, leaf1_ecx), bit_FMA, "fma"},
        {offsetof(struct cpu_words, leaf1_ecx), bit_F16C, "f16c"},
        {offsetof(struct cpu_words, leaf1_ecx), bit_AVX, "avx"},
        {offsetof(struct cpu_words, leaf1_ecx), bit_OSXSAVE, "osxsave"},
        {offsetof(struct cpu_words, leaf7_ebx), bit_BMI, "bmi1"},
        {offsetof(struct cpu_words, leaf7_ebx), bit_AVX2, "avx2"},
        {offsetof(struct cpu_words, leaf7_ebx), bit_BMI2, "bmi2"},
        {offsetof(struct cpu_words, leaf80000001_ecx), bit_LZCNT, "lzcnt"},
        {offsetof(struct cpu_words, xcr0), 2, "registers of avx, which the system does not save"},
        {offsetof(struct cpu_words, xcr0), 4, "registers of avx, which the system does not save"},
    };
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        struct cpu_words words = all;
        uint32_t *word = (uint32_t *)(void *)((char *)&words + features[i].word);
        *word &= ~features[i].bit;
        assert_string_equal(cpu_missing(&words), features[i].name);
    }
}

static void test_an_x86_64_of_2003_is_refused(void **state)
{
    (void)state;
    assert_string_equal(cpu_missing(&(struct cpu_words){0}), "ssse3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_this_processor_has_all),
        cmocka_unit_test(test_each_feature_is_missed),
        cmocka_unit_test(test_an_x86_64_of_2003_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
