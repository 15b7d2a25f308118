/* One network: a trunk and one or two linear heads over it.
 *
 *     h0 = tanh(layer_norm(W0 x + b0)),   hl = elu(Wl h(l-1) + bl),   out = [heads](h)
 *
 * Parameters are one flat block with the reference's names and shapes (`layers/0/weight` [out, in],
 * `norm/scale`, .., `mean/weight`); the heads' weights lie one after another, as do their biases,
 * so that they are one product. Row-major, leading dimensions in floats. Sizes: R rows, I inputs, H
 * widths, Q outputs (all heads). */
#ifndef HINDCAST_NETWORKS_NETWORK_H
#define HINDCAST_NETWORKS_NETWORK_H

#include <stddef.h>

#include "common/base/memory.h"
#include "common/base/status.h"

#define NETWORK_LAYERS_MAX  8
#define NETWORK_WIDTH_MAX   4096
#define NETWORK_HEADS_MAX   2
#define NETWORK_NAME_SIZE   32
#define NETWORK_TENSORS_MAX (2 * NETWORK_LAYERS_MAX + 2 + 2 * NETWORK_HEADS_MAX)

/* A named part of the block. */
struct network_tensor {
    char name[NETWORK_NAME_SIZE]; /* "layers/0/weight" */
    int n_dims;                   /* 2: [out, in], 1: [out] */
    int shape[2];
    size_t at; /* floats from the block's begin */
    size_t size;
};

/* Sizes and places; plain data, copied by assignment. */
struct network_shape {
    int I;
    int n_layers;
    int widths[NETWORK_LAYERS_MAX];
    int n_heads;
    int heads[NETWORK_HEADS_MAX]; /* sizes */
    int Q;                        /* their sum */
    int n_tensors;
    struct network_tensor tensors[NETWORK_TENSORS_MAX];
    size_t weight_at[NETWORK_LAYERS_MAX], bias_at[NETWORK_LAYERS_MAX];
    size_t scale_at, offset_at, head_weight_at, head_bias_at;
    size_t size; /* of the block, floats, padded to whole cache lines */
};

/* A policy or prior: heads `mean` and `std` of A each. */
status network_shape_gaussian(struct network_shape *shape, int I, const int *widths, int n_layers,
                              int A, struct err *err) MUST_CHECK;
/* A critic (Q = 1) or perturbation network: one head `out`. */
status network_shape_out(struct network_shape *shape, int I, const int *widths, int n_layers, int Q,
                         struct err *err) MUST_CHECK;

/* Which passes compute the hidden layers, those between the first and the heads, in bf16. The first
 * layer, which reads observations and actions, and the heads are always in float. A network of one
 * layer has nothing in bf16. */
enum network_bf16 {
    NETWORK_BF16_NONE,
    NETWORK_BF16_ACTIONS, /* network_infer_actions, which no gradient goes through */
    NETWORK_BF16_ALL      /* all passes, forward and backward */
};

/* A copy of a network's weights in the layout of the kernels in use (kernels.h). */
struct network_packed {
    enum network_bf16 kind;
    float *layers[NETWORK_LAYERS_MAX + 1]; /* layers, then heads; NULL where only bf16 is kept */
    uint16_t *bf16[NETWORK_LAYERS_MAX];    /* hidden layers; NULL without bf16 */
    uint16_t *back[NETWORK_LAYERS_MAX];    /* their transposes; NULL but for all passes */
    void *memory;
    size_t size_bytes;
};

/* Memory for the copy. NO_MEMORY. network_packed_fini takes a zeroed struct, too. */
status network_packed_init(struct network_packed *packed, const struct network_shape *shape,
                           enum network_bf16 kind) MUST_CHECK;
void network_packed_fini(struct network_packed *packed);
/* Packs the weights of `params`: share `i` of `n`, for threads that pack together. */
void network_pack(struct network_packed *packed, const struct network_shape *shape,
                  const float *params, int i, int n);
/* `to` <- the parts that `from`, of the same shape, has as well; whether that is all of it. */
bool network_packed_copy(struct network_packed *to, const struct network_packed *from,
                         const struct network_shape *shape);

/* Parameters to compute with; whoever changes `params` packs again. Passes that the packed copy has
 * in bf16 are between kernels_thread_begin and kernels_thread_end. Borrowed pointers. */
struct network {
    const struct network_shape *shape;
    const float *params; /* (shape->size) */
    const struct network_packed *packed;
};

/* Variance scaling, uniform, fan-out, scale 1/3 (heads 1e-4), zero biases, unit layer-norm scale
 * (ours, after Acme). From (seed, purpose) alone. */
void network_init(float *params, const struct network_shape *shape, uint64_t seed,
                  uint32_t purpose);

/* out(R,Q) for x(R,I), nothing kept. `scratch`: network_scratch(shape) floats, 64-byte aligned,
 * each thread its own. */
size_t network_scratch(const struct network_shape *shape);
void network_infer(float *out, size_t ld_out, const struct network *net, const float *x,
                   size_t ld_x, int R, float *scratch);

/* A critic over many actions per state, with input [x | a], works in two steps. The state's share
 * of the first layer is computed once a state:
 *
 *     part(R,H0) = W0[:, :I] x + b0,   rows ld_part floats apart */
void network_state_part(float *part, size_t ld_part, const struct network *net, const float *x,
                        size_t ld_x, int R, int I);
/* Then out(n) is computed for actions a(n,A), where row j belongs to state (first + j) / M. */
void network_infer_actions(float *out, const struct network *net, const float *part, size_t ld_part,
                           const float *a, size_t ld_a, size_t first, int n, int M, int A,
                           float *scratch);

/* What a forward pass leaves for its backward pass, for up to `R_max` rows. */
struct network_tape {
    int R_max;
    const float *x; /* (R,I) as given */
    size_t ld_x;
    float *normal; /* (R,H0) the first layer, normalised; the layer norm's scale not yet applied */
    float *inverse_std;           /* (R) */
    float *h[NETWORK_LAYERS_MAX]; /* (R,Hl) after activation */
    float *d[2];                  /* (R,max H) gradients on their way back */
    float *out;                   /* (R,ld_out) */
    size_t ld[NETWORK_LAYERS_MAX], ld_out, ld_d;
    uint16_t *rounded; /* (R,ld_rounded) what enters the next product in bf16 */
    size_t ld_rounded;
    float *zeros;   /* (max H) what gradients by inputs begin with */
    float *scratch; /* of the kernels; all three NULL where bf16 is not wanted */
};
/* Takes its floats from `arena`. bf16: for networks whose packed copies have all passes in bf16. */
void network_tape_init(struct network_tape *tape, const struct network_shape *shape, int R_max,
                       bool bf16, struct arena *arena);
size_t network_tape_bytes(const struct network_shape *shape, int R_max, bool bf16);

/* Fills `tape`, tape->out above all. `x` must stay until the backward pass is done. */
void network_forward(struct network_tape *tape, const struct network *net, const float *x,
                     size_t ld_x, int R);
/* gradients (a block like params) += dout . d out / d params, for the first R rows of the tape;
 * dout(R,Q) has the tape's ld_out. dx(R,I), where not NULL, <- the gradient by the inputs. With
 * `gradients` NULL only dx is computed. */
void network_backward(float *gradients, float *dx, size_t ld_dx, const struct network *net,
                      struct network_tape *tape, const float *dout, int R);

#endif
