/* Which implementation runs, and the calls that go through its table. */
#include "common/networks/kernels.h"

#include <stdatomic.h>
#include <string.h>

#include "common/networks/kernels_table.h"

static _Atomic(const struct kernels_table *) in_use;

static const struct kernels_table *const all[] = {&kernels_avx512bf16, &kernels_avx512,
                                                  &kernels_avx2, &kernels_plain};
#define N_ALL (sizeof all / sizeof all[0])

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}

static bool processor_has(const struct kernels_table *table)
{
    if (table == &kernels_avx512bf16) {
        return has_avx512() && __builtin_cpu_supports("avx512bf16");
    }
    if (table == &kernels_avx512) {
        return has_avx512();
    }
    if (table == &kernels_avx2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    return true;
}

static const struct kernels_table *best(void)
{
    for (size_t i = 0; i < N_ALL; i++) {
        if (processor_has(all[i])) {
            return all[i];
        }
    }
    return &kernels_plain;
}

/* Threads that come first together find the same answer. */
static inline const struct kernels_table *table(void)
{
    const struct kernels_table *now = atomic_load_explicit(&in_use, memory_order_relaxed);
    if (now == NULL) {
        now = best();
        atomic_store_explicit(&in_use, now, memory_order_relaxed);
    }
    return now;
}

const char *kernels_name(void)
{
    return table()->name;
}

status kernels_select(const char *name, struct err *err)
{
    if (strcmp(name, "best") == 0) {
        atomic_store(&in_use, best());
        return STATUS_OK;
    }
    for (size_t i = 0; i < N_ALL; i++) {
        if (strcmp(all[i]->name, name) == 0) {
            if (!processor_has(all[i])) {
                return err_set(err, STATUS_INVALID, "kernels %s: this processor lacks them", name);
            }
            atomic_store(&in_use, all[i]);
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_INVALID,
                   "kernels %s: expected best, avx512bf16, avx512, avx2 or plain", name);
}

size_t kernels_packed_size(int I, int O)
{
    const size_t panels = ((size_t)O + KERNELS_PANEL_MAX - 1) / KERNELS_PANEL_MAX;
    return panels * KERNELS_PANEL_MAX * (size_t)I;
}

void kernels_pack(float *packed, const float *W, int I, int O, int first_o, int n_o)
{
    ASSERT(first_o % KERNELS_PANEL_MAX == 0);
    table()->pack(packed, W, I, O, first_o, n_o);
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

bool kernels_bf16_native(void)
{
    return table()->bf16_native;
}

size_t kernels_packed_bf16_size(int I, int O)
{
    return kernels_packed_size(I + I % 2, O);
}

void kernels_pack_bf16(uint16_t *packed, const float *W, int I, int O, int first_o, int n_o)
{
    ASSERT(first_o % KERNELS_PANEL_MAX == 0);
    table()->pack_bf16(packed, W, I, O, first_o, n_o);
}

void kernels_bf16_first(uint16_t *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                        size_t ld_x, int R, float *work)
{
    ASSERT(layer->activation == KERNELS_NORM_TANH && layer->normal == NULL);
    table()->bf16_first(y, ld_y, layer, x, ld_x, R, work);
}

void kernels_bf16_next(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                       const uint16_t *x, size_t ld_x, int R)
{
    ASSERT(layer->activation != KERNELS_NORM_TANH && layer->count == layer->I &&
           layer->ld_start == 0);
    table()->bf16_next(y, y_float, ld_y, layer, x, ld_x, R);
}

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
