/* The check of the processor. Compiled for any x86-64 (cmake/hindcast.cmake), so it calls nothing
 * of ours and is not part of a library: an object of its own that every program links.
 *
 * It runs as the first constructor, because later ones may already use an instruction that an older
 * processor does not know, and SIGILL would end the program without an explanation. The two
 * functions that read and judge the words of CPUID are apart, so that tests can judge made-up
 * words. */
#include "common/base/cpu_check.h"

#include <cpuid.h>
#include <string.h>
#include <unistd.h>

#define XCR0_SSE_AND_AVX 6u /* bits 1 and 2 */

struct cpu_words cpu_words(void)
{
    struct cpu_words words = {0};
    unsigned a, b, c, d;
    /* A leaf that this processor does not have leaves its word at 0, which means: no such
     * feature. */
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        words.leaf1_ecx = c;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        words.leaf7_ebx = b;
    }
    if (__get_cpuid(0x80000001u, &a, &b, &c, &d)) {
        words.leaf80000001_ecx = c;
    }
    /* The system tells which registers it saves in XCR0, which may be read only where OSXSAVE is
     * set. */
    if (words.leaf1_ecx & bit_OSXSAVE) {
        unsigned high;
        __asm__ volatile("xgetbv" : "=a"(words.xcr0), "=d"(high) : "c"(0));
    }
    return words;
}

const char *cpu_missing(const struct cpu_words *words)
{
    const struct {
        const char *name;
        uint32_t word, bits;
    } features[] = {
        /* All of x86-64-v3, each with the word and the bits that show it. */
        {"ssse3", words->leaf1_ecx, bit_SSSE3},
        {"cmpxchg16b", words->leaf1_ecx, bit_CMPXCHG16B},
        {"sse4.1", words->leaf1_ecx, bit_SSE4_1},
        {"sse4.2", words->leaf1_ecx, bit_SSE4_2},
        {"popcnt", words->leaf1_ecx, bit_POPCNT},
        {"movbe", words->leaf1_ecx, bit_MOVBE},
        {"fma", words->leaf1_ecx, bit_FMA},
        {"f16c", words->leaf1_ecx, bit_F16C},
        {"avx", words->leaf1_ecx, bit_AVX},
        {"osxsave", words->leaf1_ecx, bit_OSXSAVE},
        {"registers of avx, which the system does not save", words->xcr0, XCR0_SSE_AND_AVX},
        {"bmi1", words->leaf7_ebx, bit_BMI},
        {"avx2", words->leaf7_ebx, bit_AVX2},
        {"bmi2", words->leaf7_ebx, bit_BMI2},
        {"lzcnt", words->leaf80000001_ecx, bit_LZCNT},
    };
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        if ((features[i].word & features[i].bits) != features[i].bits) {
            return features[i].name;
        }
    }
    return NULL;
}

/* By the system call, since nothing else may be counted on so early. */
static void say(const char *text)
{
    const ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written; /* there is nobody else to tell */
}

/* Priority 101: before every other constructor of a program. */
__attribute__((constructor(101))) static void check_at_start(void)
{
    const struct cpu_words words = cpu_words();
    const char *missing = cpu_missing(&words);
    if (missing != NULL) {
        say("hindcast: this processor cannot run this program: it needs x86-64-v3 (Intel Haswell, "
            "AMD Excavator or newer), and this one lacks ");
        say(missing);
        say("\n");
        _exit(2);
    }
}
