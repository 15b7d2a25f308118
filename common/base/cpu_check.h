/* Does this processor have what our code is compiled for, x86-64-v3?
 *
 * cpu_check.c is linked into every program, is compiled for any x86-64, and runs before main(): an
 * older processor gets a sentence and exit status 2 instead of SIGILL. */
#ifndef HINDCAST_BASE_CPU_CHECK_H
#define HINDCAST_BASE_CPU_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* Words that CPUID and XGETBV return. */
struct cpu_words {
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx;
    uint32_t leaf80000001_ecx;
    uint32_t xcr0; /* registers that the system saves; 0 without OSXSAVE */
};

struct cpu_words cpu_words(void);

/* The first feature of x86-64-v3 that is missing ("avx2"); NULL when all are there. Pure. */
const char *cpu_missing(const struct cpu_words *words);

#endif
