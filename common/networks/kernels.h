/* The inner loops of networks: linear layers with what follows them, their backward passes,
 * elementwise functions, Adam.
 *
 * The idea: weights are packed once a step into panels as wide as a few vector registers; a block
 * of rows times a panel is then one run of fused multiply-adds in registers, and the block's bias,
 * layer norm and activation are computed while it is still in the first cache. No matrix is copied
 * or spilled between layers, which is what keeps a library's large calls below the peak.
 *
 * Several implementations stand behind one table (kernels_table.h) and are chosen at run time. Each
 * has its own layout of packed weights, rows of a block and scratch memory: callers ask for sizes
 * and know none of them. `plain` is the loops one would write down first: documentation and
 * referee.
 *
 * Row-major; leading dimensions `ld_` in elements. R rows, I inputs, O outputs, H width. Nothing
 * here fails or allocates; any number of threads. NaN in gives NaN out. Rows do not see each other:
 * a row's result is the same bits whatever else is in the call, except where sums over rows are
 * asked for. */
#ifndef HINDCAST_NETWORKS_KERNELS_H
#define HINDCAST_NETWORKS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define KERNELS_NORM_EPS 1e-5f /* of layer norm, inside the root */

/* ---- Implementations ---- */

/* The name of the implementation in use. The best that this processor has, unless kernels_select
 * said otherwise. Where it has instructions for pairs of bf16, but no tiles, the first call measures
 * for 3 ms whether they are faster than those for floats; where they are not, they are not used. */
const char *kernels_name(void);
/* What it is made of, in a few words for the log: "tiles of bf16, 512-bit registers". */
const char *kernels_description(void);
/* Selects by name, or "best". INVALID for a name that is not known or that this processor cannot
 * run. Weights that were packed and scratch that was sized before are useless afterwards. Call it
 * at start, or in tests: no other thread may be computing. */
status kernels_select(const char *name, struct err *err) MUST_CHECK;
/* All names, the best first; NULL beyond the last. */
const char *kernels_at(size_t i);

/* Rows that the implementation computes together: calls with a multiple of these waste nothing. */
int kernels_block_rows(void);

/* Each thread calls kernels_thread_begin before its first product in bf16 and kernels_thread_end
 * after its last, since matrix units are configured per thread. Both are cheap; they do not nest.
 */
void kernels_thread_begin(void);
void kernels_thread_end(void);

/* ---- Layers in float ---- */

enum kernels_activation {
    KERNELS_PLAIN,    /* none */
    KERNELS_ELU,      /* x > 0: x; else exp(x) - 1 */
    KERNELS_NORM_TANH /* tanh(scale * normal + offset) over the O of a row, with
                         normal = (x - mean) / sqrt(variance + KERNELS_NORM_EPS) */
};

/* A layer ready to run:
 *
 *     y(r) = activation(start(r) + x(r) W[:, first : first + count]^T)
 *
 * start(r) is row (first_row + r) / rows_per_start of `start`, whose rows are ld_start apart. For a
 * bias ld_start is 0. */
struct kernels_layer {
    const float *packed;         /* W(O,I), by kernels_pack */
    const uint16_t *packed_bf16; /* W(O,I), by kernels_bf16_pack; kernels_bf16_next only */
    int I, O;
    int first, count; /* the inputs that x(R,count) holds: 0, I for all */
    const float *start;
    size_t ld_start, first_row, rows_per_start; /* a bias: 0, 0, 1 */
    enum kernels_activation activation;
    const float *scale, *offset; /* (O) NORM_TANH */
    float *normal;               /* (R,O) NORM_TANH: kept for the backward pass, or NULL */
    size_t ld_normal;
    float *inverse_std; /* (R), with `normal` */
};

/* Floats that a packed W(O,I) takes. */
size_t kernels_packed_size(int I, int O);
/* Packs share i of n of W(O,I): threads pack together. */
void kernels_pack(float *packed, const float *W, int I, int O, int i, int n);

void kernels_linear_forward(float *y, size_t ld_y, const struct kernels_layer *layer,
                            const float *x, size_t ld_x, int R);
/* dx(R,I) = dy(R,O) W(O,I). */
void kernels_linear_backward_input(float *dx, size_t ld_dx, const float *dy, size_t ld_dy,
                                   const float *W, int R, int I, int O);
/* dW(O,I) += dy(R,O)^T x(R,I);  db(O) += sum of the rows of dy. */
void kernels_linear_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                    const float *x, size_t ld_x, int R, int I, int O);
/* In place: d(R,H) *= elu'(.), from h = elu(.): 1 where h > 0, else h + 1. */
void kernels_elu_backward(float *d, size_t ld_d, const float *h, size_t ld_h, int R, int H);
/* In place: d(R,H), the gradient by y = tanh(scale normal + offset), becomes that by the layer
 * norm's input; dscale(H), doffset(H) accumulate. */
void kernels_norm_tanh_backward(float *d, size_t ld_d, float *dscale, float *doffset,
                                const float *y, size_t ld_y, const float *normal, size_t ld_normal,
                                const float *inverse_std, const float *scale, int R, int H);

/* ---- Layers in bf16 ----
 *
 * Operands of products are rounded to bf16 (the upper half of a float; to nearest, ties to even):
 * weights, the activations between layers, and gradients on their way back. Products are summed
 * and activations computed in float, though only to 7e-5, which bf16 does not show. Rows of bf16
 * have space up to the next even element: what is written there is finite, and has no weight when
 * read.
 *
 * The calling thread must be between kernels_thread_begin and kernels_thread_end. */

/* Whether this implementation has instructions for bf16. Otherwise the same roundings are made in
 * software. */
bool kernels_bf16_native(void);
/* Whether bf16 is faster than float with this implementation on this processor. */
bool kernels_bf16_pays(void);
/* The rate of the instructions for pairs of bf16 over that of floats, measured once; 0 where there
 * are none. */
double kernels_pairs_over_floats(void);

/* 1, or 2 where this implementation has two bf16 for each number, its rounding and that of what is
 * left: these functions then have float's accuracy but for the last 7 bits, and rows of bf16 of `ld`
 * elements, an even number, have the second parts ld / 2 after the first ones. */
int kernels_bf16_parts(void);

/* uint16_t that a packed W(O,I) takes; packing as kernels_pack does. */
size_t kernels_bf16_packed_size(int I, int O);
void kernels_bf16_pack(uint16_t *packed, const float *W, int I, int O, int i, int n);
/* Packs the transpose of W(O,I), of kernels_bf16_packed_size(O, I): as a layer of O inputs and I
 * outputs, from a start of 0, kernels_bf16_next makes dx(R,I) = dy(R,O) W of it. */
void kernels_bf16_pack_back(uint16_t *packed, const float *W, int I, int O, int i, int n);
/* Floats of scratch memory that the functions below need for up to I inputs and O outputs, or O
 * inputs and I outputs. Each thread has its own, 64-byte aligned. */
size_t kernels_bf16_scratch(int I, int O);
/* y(R,I) <- x(R,I), rounded. */
void kernels_bf16_round(uint16_t *y, size_t ld_y, const float *x, size_t ld_x, int R, int I);
/* A first layer (NORM_TANH, nothing kept), float in: y(R,O) <- bf16. */
void kernels_bf16_first(uint16_t *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                        size_t ld_x, int R, float *scratch);
/* A later layer (PLAIN or ELU, all inputs, from its bias), bf16 in: y(R,O) <- bf16 or, where y is
 * NULL, y_float(R,O) <- float. */
void kernels_bf16_next(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                       const uint16_t *x, size_t ld_x, int R, float *scratch);
/* As kernels_linear_backward_weight, with dy and x rounded on the way into the products; db is the
 * sum of the floats. */
void kernels_bf16_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                  const float *x, size_t ld_x, int R, int I, int O, float *scratch);

/* ---- Elementwise ---- */

/* y(n) <- f(x(n)), to 2 units in the last place; may be the same array. The exponential is kept
 * within e^-87 .. e^88. */
void kernels_exp(float *y, const float *x, size_t n);
void kernels_tanh(float *y, const float *x, size_t n);
void kernels_softplus(float *y, const float *x, size_t n);
void kernels_elu(float *y, const float *x, size_t n);

/* One Adam step of n elements, after g is multiplied by `scale`:
 *
 *     m = beta1 m + rest1 g
 *     v = beta2 v + rest2 g^2
 *     p -= rate correct1 m / (sqrt(correct2 v) + eps)
 *
 * rest = 1 - beta, computed in double; correct1 = 1/(1 - beta1^t), correct2 = 1/(1 - beta2^t). */
struct kernels_adam {
    float scale, beta1, rest1, beta2, rest2, rate, correct1, correct2, eps;
};
void kernels_adam_step(float *p, float *m, float *v, const float *g, size_t n,
                       const struct kernels_adam *adam);

#endif
