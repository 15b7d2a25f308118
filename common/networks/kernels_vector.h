/* The vector kernels, written once over `vec` and the v_ operations that the including file defines
 * for its processor: kernels_avx2.c, kernels_avx512.c. A panel is 2 LANES outputs; a block is ROWS
 * rows.
 *
 * Packed W(O,I): panel after panel; in a panel, input after input, the PANEL weights of that input
 * next to each other, zeros beyond O. W(1,I) stays as it is: one output is a dot product. */
#include <string.h>

#include "common/networks/kernels_table.h"

#define PANEL         (2 * LANES)
#define DEPTH         256 /* rows of a panel packed on the way, on the stack: 32 KB at most */
#define ALWAYS        static inline __attribute__((always_inline))
#define ALIGNED       __attribute__((aligned(64)))
#define MINIMUM(a, b) ((a) < (b) ? (a) : (b))

/* ---- Elementwise ---- */

/* exp(x) = s (1 + p): s = 2^n, p = exp(r) - 1, |r| <= ln(2)/2, by Taylor's series to r^7 (the rest
 * is under 2^-26 of p). x in -87 .. 88; the callers see to that, with operands in the order that
 * lets a NaN through. */
ALWAYS void exp_parts(vec *s, vec *p, vec x)
{
    const vec n = v_round(v_mul(x, v_set(1.44269504f)));
    vec r = v_fma(n, v_set(-0.693359375f), x);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    vec q = v_set(1.0f / 5040.0f);
    q = v_fma(q, r, v_set(1.0f / 720.0f));
    q = v_fma(q, r, v_set(1.0f / 120.0f));
    q = v_fma(q, r, v_set(1.0f / 24.0f));
    q = v_fma(q, r, v_set(1.0f / 6.0f));
    q = v_fma(q, r, v_set(0.5f));
    *p = v_fma(v_mul(r, r), q, r);
    *s = v_power_of_2(n);
}

ALWAYS vec exp_v(vec x)
{
    vec s, p;
    exp_parts(&s, &p, v_min(v_set(88.0f), v_max(v_set(-87.0f), x)));
    return v_fma(s, p, s);
}

/* exp(x) - 1 without cancellation near 0: s p + (s - 1). */
ALWAYS vec expm1_v(vec x)
{
    vec s, p;
    exp_parts(&s, &p, x);
    return v_fma(s, p, v_sub(s, v_set(1.0f)));
}

/* With e = exp(2x) - 1: e / (e + 2). Beyond |x| = 10 a float's tanh is 1. */
ALWAYS vec tanh_v(vec x)
{
    x = v_min(v_set(10.0f), v_max(v_set(-10.0f), x));
    const vec e = expm1_v(v_add(x, x));
    return v_div(e, v_add(e, v_set(2.0f)));
}

/* Both sides are computed; what a large x makes of the exponential is not taken. */
ALWAYS vec elu_v(vec x)
{
    return v_above_0(x, x, expm1_v(v_max(v_set(-87.0f), x)));
}

/* max(x, 0) + log(1 + t), t = exp(-|x|), as 2 atanh(w), w = t / (2 + t) <= 1/3, by its series to
 * w^15. */
ALWAYS vec softplus_v(vec x)
{
    const vec t = exp_v(v_sub(v_set(0.0f), v_abs(x)));
    const vec w = v_div(t, v_add(t, v_set(2.0f)));
    const vec w2 = v_mul(w, w);
    vec q = v_set(2.0f / 15.0f);
    q = v_fma(q, w2, v_set(2.0f / 13.0f));
    q = v_fma(q, w2, v_set(2.0f / 11.0f));
    q = v_fma(q, w2, v_set(2.0f / 9.0f));
    q = v_fma(q, w2, v_set(2.0f / 7.0f));
    q = v_fma(q, w2, v_set(2.0f / 5.0f));
    q = v_fma(q, w2, v_set(2.0f / 3.0f));
    const vec log1p = v_fma(v_mul(w, w2), q, v_add(w, w));
    return v_add(v_max(v_set(0.0f), x), log1p);
}

#define ELEMENTWISE(name, function)                                                                \
    static void name(float *y, const float *x, size_t n)                                           \
    {                                                                                              \
        size_t i = 0;                                                                              \
        for (; i + LANES <= n; i += LANES) {                                                       \
            v_store(y + i, function(v_load(x + i)));                                               \
        }                                                                                          \
        if (i < n) {                                                                               \
            const lanes rest = v_lanes((int)(n - i));                                              \
            v_store_part(rest, y + i, function(v_load_part(rest, x + i)));                         \
        }                                                                                          \
    }
ELEMENTWISE(exp_n, exp_v)
ELEMENTWISE(tanh_n, tanh_v)
ELEMENTWISE(softplus_n, softplus_v)
ELEMENTWISE(elu_n, elu_v)
#undef ELEMENTWISE

/* ---- The product of a block and a panel ---- */

/* y(rows, columns) = start + sum over k < K of a(k, row) panel(k, column), in registers.
 * start: `rows` pointers, or NULL for 0. rows and vectors are constants where this is inlined;
 * `whole`: columns fill all vectors, else the last one is cut. */
ALWAYS void block(const int rows, const int vectors, const int whole, float *y, size_t ld_y,
                  const float *const *start, const float *a, size_t a_row, size_t a_k,
                  const float *panel, int K, int columns)
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
                      int columns)
{
    if (columns >= PANEL) {
        block(rows, 2, 1, y, ld_y, start, a, a_row, a_k, panel, K, columns);
    } else if (columns > LANES) {
        block(rows, 2, 0, y, ld_y, start, a, a_row, a_k, panel, K, columns);
    } else {
        block(rows, 1, 0, y, ld_y, start, a, a_row, a_k, panel, K, columns);
    }
}

typedef void block_function(float *y, size_t ld_y, const float *const *start, const float *a,
                            size_t a_row, size_t a_k, const float *panel, int K, int columns);

#define BLOCK(rows)                                                                                \
    static void block_##rows(float *y, size_t ld_y, const float *const *start, const float *a,     \
                             size_t a_row, size_t a_k, const float *panel, int K, int columns)     \
    {                                                                                              \
        block_any(rows, y, ld_y, start, a, a_row, a_k, panel, K, columns);                         \
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

/* y(n) -= mean; the sum of its squares. */
static float centre_row(float *y, float mean, int n)
{
    const vec m = v_set(mean);
    vec sum = v_set(0.0f);
    int i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vec c = v_sub(v_load(y + i), m);
        sum = v_fma(c, c, sum);
        v_store(y + i, c);
    }
    if (i < n) {
        const lanes rest = v_lanes(n - i);
        /* Lanes beyond the row would count m^2: load them as m. */
        float tail[LANES] ALIGNED;
        v_store(tail, m);
        memcpy(tail, y + i, (size_t)(n - i) * sizeof(float));
        const vec c = v_sub(v_load(tail), m);
        sum = v_fma(c, c, sum);
        v_store_part(rest, y + i, c);
    }
    return v_sum(sum);
}

/* y(O) holds the layer norm's input and receives tanh of its output; `r` is the row within the
 * call. */
static void norm_tanh_row(float *y, const struct kernels_layer *layer, int r)
{
    const int O = layer->O;
    const float squares = centre_row(y, sum_row(y, O) / (float)O, O);
    const float inverse_std = 1.0f / __builtin_sqrtf(squares / (float)O + KERNELS_NORM_EPS);
    const vec inverse = v_set(inverse_std);
    float *keep = layer->normal != NULL ? layer->normal + (size_t)r * layer->ld_normal : NULL;
    if (keep != NULL) {
        layer->inverse_std[r] = inverse_std;
    }
    int i = 0;
    for (; i + LANES <= O; i += LANES) {
        const vec normal = v_mul(v_load(y + i), inverse);
        if (keep != NULL) {
            v_store(keep + i, normal);
        }
        v_store(y + i, tanh_v(v_fma(normal, v_load(layer->scale + i), v_load(layer->offset + i))));
    }
    if (i < O) {
        const lanes rest = v_lanes(O - i);
        const vec normal = v_mul(v_load_part(rest, y + i), inverse);
        if (keep != NULL) {
            v_store_part(rest, keep + i, normal);
        }
        const vec scale = v_load_part(rest, layer->scale + i);
        const vec offset = v_load_part(rest, layer->offset + i);
        v_store_part(rest, y + i, tanh_v(v_fma(normal, scale, offset)));
    }
}

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
            norm_tanh_row(y + (size_t)r * ld_y, layer, r);
        }
    }
}

static void linear_forward(float *y, size_t ld_y, const struct kernels_layer *layer, const float *x,
                           size_t ld_x, int R)
{
    if (layer->O == 1) {
        dot_forward(y, ld_y, layer, x, ld_x, R);
        return;
    }
    const size_t O = (size_t)layer->O;
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
                     layer->O - o);
            panel += (size_t)layer->I * PANEL;
            for (int i = 0; i < rows; i++) {
                start[i] += PANEL;
            }
        }
        /* The block is still in the first cache. */
        for (int i = 0; i < rows; i++) {
            if (layer->activation == KERNELS_ELU) {
                elu_n(y_r + (size_t)i * ld_y, y_r + (size_t)i * ld_y, O);
            } else if (layer->activation == KERNELS_NORM_TANH) {
                norm_tanh_row(y_r + (size_t)i * ld_y, layer, r + i);
            }
        }
    }
}

#include "common/networks/kernels_vector_bf16.h"

/* ---- Backward ---- */

/* panel(K, PANEL) <- b(K, columns), zeros beyond `columns`. */
static void pack_rows(float *panel, const float *b, size_t ld_b, int K, int columns)
{
    const lanes first = v_lanes(columns);
    const lanes second = v_lanes(columns - LANES);
    for (int k = 0; k < K; k++) {
        const float *b_k = b + (size_t)k * ld_b;
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
                         a_row, a_k, panel, depth, N - n);
            }
        }
    }
}

static void linear_backward_input(float *dx, size_t ld_dx, const float *dy, size_t ld_dy,
                                  const float *W, int R, int I, int O)
{
    multiply(dx, ld_dx, dy, ld_dy, 1, W, (size_t)I, R, I, O, false);
}

static void linear_backward_weight(float *dW, float *db, const float *dy, size_t ld_dy,
                                   const float *x, size_t ld_x, int R, int I, int O)
{
    multiply(dW, (size_t)I, dy, 1, ld_dy, x, ld_x, O, I, R, true);
    for (int o = 0; o < O; o += LANES) {
        const lanes rest = v_lanes(O - o);
        vec sum = v_set(0.0f);
        for (int r = 0; r < R; r++) {
            sum = v_add(sum, v_load_part(rest, dy + (size_t)r * ld_dy + o));
        }
        v_store_part(rest, db + o, v_add(v_load_part(rest, db + o), sum));
    }
}

static void elu_backward(float *d, size_t ld_d, const float *h, size_t ld_h, int R, int H)
{
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

/* ---- Adam ---- */

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
    .pack = pack,
    .linear_forward = linear_forward,
    .linear_backward_input = linear_backward_input,
    .linear_backward_weight = linear_backward_weight,
    .elu_backward = elu_backward,
    .norm_tanh_backward = norm_tanh_backward,
    .bf16_native = KERNELS_BF16_NATIVE,
    .pack_bf16 = pack_bf16,
    .bf16_first = bf16_first,
    .bf16_next = bf16_next,
    .exp = exp_n,
    .tanh = tanh_n,
    .softplus = softplus_n,
    .elu = elu_n,
    .adam_step = adam_step,
};
