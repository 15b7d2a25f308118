/* The calls of kernels.h, which go through the table in use.
 *
 * Which table that is, kernels_choice.c decides at the first call; it stays until kernels_select.
 * The functions here check what holds for every implementation and pass on.
 *
 * Threads share only the pointer `in_use`. Calls in bf16 also assert that their thread has begun
 * with the table in use: an instruction of a matrix unit that is not configured would end the
 * program. */
#include "common/networks/kernels.h"

#include <stdatomic.h>

#include "common/networks/kernels_table.h"

/* NULL until the first call. */
static _Atomic(const struct kernels_table *) in_use;

/* The table for which this thread has called kernels_thread_begin. */
static _Thread_local const struct kernels_table *begun;

/* The table in use, chosen at the first call. Threads that make the first calls at the same time
 * find the same answer, so no lock is needed. */
static inline const struct kernels_table *table(void)
{
    /* Relaxed: the tables are constants, only the pointer is shared. */
    const struct kernels_table *now = atomic_load_explicit(&in_use, memory_order_relaxed);
    if (now == NULL) {
        now = kernels_best();
        atomic_store_explicit(&in_use, now, memory_order_relaxed);
    }
    return now;
}

void kernels_use(const struct kernels_table *chosen)
{
    atomic_store(&in_use, chosen);
}

const struct kernels_table *kernels_in_use(void)
{
    return table();
}

const char *kernels_name(void)
{
    return table()->name;
}

const char *kernels_description(void)
{
    return table()->description;
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

int kernels_bf16_parts(void)
{
    return table()->bf16_parts;
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
