/* The vector kernels, written once over `vec` and the v_ operations that the including file defines
 * for its processor: kernels_avx2.c, kernels_avx512.c. A panel is 2 LANES outputs; a block is ROWS
 * rows, as many as leave registers for a panel's weights.
 *
 * Packed W(O,I): panel after panel; in a panel, input after input, the PANEL weights of that input
 * next to each other, zeros beyond O. W(1,I) stays as it is: one output is a dot product.
 *
 * In this file: the product of a block and a panel, the forward pass over it, the backward passes,
 * Adam, and at the end the table. Elementwise functions are in kernels_vector_functions.h, products
 * of bf16 in kernels_vector_bf16.h. */
#include <string.h>

#include "common/networks/kernels_table.h"

#define PANEL         (2 * LANES)
#define DEPTH         256 /* rows of a panel packed on the way, on the stack: 32 KB at most */
#define ALWAYS        static inline __attribute__((always_inline))
#define ALIGNED       __attribute__((aligned(64)))
#define MINIMUM(a, b) ((a) < (b) ? (a) : (b))

#include "common/networks/kernels_vector_functions.h"

/* ---- The product of a block and a panel ---- */

/* y(rows, columns) = start + sum over k < K of a(k, row) panel(k, column), in registers.
 * start: `rows` pointers, or NULL for 0; `elu`: of the result. rows and vectors are constants where
 * this is inlined; `whole`: columns fill all vectors, else the last one is cut. */
ALWAYS void block(const int rows, const int vectors, const int whole, float *y, size_t ld_y,
                  const float *const *start, const float *a, size_t a_row, size_t a_k,
                  const float *panel, int K, int columns, bool elu)
{
    vec sum[ROWS][2];
    const lanes last = v_lanes(columns - (vectors - 1) * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            if (start == NULL) {
                sum[r][v] = v_set(0.0f);
            } else if (whole || v < vectors - 1) {
                sum[r][v] = v_load(start[r] + v * LANES);
            } else {
                sum[r][v] = v_load_part(last, start[r] + v * LANES);
            }
        }
    }
    /* One step of the product: a panel's weights are loaded once for all rows. */
    for (int k = 0; k < K; k++) {
        const vec b0 = v_load(panel);
        const vec b1 = vectors > 1 ? v_load(panel + LANES) : b0;
        panel += PANEL;
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            const vec a_r = v_set(a[(size_t)r * a_row]);
            sum[r][0] = v_fma(a_r, b0, sum[r][0]);
            if (vectors > 1) {
                sum[r][1] = v_fma(a_r, b1, sum[r][1]);
            }
        }
        a += a_k;
    }
    /* The activation while the sums are in registers. */
    if (elu) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) {
                sum[r][v] = elu_v(sum[r][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            float *to = y + (size_t)r * ld_y + v * LANES;
            if (whole || v < vectors - 1) {
                v_store(to, sum[r][v]);
            } else {
                v_store_part(last, to, sum[r][v]);
            }
        }
    }
}

/* The same for any number of columns in a panel: picks the constants. */
ALWAYS void block_any(const int rows, float *y, size_t ld_y, const float *const *start,
                      const float *a, size_t a_row, size_t a_k, const float *panel, int K,
                      int columns, bool elu)
{
    if (columns >= PANEL) {
        block(rows, 2, 1, y, ld_y, start, a, a_row, a_k, panel, K, columns, elu);
    } else if (columns > LANES) {
        block(rows, 2, 0, y, ld_y, start, a, a_row, a_k, panel, K, columns, elu);
    } else {
        block(rows, 1, 0, y, ld_y, start, a, a_row, a_k, panel, K, columns, elu);
    }
}

/* One function for each number of rows, chosen once per block. */
typedef void block_function(float *y, size_t ld_y, const float *const *start, const float *a,
                            size_t a_row, size_t a_k, const float *panel, int K, int columns,
                            bool elu);

#define BLOCK(rows)                                                                                \
    static void block_##rows(float *y, size_t ld_y, const float *const *start, const float *a,     \
                             size_t a_row, size_t a_k, const float *panel, int K, int columns,     \
                             bool elu)                                                             \
    {                                                                                              \
        block_any(rows, y, ld_y, start, a, a_row, a_k, panel, K, columns, elu);                    \
    }
BLOCK(1)
BLOCK(2)
BLOCK(4)
BLOCK(6)
#if ROWS == 12
BLOCK(8)
BLOCK(12)
#endif
#undef BLOCK

/* The largest block that `rows` rows fill, and its function. */
static int block_rows(int rows, block_function **function)
{
#if ROWS == 12
    if (rows >= 12) {
        *function = block_12;
        return 12;
    }
    if (rows >= 8) {
        *function = block_8;
        return 8;
    }
#endif
    if (rows >= 6) {
        *function = block_6;
        return 6;
    }
    if (rows >= 4) {
        *function = block_4;
        return 4;
    }
    if (rows >= 2) {
        *function = block_2;
        return 2;
    }
    *function = block_1;
    return 1;
}

/* ---- Forward ---- */

static size_t packed_size(int I, int O)
{
    const size_t panels = ((size_t)O + PANEL - 1) / PANEL;
    return O == 1 ? (size_t)I : panels * PANEL * (size_t)I;
}

/* Transposes panel by panel: W has an output's weights together, a panel an input's. */
static void pack(float *packed, const float *W, int I, int O, int first_o, int n_o)
{
    if (O == 1) {
        memcpy(packed, W, (size_t)I * sizeof(float));
        return;
    }
    const int end = first_o + n_o < O ? first_o + n_o : (O + PANEL - 1) / PANEL * PANEL;
    for (int o = first_o; o < end; o += PANEL) {
        float *panel = packed + (size_t)o * (size_t)I;
        const int columns = MINIMUM(PANEL, O - o);
        /* Eight inputs at a time: whole cache lines are read and written. */
        for (int i0 = 0; i0 < I; i0 += 8) {
            const int i1 = MINIMUM(i0 + 8, I);
            for (int j = 0; j < columns; j++) {
                const float *w = W + (size_t)(o + j) * (size_t)I;
                for (int i = i0; i < i1; i++) {
                    panel[i * PANEL + j] = w[i];
                }
            }
            for (int i = i0; i < i1; i++) {
                memset(panel + i * PANEL + columns, 0, (size_t)(PANEL - columns) * sizeof(float));
            }
        }
    }
}

/* The sum of x(n), two vectors side by side. */
static float sum_row(const float *x, int n)
{
    vec sum0 = v_set(0.0f);
    vec sum1 = sum0;
    int i = 0;
    for (; i + PANEL <= n; i += PANEL) {
        sum0 = v_add(sum0, v_load(x + i));
        sum1 = v_add(sum1, v_load(x + i + LANES));
    }
    for (; i < n; i += LANES) {
        sum0 = v_add(sum0, v_load_part(v_lanes(n - i), x + i));
    }
    return v_sum(v_add(sum0, sum1));
}

/* The mean of y(n) and 1 / its standard deviation. */
static void moments(float *mean, float *inverse_std, const float *y, int n)
{
    const float m = sum_row(y, n) / (float)n;
    const vec m_v = v_set(m);
    vec sum0 = v_set(0.0f);
    vec sum1 = sum0;
    int i = 0;
    for (; i + PANEL <= n; i += PANEL) {
        const vec c0 = v_sub(v_load(y + i), m_v);
        const vec c1 = v_sub(v_load(y + i + LANES), m_v);
        sum0 = v_fma(c0, c0, sum0);
        sum1 = v_fma(c1, c1, sum1);
    }
    float means[LANES] ALIGNED;
    v_store(means, m_v);
    for (; i < n; i += LANES) {
        /* Lanes beyond the row are 0, not the mean's square. */
        const lanes rest = v_lanes(n - i);
        const vec c = v_sub(v_load_part(rest, y + i), v_load_part(rest, means));
        sum0 = v_fma(c, c, sum0);
    }
    const float variance = v_sum(v_add(sum0, sum1)) / (float)n;
    *mean = m;
    *inverse_std = 1.0f / __builtin_sqrtf(variance + KERNELS_NORM_EPS);
}

/* y(O) <- tanh(scale normal + offset), and normal, kept in keep(O) if not NULL. */
static void norm_tanh_row(float *y, float *keep, const struct kernels_layer *layer, float mean,
                          float inverse_std)
{
    const vec m = v_set(mean);
    const vec inverse = v_set(inverse_std);
    int i = 0;
    for (; i + LANES <= layer->O; i += LANES) {
        const vec normal = v_mul(v_sub(v_load(y + i), m), inverse);
        if (keep != NULL) {
            v_store(keep + i, normal);
        }
        v_store(y + i, tanh_v(v_fma(normal, v_load(layer->scale + i), v_load(layer->offset + i))));
    }
    if (i < layer->O) {
        const lanes rest = v_lanes(layer->O - i);
        const vec normal = v_mul(v_sub(v_load_part(rest, y + i), m), inverse);
        if (keep != NULL) {
            v_store_part(rest, keep + i, normal);
        }
        const vec scale = v_load_part(rest, layer->scale + i);
        const vec offset = v_load_part(rest, layer->offset + i);
        v_store_part(rest, y + i, tanh_v(v_fma(normal, scale, offset)));
    }
}

/* y(rows,O) holds the layer norm's input and receives tanh of its output; row 0 is row r of the
 * call. All rows' sums, then all rows' functions: neither waits for the other. */
static void norm_tanh_rows(float *y, size_t ld_y, const struct kernels_layer *layer, int r,
                           int rows)
{
    float mean[ROWS], inverse_std[ROWS];
    for (int i = 0; i < rows; i++) {
        moments(&mean[i], &inverse_std[i], y + (size_t)i * ld_y, layer->O);
    }
    for (int i = 0; i < rows; i++) {
        const size_t at = (size_t)(r + i);
        float *keep = NULL;
        if (layer->normal != NULL) {
            keep = layer->normal + at * layer->ld_normal;
            layer->inverse_std[at] = inverse_std[i];
        }
        norm_tanh_row(y + (size_t)i * ld_y, keep, layer, mean[i], inverse_std[i]);
    }
}

/* Where row r of the call begins: the bias, or its state's share. */
static const float *start_row(const struct kernels_layer *layer, int r)
{
    if (layer->ld_start == 0) {
        return layer->start; /* the bias */
    }
    return layer->start + (layer->first_row + (size_t)r) / layer->rows_per_start * layer->ld_start;
}

/* One output: dot products, four rows at a time. */
static void dot_forward(float *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                        size_t ld_x, int R)
{
    const int K = layer->count;
    const float *w = layer->packed + layer->first;
    for (int r = 0; r < R; r++) {
        const float *x_r = x + (size_t)r * ld_x;
        /* Two sums, so that one addition need not wait for the other. */
        vec s0 = v_set(0.0f);
        vec s1 = s0;
        int k = 0;
        for (; k + PANEL <= K; k += PANEL) {
            s0 = v_fma(v_load(x_r + k), v_load(w + k), s0);
            s1 = v_fma(v_load(x_r + k + LANES), v_load(w + k + LANES), s1);
        }
        for (; k < K; k += LANES) {
            const lanes rest = v_lanes(K - k);
            s0 = v_fma(v_load_part(rest, x_r + k), v_load_part(rest, w + k), s0);
        }
        float sum = v_sum(v_add(s0, s1)) + start_row(layer, r)[0];
        if (layer->activation == KERNELS_ELU) {
            elu_n(&sum, &sum, 1);
        }
        y[(size_t)r * ld_y] = sum;
        if (layer->activation == KERNELS_NORM_TANH) {
            norm_tanh_rows(y + (size_t)r * ld_y, ld_y, layer, r, 1);
        }
    }
}

/* Block by block; within a block panel by panel, so that a block's rows stay in the first cache
 * from the product to the activation. */
static void linear_forward(float *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                           size_t ld_x, int R)
{
    if (layer->O == 1) {
        dot_forward(y, ld_y, layer, x, ld_x, R);
        return;
    }
    int rows;
    for (int r = 0; r < R; r += rows) {
        block_function *function;
        rows = block_rows(R - r, &function);
        float *y_r = y + (size_t)r * ld_y;
        const float *start[ROWS];
        for (int i = 0; i < rows; i++) {
            start[i] = start_row(layer, r + i);
        }
        const float *panel = layer->packed + (size_t)layer->first * PANEL;
        for (int o = 0; o < layer->O; o += PANEL) {
            function(y_r + o, ld_y, start, x + (size_t)r * ld_x, ld_x, 1, panel, layer->count,
                     layer->O - o, layer->activation == KERNELS_ELU);
            panel += (size_t)layer->I * PANEL;
            for (int i = 0; i < rows; i++) {
                start[i] += PANEL;
            }
        }
        /* The block is still in the first cache. */
        if (layer->activation == KERNELS_NORM_TANH) {
            norm_tanh_rows(y_r, ld_y, layer, r, rows);
        }
    }
}

/* ---- Backward ---- */

/* panel(K, PANEL) <- b(K, columns), zeros beyond `columns`. */
static void pack_rows(float *panel, const float *b, size_t ld_b, int K, int columns)
{
    const lanes first = v_lanes(columns);
    const lanes second = v_lanes(columns - LANES);
    for (int k = 0; k < K; k++) {
        const float *b_k = b + (size_t)k * ld_b;
        /* A full row of the panel, or one cut and filled up with zeros. */
        if (columns >= PANEL) {
            v_store(panel, v_load(b_k));
            v_store(panel + LANES, v_load(b_k + LANES));
        } else {
            v_store(panel, v_load_part(first, b_k));
            v_store(panel + LANES,
                    columns > LANES ? v_load_part(second, b_k + LANES) : v_set(0.0f));
        }
        panel += PANEL;
    }
}

/* c(M,N) (+)= a(M,K) b(K,N), a(m,k) at a[m a_row + k a_k]; `add`: c is added to. Panels of b are
 * packed on the way. */
static void multiply(float *c, size_t ld_c, const float *a, size_t a_row, size_t a_k,
                     const float *b, size_t ld_b, int M, int N, int K, bool add)
{
    /* For each panel of columns and piece of the depth: pack once, then go over all rows. */
    float panel[DEPTH * PANEL] ALIGNED;
    for (int n = 0; n < N; n += PANEL) {
        for (int k = 0; k < K; k += DEPTH) {
            const int depth = MINIMUM(DEPTH, K - k);
            pack_rows(panel, b + (size_t)k * ld_b + n, ld_b, depth, N - n);
            const bool adds = add || k > 0;
            int rows;
            for (int m = 0; m < M; m += rows) {
                block_function *function;
                rows = block_rows(M - m, &function);
                float *c_m = c + (size_t)m * ld_c + n;
                const float *start[ROWS];
                for (int i = 0; i < rows; i++) {
                    start[i] = c_m + (size_t)i * ld_c;
                }
                function(c_m, ld_c, adds ? start : NULL, a + (size_t)m * a_row + (size_t)k * a_k,
                         a_row, a_k, panel, depth, N - n, false);
            }
        }
    }
}

static void linear_backward_input(float *dx, size_t ld_dx, const float *dy, size_t ld_dy,
                                  const float *W, int R, int I, int O)
{
    /* dy W: W is already in the order of its rows, I apart. */
    multiply(dx, ld_dx, dy, ld_dy, 1, W, (size_t)I, R, I, O, false);
}

/* db(O) += the sum of the rows of dy(R,O). */
static void add_rows(float *db, const float *dy, size_t ld_dy, int R, int O)
{
    for (int o = 0; o < O; o += LANES) {
        const lanes rest = v_lanes(O - o);
        vec sum = v_set(0.0f);
        for (int r = 0; r < R; r++) {
            sum = v_add(sum, v_load_part(rest, dy + (size_t)r * ld_dy + o));
        }
        v_store_part(rest, db + o, v_add(v_load_part(rest, db + o), sum));
    }
}

/* Weights by one product of transposed dy and x; the bias by sums down the columns of dy. */
static void linear_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                   const float *x, size_t ld_x, int R, int I, int O)
{
    /* dy^T x: dy is read across its rows. */
    multiply(dW, (size_t)I, dy, 1, ld_dy, x, ld_x, O, I, R, true);
    add_rows(db, dy, ld_dy, R, O);
}

/* elu' from elu itself: exp(x) = h + 1 where h <= 0. */
static void elu_backward(float *d, size_t ld_d, const float *h, size_t ld_h, int R, int H)
{
    /* Part loads and stores throughout: rows are short, and a row's end is never written beyond. */
    const vec one = v_set(1.0f);
    for (int r = 0; r < R; r++) {
        float *d_r = d + (size_t)r * ld_d;
        const float *h_r = h + (size_t)r * ld_h;
        for (int i = 0; i < H; i += LANES) {
            const lanes rest = v_lanes(H - i);
            const vec h_i = v_load_part(rest, h_r + i);
            const vec slope = v_above_0(h_i, one, v_add(h_i, one));
            v_store_part(rest, d_r + i, v_mul(v_load_part(rest, d_r + i), slope));
        }
    }
}

/* One row of kernels_norm_tanh_backward. */
static void norm_tanh_backward_row(float *d, float *dscale, float *doffset, const float *y,
                                   const float *normal, float inverse_std, const float *scale,
                                   int H)
{
    const vec one = v_set(1.0f);
    vec sum = v_set(0.0f);
    vec sum_normal = v_set(0.0f);
    for (int i = 0; i < H; i += LANES) {
        const lanes rest = v_lanes(H - i);
        const vec y_i = v_load_part(rest, y + i);
        const vec normal_i = v_load_part(rest, normal + i);
        /* Through tanh; lanes beyond the row are 0 in d. */
        const vec dz = v_mul(v_load_part(rest, d + i), v_mul(v_sub(one, y_i), v_add(one, y_i)));
        v_store_part(rest, dscale + i, v_fma(dz, normal_i, v_load_part(rest, dscale + i)));
        v_store_part(rest, doffset + i, v_add(dz, v_load_part(rest, doffset + i)));
        const vec dn = v_mul(dz, v_load_part(rest, scale + i));
        sum = v_add(sum, dn);
        sum_normal = v_fma(dn, normal_i, sum_normal);
        v_store_part(rest, d + i, dn);
    }
    /* Through the normalisation: the mean and the variance depend on every element. */
    const vec mean = v_set(-v_sum(sum) / (float)H);
    const vec mean_normal = v_set(-v_sum(sum_normal) / (float)H);
    const vec inverse = v_set(inverse_std);
    for (int i = 0; i < H; i += LANES) {
        const lanes rest = v_lanes(H - i);
        const vec dn = v_add(v_load_part(rest, d + i), mean);
        const vec dx = v_fma(v_load_part(rest, normal + i), mean_normal, dn);
        v_store_part(rest, d + i, v_mul(dx, inverse));
    }
}

static void norm_tanh_backward(float *d, size_t ld_d, float *dscale, float *doffset, const float *y,
                               size_t ld_y, const float *normal, size_t ld_normal,
                               const float *inverse_std, const float *scale, int R, int H)
{
    for (int r = 0; r < R; r++) {
        norm_tanh_backward_row(d + (size_t)r * ld_d, dscale, doffset, y + (size_t)r * ld_y,
                               normal + (size_t)r * ld_normal, inverse_std[r], scale, H);
    }
}

#include "common/networks/kernels_vector_bf16.h"

/* ---- Adam ---- */

/* Every lane is one element; the order of operations is that of kernels_plain.c. */
static void adam_step(float *p, float *m, float *v, const float *g, size_t n,
                      const struct kernels_adam *a)
{
    for (size_t i = 0; i < n; i += LANES) {
        const size_t left = n - i;
        const lanes rest = v_lanes(left < LANES ? (int)left : LANES);
        const vec g_i = v_mul(v_load_part(rest, g + i), v_set(a->scale));
        const vec m_old = v_mul(v_load_part(rest, m + i), v_set(a->beta1));
        const vec v_old = v_mul(v_load_part(rest, v + i), v_set(a->beta2));
        const vec m_i = v_fma(v_set(a->rest1), g_i, m_old);
        const vec v_i = v_fma(v_mul(v_set(a->rest2), g_i), g_i, v_old);
        const vec root = v_sqrt(v_mul(v_i, v_set(a->correct2)));
        const vec step =
            v_div(v_mul(m_i, v_set(a->rate * a->correct1)), v_add(root, v_set(a->eps)));
        v_store_part(rest, m + i, m_i);
        v_store_part(rest, v + i, v_i);
        v_store_part(rest, p + i, v_sub(v_load_part(rest, p + i), step));
    }
}

const struct kernels_table KERNELS_TABLE = {
    .name = KERNELS_NAME,
    .description = KERNELS_DESCRIPTION,
    .block_rows = KERNELS_BLOCK_ROWS,
    .thread_begin = KERNELS_THREAD_BEGIN,
    .thread_end = KERNELS_THREAD_END,
    .panel = PANEL,
    .packed_size = packed_size,
    .pack = pack,
    .linear_forward = linear_forward,
    .linear_backward_input = linear_backward_input,
    .linear_backward_weight = linear_backward_weight,
    .elu_backward = elu_backward,
    .norm_tanh_backward = norm_tanh_backward,
    .bf16_native = KERNELS_BF16_NATIVE != 0,
    .bf16_parts = KERNELS_PARTS,
    .bf16_packed_size = bf16_packed_size,
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
