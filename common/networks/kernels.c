/* Which implementation runs, and the calls that go through its table.
 *
 * The choice is made at the first call, from what the processor reports, and stays until
 * kernels_select. The functions here check what holds for every implementation and pass on.
 *
 * Threads share only the pointer `in_use`. Calls in bf16 also assert that their thread has begun
 * with the table in use: an instruction of a matrix unit that is not configured would end the
 * program. */
#include "common/networks/kernels.h"

#include <cpuid.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/networks/kernels_peak.h"
#include "common/networks/kernels_table.h"

/* NULL until the first call. */
static _Atomic(const struct kernels_table *) in_use;

/* The table for which this thread has called kernels_thread_begin. */
static _Thread_local const struct kernels_table *begun;

/* The best first. `plain` runs everywhere, so that what follows it is used by name only.
 *
 * In float amx, avx512bf16 and avx512 are the same code and the same bits, and 512-bit registers
 * make twice the products of 256-bit ones. In bf16 tiles make 8 to 16 times the products of floats
 * and come first by rule. Pairs of bf16 have twice the rate of floats on some processors (AMD from
 * Zen 4) and half of it on others (Intel with AMX): there they are measured (pairs_pay). */
static const struct kernels_table *const all[] = {&kernels_amx,    &kernels_avx512bf16,
                                                  &kernels_avx512, &kernels_avx2,
                                                  &kernels_plain,  &kernels_amx_emulated};
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
    if (table == &kernels_amx) {
        return kernels_have_tiles();
    }
    if (table == &kernels_avx512bf16) {
        return has_avx512() && __builtin_cpu_supports("avx512bf16");
    }
    if (table == &kernels_avx512) {
        return has_avx512();
    }
    /* The emulation of tiles is built on the 256-bit registers. */
    if (table == &kernels_avx2 || table == &kernels_amx_emulated) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    return true;
}

/* The first table that runs here and is worth it. */
static const struct kernels_table *best(void)
{
    for (size_t i = 0; i < N_ALL; i++) {
        if (processor_has(all[i]) && (all[i] != &kernels_avx512bf16 || pairs_pay())) {
            return all[i];
        }
    }
    return &kernels_plain;
}

/* The table in use, chosen at the first call. Threads that make the first calls at the same time
 * find the same answer, so no lock is needed. */
static inline const struct kernels_table *table(void)
{
    /* Relaxed: the tables are constants, only the pointer is shared. */
    const struct kernels_table *now = atomic_load_explicit(&in_use, memory_order_relaxed);
    if (now == NULL) {
        now = best();
        atomic_store_explicit(&in_use, now, memory_order_relaxed);
    }
    return now;
}

/* ---- The choice ---- */

const char *kernels_name(void)
{
    return table()->name;
}

const char *kernels_description(void)
{
    return table()->description;
}

status kernels_select(const char *name, struct err *err)
{
    if (strcmp(name, "best") == 0) {
        atomic_store(&in_use, best());
        return STATUS_OK;
    }
    /* A name that is known but cannot run here gets its own message. */
    for (size_t i = 0; i < N_ALL; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            if (!processor_has(all[i])) {
                return err_set(err, STATUS_INVALID,
                               "kernels %s: this processor does not have the instructions", name);
            }
            atomic_store(&in_use, all[i]);
            return STATUS_OK;
        }
    }
    return err_set(
        err, STATUS_INVALID,
        "kernels %s: expected best, amx, avx512bf16, avx512, avx2, plain or amx-emulated", name);
}

const char *kernels_at(size_t i)
{
    return i < N_ALL ? all[i]->name : NULL;
}

int kernels_block_rows(void)
{
    return table()->block_rows;
}

void kernels_thread_begin(void)
{
    const struct kernels_table *now = table();
    /* Remembered, because the table may not change between begin and end. */
    ASSERT(begun == NULL);
    begun = now;
    if (now->thread_begin != NULL) {
        now->thread_begin();
    }
}

void kernels_thread_end(void)
{
    ASSERT(begun != NULL);
    if (begun->thread_end != NULL) {
        begun->thread_end();
    }
    begun = NULL;
}

/* ---- Layers in float ---- */

/* The outputs of share i of n: first .. *end - 1. Shares are whole panels, so that no two threads
 * write to the same panel. */
static int share(int O, int i, int n, int *end)
{
    ASSERT(i >= 0 && i < n);
    const int panel = table()->panel;
    const int panels = (O + panel - 1) / panel;
    const int last = (int)((int64_t)panels * (i + 1) / n) * panel;
    /* The last share ends with the outputs, not with a panel; a share may be empty. */
    *end = last > O ? O : last;
    return (int)((int64_t)panels * i / n) * panel;
}

size_t kernels_packed_size(int I, int O)
{
    return table()->packed_size(I, O);
}

void kernels_pack(float *packed, const float *W, int I, int O, int i, int n)
{
    int end;
    const int first = share(O, i, n, &end);
    if (end > first) {
        table()->pack(packed, W, I, O, first, end - first);
    }
}

void kernels_linear_forward(float *y, size_t ld_y, const struct kernels_layer *layer,
                            const float *x, size_t ld_x, int R)
{
    table()->linear_forward(y, ld_y, layer, x, ld_x, R);
}

void kernels_linear_backward_input(float *dx, size_t ld_dx, const float *dy, size_t ld_dy,
                                   const float *W, int R, int I, int O)
{
    table()->linear_backward_input(dx, ld_dx, dy, ld_dy, W, R, I, O);
}

void kernels_linear_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                    const float *x, size_t ld_x, int R, int I, int O)
{
    table()->linear_backward_weight(dW, db, dy, ld_dy, x, ld_x, R, I, O);
}

void kernels_elu_backward(float *d, size_t ld_d, const float *h, size_t ld_h, int R, int H)
{
    table()->elu_backward(d, ld_d, h, ld_h, R, H);
}

void kernels_norm_tanh_backward(float *d, size_t ld_d, float *dscale, float *doffset,
                                const float *y, size_t ld_y, const float *normal, size_t ld_normal,
                                const float *inverse_std, const float *scale, int R, int H)
{
    table()->norm_tanh_backward(d, ld_d, dscale, doffset, y, ld_y, normal, ld_normal, inverse_std,
                                scale, R, H);
}

/* ---- Layers in bf16 ---- */

bool kernels_bf16_native(void)
{
    return table()->bf16_native;
}

bool kernels_bf16_pays(void)
{
    const struct kernels_table *now = table();
    return now == &kernels_amx || (now == &kernels_avx512bf16 && pairs_pay());
}

size_t kernels_bf16_packed_size(int I, int O)
{
    return table()->bf16_packed_size(I, O);
}

void kernels_bf16_pack(uint16_t *packed, const float *W, int I, int O, int i, int n)
{
    int end;
    const int first = share(O, i, n, &end);
    if (end > first) {
        table()->bf16_pack(packed, W, I, O, first, end - first);
    }
}

void kernels_bf16_pack_back(uint16_t *packed, const float *W, int I, int O, int i, int n)
{
    /* The outputs of the transpose are the inputs. */
    int end;
    const int first = share(I, i, n, &end);
    if (end > first) {
        table()->bf16_pack_back(packed, W, I, O, first, end - first);
    }
}

size_t kernels_bf16_scratch(int I, int O)
{
    const size_t forward = table()->bf16_scratch(I, O);
    const size_t back = table()->bf16_scratch(O, I);
    return forward > back ? forward : back;
}

void kernels_bf16_round(uint16_t *y, size_t ld_y, const float *x, size_t ld_x, int R, int I)
{
    table()->bf16_round(y, ld_y, x, ld_x, R, I);
}

void kernels_bf16_first(uint16_t *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                        size_t ld_x, int R, float *scratch)
{
    /* Nothing is kept for a backward pass: no gradient goes through bf16. */
    ASSERT(begun == table());
    ASSERT(layer->activation == KERNELS_NORM_TANH && layer->normal == NULL);
    table()->bf16_first(y, ld_y, layer, x, ld_x, R, scratch);
}

void kernels_bf16_next(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                       const uint16_t *x, size_t ld_x, int R, float *scratch)
{
    /* Later layers read all their inputs and start from a bias: sharing a state's part of a layer
     * is for first layers only. */
    ASSERT(begun == table());
    ASSERT(layer->activation != KERNELS_NORM_TANH && layer->count == layer->I &&
           layer->ld_start == 0);
    table()->bf16_next(y, y_float, ld_y, layer, x, ld_x, R, scratch);
}

void kernels_bf16_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                  const float *x, size_t ld_x, int R, int I, int O, float *scratch)
{
    ASSERT(begun == table());
    table()->bf16_backward_weight(dW, db, dy, ld_dy, x, ld_x, R, I, O, scratch);
}

/* ---- Elementwise, Adam ---- */

void kernels_exp(float *y, const float *x, size_t n)
{
    table()->exp(y, x, n);
}

void kernels_tanh(float *y, const float *x, size_t n)
{
    table()->tanh(y, x, n);
}

void kernels_softplus(float *y, const float *x, size_t n)
{
    table()->softplus(y, x, n);
}

void kernels_elu(float *y, const float *x, size_t n)
{
    table()->elu(y, x, n);
}

void kernels_adam_step(float *p, float *m, float *v, const float *g, size_t n,
                       const struct kernels_adam *adam)
{
    table()->adam_step(p, m, v, g, n, adam);
}
