/* The kernels as one would write them down: documentation, and what the fast ones must agree with.
 *
 * One row at a time, sums in double, weights packed as they are. Nothing here is meant to be fast;
 * where a fast implementation and this file disagree, this file is right.
 *
 * The functions are the members of a kernels_table in its order; their contracts are in kernels.h.
 * They keep no state, and a thread has nothing to begin. */
#include <math.h>
#include <string.h>

#include "common/networks/kernels_table.h"

/* Weights are packed as they are: W(O,I). */
static size_t packed_size(int I, int O)
{
    return (size_t)I * (size_t)O;
}

static void pack(float *packed, const float *W, int I, int O, int first_o, int n_o)
{
    (void)O;
    /* Rows of W lie one after another, so that a range of outputs is one run of memory. */
    const size_t at = (size_t)first_o * (size_t)I;
    memcpy(packed + at, W + at, (size_t)n_o * (size_t)I * sizeof(float));
}

/* expm1 and not exp - 1, which would lose small x. */
static double elu(double x)
{
    return x > 0.0 ? x : expm1(x);
}

/* Row r of a first layer, in place: y(O) holds the layer norm's input and receives tanh of its
 * output. What the backward pass needs is kept where the layer asks for it. */
static void norm_tanh_row(float *y, const struct kernels_layer *layer, int r)
{
    const int O = layer->O;
    /* Mean and variance are over the row, not over the batch: rows do not see each other. Two
     * passes, since a single sum of squares would cancel where the mean is large. */
    double mean = 0.0;
    for (int o = 0; o < O; o++) {
        mean += (double)y[o] / O;
    }
    double variance = 0.0;
    for (int o = 0; o < O; o++) {
        variance += ((double)y[o] - mean) * ((double)y[o] - mean) / O;
    }
    /* Normalize, scale, tanh; the normalized input is kept only for a backward pass. */
    const double inverse_std = 1.0 / sqrt(variance + (double)KERNELS_NORM_EPS);
    for (int o = 0; o < O; o++) {
        const double normal = ((double)y[o] - mean) * inverse_std;
        y[o] = (float)tanh(normal * (double)layer->scale[o] + (double)layer->offset[o]);
        if (layer->normal != NULL) {
            layer->normal[(size_t)r * layer->ld_normal + (size_t)o] = (float)normal;
        }
    }
    if (layer->normal != NULL) {
        layer->inverse_std[r] = (float)inverse_std;
    }
}

static void linear_forward(float *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                           size_t ld_x, int R)
{
    for (int r = 0; r < R; r++) {
        const float *x_r = x + (size_t)r * ld_x;
        float *y_r = y + (size_t)r * ld_y;
        /* Consecutive rows may share a start: a bias serves all rows, a state's part all its
         * actions. */
        const float *start =
            layer->start + (layer->first_row + (size_t)r) / layer->rows_per_start * layer->ld_start;
        /* From the row's start, which is the bias or a share computed before. */
        for (int o = 0; o < layer->O; o++) {
            const float *w = layer->packed + (size_t)o * (size_t)layer->I + layer->first;
            double sum = (double)start[o];
            for (int i = 0; i < layer->count; i++) {
                sum += (double)x_r[i] * (double)w[i];
            }
            y_r[o] = (float)(layer->activation == KERNELS_ELU ? elu(sum) : sum);
        }
        /* The layer norm needs the whole row. */
        if (layer->activation == KERNELS_NORM_TANH) {
            norm_tanh_row(y_r, layer, r);
        }
    }
}

static void linear_backward_input(float *dx, size_t ld_dx, const float *dy, size_t ld_dy,
                                  const float *W, int R, int I, int O)
{
    /* Each input gets from every output what its weight passes back. */
    for (int r = 0; r < R; r++) {
        for (int i = 0; i < I; i++) {
            double sum = 0.0;
            for (int o = 0; o < O; o++) {
                sum += (double)dy[(size_t)r * ld_dy + (size_t)o] *
                       (double)W[(size_t)o * (size_t)I + (size_t)i];
            }
            dx[(size_t)r * ld_dx + (size_t)i] = (float)sum;
        }
    }
}

static void linear_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                   const float *x, size_t ld_x, int R, int I, int O)
{
    /* Every weight is an outer product, summed over rows; then the bias. Both accumulate. */
    for (int o = 0; o < O; o++) {
        for (int i = 0; i < I; i++) {
            double sum = 0.0;
            for (int r = 0; r < R; r++) {
                sum += (double)dy[(size_t)r * ld_dy + (size_t)o] *
                       (double)x[(size_t)r * ld_x + (size_t)i];
            }
            dW[(size_t)o * (size_t)I + (size_t)i] += (float)sum;
        }
        /* A bias gets from every row what the output gets. */
        double sum = 0.0;
        for (int r = 0; r < R; r++) {
            sum += (double)dy[(size_t)r * ld_dy + (size_t)o];
        }
        db[o] += (float)sum;
    }
}

/* The derivative from the output: for x <= 0, elu'(x) = e^x = elu(x) + 1. */
static void elu_backward(float *d, size_t ld_d, const float *h, size_t ld_h, int R, int H)
{
    for (int r = 0; r < R; r++) {
        for (int i = 0; i < H; i++) {
            const float h_i = h[(size_t)r * ld_h + (size_t)i];
            d[(size_t)r * ld_d + (size_t)i] *= h_i > 0.0f ? 1.0f : h_i + 1.0f;
        }
    }
}

/* dz is the gradient by the tanh's argument, which is recomputed from y: tanh' = 1 - y^2. Each row
 * of d is replaced; dscale and doffset accumulate over rows. */
static void norm_tanh_backward(float *d, size_t ld_d, float *dscale, float *doffset, const float *y,
                               size_t ld_y, const float *normal, size_t ld_normal,
                               const float *inverse_std, const float *scale, int R, int H)
{
    for (int r = 0; r < R; r++) {
        float *d_r = d + (size_t)r * ld_d;
        const float *y_r = y + (size_t)r * ld_y;
        const float *normal_r = normal + (size_t)r * ld_normal;
        double mean = 0.0;
        double mean_normal = 0.0;
        /* Through tanh and the scale; the sums are what mean and variance depend on. */
        for (int i = 0; i < H; i++) {
            const double dz = (double)d_r[i] * (1.0 - (double)y_r[i] * (double)y_r[i]);
            dscale[i] += (float)(dz * (double)normal_r[i]);
            doffset[i] += (float)dz;
            mean += dz * (double)scale[i] / H;
            mean_normal += dz * (double)scale[i] * (double)normal_r[i] / H;
        }
        /* Through the normalization: without the parts of the gradient along the constant and along
         * the normalized row, to which the output is blind. */
        for (int i = 0; i < H; i++) {
            const double dz = (double)d_r[i] * (1.0 - (double)y_r[i] * (double)y_r[i]);
            d_r[i] = (float)((double)inverse_std[r] *
                             (dz * (double)scale[i] - mean - (double)normal_r[i] * mean_normal));
        }
    }
}

/* ---- bf16 ---- */

/* The float that a bf16 stands for: its upper half. */
static float float_of(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* Weights are packed as W(O,I), rounded. */
static void bf16_pack(uint16_t *packed, const float *W, int I, int O, int first_o, int n_o)
{
    (void)O;
    const size_t end = (size_t)(first_o + n_o) * (size_t)I;
    for (size_t i = (size_t)first_o * (size_t)I; i < end; i++) {
        packed[i] = kernels_bf16_of(W[i]);
    }
}

/* The transpose, W(I,O) rounded. */
static void bf16_pack_back(uint16_t *packed, const float *W, int I, int O, int first_i, int n_i)
{
    for (int i = first_i; i < first_i + n_i; i++) {
        for (int o = 0; o < O; o++) {
            packed[(size_t)i * (size_t)O + (size_t)o] =
                kernels_bf16_of(W[(size_t)o * (size_t)I + (size_t)i]);
        }
    }
}

/* y(O) <- row(O), rounded, and a 0 up to the next even element. */
static void round_row(uint16_t *y, const float *row, int O)
{
    for (int o = 0; o < O; o++) {
        y[o] = kernels_bf16_of(row[o]);
    }
    /* Fast kernels read bf16 in pairs, so that every implementation leaves a finite pad. */
    if (O % 2 == 1) {
        y[O] = 0;
    }
}

static void bf16_round(uint16_t *y, size_t ld_y, const float *x, size_t ld_x, int R, int I)
{
    for (int r = 0; r < R; r++) {
        round_row(y + (size_t)r * ld_y, x + (size_t)r * ld_x, I);
    }
}

/* A row of the first layer before it is rounded. */
static size_t bf16_scratch(int I, int O)
{
    (void)I;
    return (size_t)O;
}

static void bf16_first(uint16_t *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                       size_t ld_x, int R, float *scratch)
{
    /* As float, one row at a time, so that only the rounding differs. */
    struct kernels_layer one = *layer;
    for (int r = 0; r < R; r++) {
        one.first_row = layer->first_row + (size_t)r;
        linear_forward(scratch, 0, &one, x + (size_t)r * ld_x, ld_x, 1);
        round_row(y + (size_t)r * ld_y, scratch, layer->O);
    }
}

/* One row and output at a time, rounded at the end. */
static void bf16_next(uint16_t *y, float *y_float, size_t ld_y, const struct kernels_layer *layer,
                      const uint16_t *x, size_t ld_x, int R, float *scratch)
{
    (void)scratch;
    for (int r = 0; r < R; r++) {
        const uint16_t *x_r = x + (size_t)r * ld_x;
        for (int o = 0; o < layer->O; o++) {
            const uint16_t *w = layer->packed_bf16 + (size_t)o * (size_t)layer->I;
            /* A product of two bf16 has no rounding error in double. */
            double sum = (double)layer->start[o];
            for (int i = 0; i < layer->I; i++) {
                sum += (double)float_of(x_r[i]) * (double)float_of(w[i]);
            }
            const float result = (float)(layer->activation == KERNELS_ELU ? elu(sum) : sum);
            /* Another layer in bf16 follows, or the heads, which read floats. */
            if (y != NULL) {
                y[(size_t)r * ld_y + (size_t)o] = kernels_bf16_of(result);
            } else {
                y_float[(size_t)r * ld_y + (size_t)o] = result;
            }
        }
        /* The pad of an odd row, as in round_row. */
        if (y != NULL && layer->O % 2 == 1) {
            y[(size_t)r * ld_y + (size_t)layer->O] = 0;
        }
    }
}

/* As in float, over rounded numbers; the bias's gradient has no product, and no rounding. */
static void bf16_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                 const float *x, size_t ld_x, int R, int I, int O, float *scratch)
{
    (void)scratch;
    for (int o = 0; o < O; o++) {
        double db_o = 0.0;
        for (int r = 0; r < R; r++) {
            db_o += (double)dy[(size_t)r * ld_dy + (size_t)o];
        }
        db[o] += (float)db_o;
        for (int i = 0; i < I; i++) {
            double sum = 0.0;
            for (int r = 0; r < R; r++) {
                const uint16_t dy_r = kernels_bf16_of(dy[(size_t)r * ld_dy + (size_t)o]);
                const uint16_t x_r = kernels_bf16_of(x[(size_t)r * ld_x + (size_t)i]);
                sum += (double)float_of(dy_r) * (double)float_of(x_r);
            }
            dW[(size_t)o * (size_t)I + (size_t)i] += (float)sum;
        }
    }
}

/* ---- Elementwise, Adam ---- */

/* The limits are those of the fast exponentials: results are finite and not subnormal. */
static void exp_n(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double x_i = (double)x[i];
        y[i] = (float)exp(x_i < -87.0 ? -87.0 : x_i > 88.0 ? 88.0 : x_i);
    }
}

static void tanh_n(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = (float)tanh((double)x[i]);
    }
}

static void softplus_n(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        /* max(x, 0) + log(1 + e^-|x|): nothing overflows. */
        const double x_i = (double)x[i];
        y[i] = (float)((x_i > 0.0 ? x_i : 0.0) + log1p(exp(-fabs(x_i))));
    }
}

static void elu_n(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = (float)elu((double)x[i]);
    }
}

static void adam_step(float *p, float *m, float *v, const float *g, size_t n,
                      const struct kernels_adam *a)
{
    for (size_t i = 0; i < n; i++) {
        /* Moments, then the step with both corrections. */
        const float g_i = g[i] * a->scale;
        m[i] = a->beta1 * m[i] + a->rest1 * g_i;
        v[i] = a->beta2 * v[i] + a->rest2 * g_i * g_i;
        p[i] -= a->rate * (m[i] * a->correct1) / (sqrtf(v[i] * a->correct2) + a->eps);
    }
}

const struct kernels_table kernels_plain = {
    .name = "plain",
    .description = "loops in C",
    .block_rows = 1,
    .panel = 1,
    .packed_size = packed_size,
    .pack = pack,
    .linear_forward = linear_forward,
    .linear_backward_input = linear_backward_input,
    .linear_backward_weight = linear_backward_weight,
    .elu_backward = elu_backward,
    .norm_tanh_backward = norm_tanh_backward,
    .bf16_parts = 1,
    /* In elements a packed weight has the same size in both types. */
    .bf16_packed_size = packed_size,
    .bf16_pack = bf16_pack,
    .bf16_pack_back = bf16_pack_back,
    .bf16_round = bf16_round,
    .bf16_scratch = bf16_scratch,
    .bf16_first = bf16_first,
    .bf16_next = bf16_next,
    .bf16_backward_weight = bf16_backward_weight,
    .exp = exp_n,
    .tanh = tanh_n,
    .softplus = softplus_n,
    .elu = elu_n,
    .adam_step = adam_step,
};
