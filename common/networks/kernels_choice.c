/* Which implementation runs: what the processor reports, and for pairs of bf16 a measurement.
 *
 * The policy library has a choice of its own (deploy/policy/kernels_acting.c), among fewer tables. */
#include <cpuid.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/networks/kernels_peak.h"
#include "common/networks/kernels_table.h"

/* The best first. `plain` runs everywhere, so that what follows it is used by name only.
 *
 * In float amx, avx512bf16 and avx512 are the same code and the same bits, and 512-bit registers
 * make twice the products of 256-bit ones. In bf16 tiles make 8 to 16 times the products of floats
 * and come first by rule. Pairs of bf16 have twice the rate of floats on some processors (AMD from
 * Zen 4) and half of it on others (Intel with AMX): there they are measured (pairs_pay). */
static const struct kernels_table *const all[] = {
    &kernels_amx,   &kernels_avx512bf16,   &kernels_avx512, &kernels_avx2,
    &kernels_plain, &kernels_amx_emulated, &kernels_amx_x2, &kernels_amx_x2_emulated};
#define N_ALL (sizeof all / sizeof all[0])

/* All that kernels_avx512.h uses. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}

/* Whether the processor has tiles of bf16 and the kernel grants them to this process. Their state
 * is 8 KB a thread, which Linux saves only for processes that have asked; threads inherit the
 * permission. It is refused where a signal stack is too small for that state: then we do without.
 */
static bool has_amx(void)
{
    /* Codes of Linux's arch_prctl, and bits of EDX in leaf 7 of CPUID. */
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    enum { AMX_BF16 = 22, AMX_TILE = 24 };
    /* CPUID says what the processor has, the system call whether this process may use it. */
    unsigned a, b, c, d;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> AMX_BF16 & 1u) == 0 ||
        (d >> AMX_TILE & 1u) == 0) {
        return false;
    }
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

bool kernels_have_tiles(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16") && has_amx();
}

/* Tries of each loop: 3 ms in all. They take turns, so that a change of the core's clock meets both
 * loops, and the best of each counts. The ratio is near 2 or near 1/2: no run comes close to 1. */
#define PEAK_TRIES 8

double kernels_pairs_over_floats(void)
{
    /* Negative: not measured yet. Threads that come at the same time measure the same. */
    static _Atomic double known = -1.0;
    double ratio = atomic_load(&known);
    if (ratio >= 0.0) {
        return ratio;
    }
    double floats = 0.0, pairs = 0.0;
    for (int i = 0; i < PEAK_TRIES; i++) {
        const double f = kernels_peak(KERNELS_UNIT_FLOAT, 1);
        const double p = kernels_peak(KERNELS_UNIT_PAIRS, 1);
        floats = f > floats ? f : floats;
        pairs = p > pairs ? p : pairs;
    }
    ratio = floats > 0.0 ? pairs / floats : 0.0;
    atomic_store(&known, ratio);
    return ratio;
}

/* Whether instructions for pairs of bf16 are worth having. Where they are slower than floats a
 * user is better off with float; and what rounding in software gives is no slower than they are. */
static bool pairs_pay(void)
{
    return kernels_pairs_over_floats() > 1.0;
}

/* Whether this processor can run the table's instructions. */
static bool processor_has(const struct kernels_table *table)
{
    /* A table that mixes several sets of instructions needs all of them. */
    if (table == &kernels_amx || table == &kernels_amx_x2) {
        return kernels_have_tiles();
    }
    if (table == &kernels_avx512bf16) {
        return has_avx512() && __builtin_cpu_supports("avx512bf16");
    }
    if (table == &kernels_avx512) {
        return has_avx512();
    }
    /* The emulation of tiles is built on the 256-bit registers. */
    if (table == &kernels_avx2 || table == &kernels_amx_emulated ||
        table == &kernels_amx_x2_emulated) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    return true;
}

/* The first table that runs here and is worth it. */
const struct kernels_table *kernels_best(void)
{
    for (size_t i = 0; i < N_ALL; i++) {
        if (processor_has(all[i]) && (all[i] != &kernels_avx512bf16 || pairs_pay())) {
            return all[i];
        }
    }
    return &kernels_plain;
}

status kernels_select(const char *name, struct err *err)
{
    if (strcmp(name, "best") == 0) {
        kernels_use(kernels_best());
        return STATUS_OK;
    }
    /* A name that is known but cannot run here gets its own message. */
    for (size_t i = 0; i < N_ALL; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            if (!processor_has(all[i])) {
                return err_set(err, STATUS_INVALID,
                               "kernels %s: this processor does not have the instructions", name);
            }
            kernels_use(all[i]);
            return STATUS_OK;
        }
    }
    return err_set(
        err, STATUS_INVALID,
        "kernels %s: expected best, amx, amx-x2, avx512bf16, avx512, avx2, plain or one of the "
        "emulations amx-emulated, amx-x2-emulated",
        name);
}

const char *kernels_at(size_t i)
{
    return i < N_ALL ? all[i]->name : NULL;
}

bool kernels_bf16_pays(void)
{
    const struct kernels_table *now = kernels_in_use();
    return now == &kernels_amx || (now == &kernels_avx512bf16 && pairs_pay());
}
