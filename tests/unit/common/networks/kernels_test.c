/* Each fast implementation against the plain loops, over sizes around every block, panel and vector
 * boundary. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/kernels.h"
#include "common/networks/kernels_peak.h"
#include "tests/lib/check.h"

static const int sizes[] = {1, 2, 5, 6, 7, 8, 12, 13, 15, 16, 17, 31, 32, 33, 64, 100, 257, 300};
#define N_SIZES (sizeof sizes / sizeof sizes[0])
#define SPARE   40 /* floats after each row that must not change */

#define N_KERNELS_MAX 12

/* Implementations; tests skip those that this processor cannot run. */
static size_t n_kernels(void)
{
    size_t n = 0;
    while (kernels_at(n) != NULL) {
        n++;
    }
    assert_in_range(n, 2, N_KERNELS_MAX);
    return n;
}

static uint32_t purpose;

static float *normals(size_t n)
{
    float *x = mem_aligned((n + 1) * sizeof *x);
    assert_non_null(x);
    noise_normal(x, n, 7, 0, purpose++, 0);
    return x;
}

static float *copy_of(const float *x, size_t n)
{
    float *y = mem_aligned((n + 1) * sizeof *y);
    assert_non_null(y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

static void use(const char *name)
{
    struct err err;
    if (kernels_select(name, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static bool have(const char *name)
{
    const bool yes = kernels_select(name, NULL) == STATUS_OK;
    use("plain");
    return yes;
}

/* Whether it is there and has as many bf16 for each number. */
static bool have_parts(const char *name, int parts)
{
    bool yes = kernels_select(name, NULL) == STATUS_OK;
    yes = yes && kernels_bf16_parts() == parts;
    use("plain");
    return yes;
}

/* The root of the mean square. */
static double scale_of(const float *values, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)values[i] * (double)values[i];
    }
    return sqrt(sum / (double)n);
}

/* |got - want| <= tolerance * scale for all n floats, spare ones included. */
static void assert_within(const float *got, const float *want, size_t n, double tolerance,
                          double scale, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)got[i] - (double)want[i]) / scale;
        if (!(error <= tolerance)) {
            fail_msg("%s: element %zu is %.9g, expected %.9g", what, i, (double)got[i],
                     (double)want[i]);
        }
    }
}

/* Relative to the values themselves. */
static void assert_close(const float *got, const float *want, size_t n, double tolerance,
                         const char *what)
{
    assert_within(got, want, n, tolerance, scale_of(want, n) + 1e-3, what);
}

/* For sums of terms of about 1, which are rounded at the size of the terms even where they cancel. */
static void assert_sums_close(const float *got, const float *want, size_t n, double tolerance,
                              const char *what)
{
    assert_within(got, want, n, tolerance, fmax(scale_of(want, n), 1.0), what);
}

/* ---- Layers ---- */

struct layer_case {
    int R, I, O, first, count, rows_per_start;
    enum kernels_activation activation;
};

/* y, normal and inverse_std of one implementation, over outputs pre-filled with a marker. */
struct layer_result {
    float *y, *normal, *inverse_std;
};

static struct layer_result run_layer(const char *name, const struct layer_case *c, const float *W,
                                     const float *x, size_t ld_x, const float *start,
                                     const float *scale, const float *offset)
{
    use(name);
    const size_t R = (size_t)c->R;
    const size_t ld = (size_t)c->O + SPARE;
    float *packed = mem_aligned(kernels_packed_size(c->I, c->O) * sizeof *packed);
    struct layer_result result = {mem_aligned(R * ld * 4), mem_aligned(R * ld * 4),
                                  mem_aligned(R * 4)};
    for (size_t i = 0; i < R * ld; i++) {
        result.y[i] = 77.0f;
        result.normal[i] = 77.0f;
    }
    /* In three shares, as three threads would. */
    for (int i = 0; i < 3; i++) {
        kernels_pack(packed, W, c->I, c->O, i, 3);
    }
    const struct kernels_layer layer = {
        .packed = packed,
        .I = c->I,
        .O = c->O,
        .first = c->first,
        .count = c->count,
        .start = start,
        .ld_start = c->rows_per_start > 1 ? (size_t)c->O + 3 : 0,
        .first_row = 2,
        .rows_per_start = (size_t)c->rows_per_start,
        .activation = c->activation,
        .scale = scale,
        .offset = offset,
        .normal = result.normal,
        .ld_normal = ld,
        .inverse_std = result.inverse_std,
    };
    kernels_linear_forward(result.y, ld, &layer, x, ld_x, c->R);
    mem_free(packed);
    return result;
}

static void free_result(struct layer_result *result)
{
    mem_free(result->y);
    mem_free(result->normal);
    mem_free(result->inverse_std);
}

static void check_layer(const char *name, const struct layer_case *c)
{
    const size_t R = (size_t)c->R;
    const size_t ld_x = (size_t)c->count + 5;
    const size_t ld = (size_t)c->O + SPARE;
    float *W = normals((size_t)c->I * (size_t)c->O);
    float *x = normals(R * ld_x);
    float *start = normals(((R + 2) / (size_t)c->rows_per_start + 1) * ((size_t)c->O + 3));
    float *scale = normals((size_t)c->O);
    float *offset = normals((size_t)c->O);
    struct layer_result want = run_layer("plain", c, W, x, ld_x, start, scale, offset);
    struct layer_result got = run_layer(name, c, W, x, ld_x, start, scale, offset);
    char what[128];
    snprintf(what, sizeof what, "%s forward R %d I %d O %d first %d activation %d", name, c->R,
             c->I, c->O, c->first, (int)c->activation);
    assert_close(got.y, want.y, R * ld, 2e-5, what);
    if (c->activation == KERNELS_NORM_TANH) {
        assert_close(got.normal, want.normal, R * ld, 2e-5, what);
        assert_close(got.inverse_std, want.inverse_std, R, 2e-5, what);
    }
    free_result(&want);
    free_result(&got);
    mem_free(W);
    mem_free(x);
    mem_free(start);
    mem_free(scale);
    mem_free(offset);
}

static void forward_agrees_with_plain(void **state)
{
    (void)state;
    for (size_t f = 0; f < n_kernels(); f++) {
        if (!have(kernels_at(f))) {
            continue;
        }
        for (size_t r = 0; r < N_SIZES; r++) {
            for (size_t o = 0; o < N_SIZES; o++) {
                const int I = sizes[(r * 5 + o * 7) % N_SIZES];
                struct layer_case c = {
                    sizes[r], I, sizes[o], 0, I, 1, (enum kernels_activation)((r + o) % 3)};
                /* Layer norm over one or two outputs divides nearly 0 by nearly 0. */
                if (c.O > 2 || c.activation != KERNELS_NORM_TANH) {
                    check_layer(kernels_at(f), &c);
                }
            }
        }
        /* Only the last inputs, on top of rows that several rows share. */
        check_layer(kernels_at(f),
                    &(struct layer_case){240, 23, 256, 17, 6, 20, KERNELS_NORM_TANH});
        check_layer(kernels_at(f), &(struct layer_case){37, 9, 33, 8, 1, 7, KERNELS_NORM_TANH});
        check_layer(kernels_at(f), &(struct layer_case){37, 9, 1, 4, 5, 7, KERNELS_ELU});
    }
}

static void a_row_does_not_depend_on_the_others(void **state)
{
    (void)state;
    use("best");
    enum { R = 41, I = 70, O = 50 };
    float *W = normals(I * O);
    float *x = normals(R * I);
    float *b = normals(O);
    float *packed = mem_aligned(kernels_packed_size(I, O) * sizeof *packed);
    float *together = mem_aligned(R * O * sizeof *together);
    float *alone = mem_aligned(R * O * sizeof *alone);
    kernels_pack(packed, W, I, O, 0, 1);
    const struct kernels_layer layer = {.packed = packed,
                                        .I = I,
                                        .O = O,
                                        .count = I,
                                        .start = b,
                                        .rows_per_start = 1,
                                        .activation = KERNELS_ELU};
    kernels_linear_forward(together, O, &layer, x, I, R);
    for (int r = 0; r < R; r++) {
        kernels_linear_forward(alone + r * O, O, &layer, x + r * I, I, 1);
    }
    assert_memory_equal(together, alone, R * O * sizeof *together);
    mem_free(W);
    mem_free(x);
    mem_free(b);
    mem_free(packed);
    mem_free(together);
    mem_free(alone);
}

/* ---- bf16 ---- */

static float float_of(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}

/* The next bf16 may be one place away (2^-7 of the value at most), where a sum fell on the other
 * side of a half; nothing else may differ, `marks` after the row least of all. */
static void assert_bf16_close(const uint16_t *got, const uint16_t *want, int R, int O, size_t ld,
                              const char *what)
{
    for (size_t r = 0; r < (size_t)R; r++) {
        for (size_t o = 0; o < ld; o++) {
            const double g = (double)float_of(got[r * ld + o]);
            const double w = (double)float_of(want[r * ld + o]);
            const double allowed = o < (size_t)(O + O % 2) ? fabs(w) * 0x1p-7 + 1.5e-4 : 0.0;
            if (!(fabs(g - w) <= allowed)) {
                fail_msg("%s: row %zu element %zu is %.9g, expected %.9g", what, r, o, g, w);
            }
        }
    }
}

struct bf16_result {
    uint16_t *first, *next;
    float *floats;
};

static uint16_t *marked(size_t n)
{
    uint16_t *y = mem_aligned(n * sizeof *y);
    assert_non_null(y);
    for (size_t i = 0; i < n; i++) {
        y[i] = 0x4380; /* 256 */
    }
    return y;
}

/* A first layer of x, and a later one of the same x rounded, to both kinds of output. */
static struct bf16_result run_bf16(const char *name, int R, int I, int O, bool elu, const float *W,
                                   const float *x, const uint16_t *x_bf16, const float *b)
{
    use(name);
    const size_t ld_x = (size_t)I + 5;
    const size_t ld = (size_t)O + SPARE;
    float *packed = mem_aligned(kernels_packed_size(I, O) * sizeof *packed);
    uint16_t *packed_bf16 = mem_aligned(kernels_bf16_packed_size(I, O) * sizeof *packed_bf16);
    float *scratch = mem_aligned(kernels_bf16_scratch(I, O) * sizeof *scratch);
    kernels_pack(packed, W, I, O, 0, 1);
    for (int i = 0; i < 3; i++) {
        kernels_bf16_pack(packed_bf16, W, I, O, i, 3);
    }
    struct kernels_layer layer = {.packed = packed,
                                  .packed_bf16 = packed_bf16,
                                  .I = I,
                                  .O = O,
                                  .count = I,
                                  .start = b,
                                  .rows_per_start = 1,
                                  .activation = KERNELS_NORM_TANH,
                                  .scale = b,
                                  .offset = W};
    struct bf16_result result = {marked((size_t)R * ld), marked((size_t)R * ld),
                                 mem_aligned((size_t)R * ld * sizeof(float))};
    for (size_t i = 0; i < (size_t)R * ld; i++) {
        result.floats[i] = 77.0f;
    }
    kernels_thread_begin();
    kernels_bf16_first(result.first, ld, &layer, x, ld_x, R, scratch);
    layer.activation = elu ? KERNELS_ELU : KERNELS_PLAIN;
    kernels_bf16_next(result.next, NULL, ld, &layer, x_bf16, ld_x + ld_x % 2, R, scratch);
    kernels_bf16_next(NULL, result.floats, ld, &layer, x_bf16, ld_x + ld_x % 2, R, scratch);
    mem_free(packed);
    kernels_thread_end();
    mem_free(packed_bf16);
    mem_free(scratch);
    return result;
}

static void free_bf16(struct bf16_result *result)
{
    mem_free(result->first);
    mem_free(result->next);
    mem_free(result->floats);
}

static void check_bf16(const char *name, int R, int I, int O)
{
    const size_t n_x = (size_t)R * ((size_t)I + 6);
    const size_t ld = (size_t)O + SPARE;
    float *W = normals((size_t)I * (size_t)O + (size_t)O);
    float *b = normals((size_t)O);
    float *x = normals(n_x);
    uint16_t *x_bf16 = marked(n_x);
    for (size_t i = 0; i < n_x; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        x_bf16[i] = (uint16_t)(bits >> 16);
    }
    const bool elu = (R + O) % 2 == 0;
    struct bf16_result want = run_bf16("plain", R, I, O, elu, W, x, x_bf16, b);
    struct bf16_result got = run_bf16(name, R, I, O, elu, W, x, x_bf16, b);
    char what[96];
    snprintf(what, sizeof what, "%s bf16 R %d I %d O %d elu %d", name, R, I, O, elu);
    assert_close(got.floats, want.floats, (size_t)R * ld, 2e-5, what);
    assert_bf16_close(got.next, want.next, R, O, ld, what);
    /* Layer norm over one or two outputs divides nearly 0 by nearly 0. */
    if (O > 2) {
        assert_bf16_close(got.first, want.first, R, O, ld, what);
    }
    free_bf16(&want);
    free_bf16(&got);
    mem_free(W);
    mem_free(b);
    mem_free(x);
    mem_free(x_bf16);
}

static void bf16_agrees_with_plain(void **state)
{
    (void)state;
    for (size_t f = 0; f < n_kernels(); f++) {
        for (size_t r = 0; have_parts(kernels_at(f), 1) && r < N_SIZES; r++) {
            for (size_t o = 0; o < N_SIZES; o++) {
                check_bf16(kernels_at(f), sizes[r], sizes[(r * 5 + o * 7) % N_SIZES], sizes[o]);
            }
        }
    }
}

/* dx, dW and db of one implementation; beyond them markers. */
struct bf16_gradients {
    float *dx, *dW, *db;
    uint16_t *dy_bf16;
};

static struct bf16_gradients run_bf16_backward(const char *name, int R, int I, int O,
                                               const float *W, const float *x, const float *dy)
{
    use(name);
    const size_t ld_x = (size_t)I + SPARE;
    const size_t ld_y = (size_t)O + SPARE + (size_t)O % 2;
    uint16_t *back = mem_aligned(kernels_bf16_packed_size(O, I) * sizeof *back);
    float *scratch = mem_aligned(kernels_bf16_scratch(I, O) * sizeof *scratch);
    float *zeros = mem_array((size_t)I, sizeof *zeros);
    struct bf16_gradients result = {mem_aligned((size_t)R * ld_x * sizeof *result.dx),
                                    copy_of(W, (size_t)I * (size_t)O), copy_of(x, (size_t)O),
                                    marked((size_t)R * ld_y)};
    for (size_t i = 0; i < (size_t)R * ld_x; i++) {
        result.dx[i] = 77.0f;
    }
    for (int i = 0; i < 3; i++) {
        kernels_bf16_pack_back(back, W, I, O, i, 3);
    }
    const struct kernels_layer layer = {.packed_bf16 = back,
                                        .I = O,
                                        .O = I,
                                        .count = O,
                                        .start = zeros,
                                        .rows_per_start = 1,
                                        .activation = KERNELS_PLAIN};
    kernels_thread_begin();
    kernels_bf16_round(result.dy_bf16, ld_y, dy, ld_y, R, O);
    kernels_bf16_next(NULL, result.dx, ld_x, &layer, result.dy_bf16, ld_y, R, scratch);
    kernels_bf16_backward_weight(result.dW, result.db, dy, ld_y, x, ld_x, R, I, O, scratch);
    kernels_thread_end();
    mem_free(back);
    mem_free(scratch);
    mem_free(zeros);
    return result;
}

/* Rows have numbers beyond their ends, which must have no weight. */
static void check_bf16_backward(const char *name, int R, int I, int O)
{
    const size_t n_x = (size_t)R * ((size_t)I + SPARE);
    const size_t n_y = (size_t)R * ((size_t)O + SPARE + (size_t)O % 2);
    float *W = normals((size_t)I * (size_t)O);
    float *x = normals(n_x + (size_t)O);
    float *dy = normals(n_y);
    struct bf16_gradients want = run_bf16_backward("plain", R, I, O, W, x, dy);
    struct bf16_gradients got = run_bf16_backward(name, R, I, O, W, x, dy);
    char what[96];
    snprintf(what, sizeof what, "%s bf16 backward R %d I %d O %d", name, R, I, O);
    assert_memory_equal(got.dy_bf16, want.dy_bf16, n_y * sizeof *got.dy_bf16);
    assert_close(got.dx, want.dx, n_x, 2e-5, what);
    assert_sums_close(got.dW, want.dW, (size_t)I * (size_t)O, 2e-5, what);
    assert_sums_close(got.db, want.db, (size_t)O, 2e-5, what);
    float *all[] = {W, x, dy, want.dx, want.dW, want.db, got.dx, got.dW, got.db};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        mem_free(all[i]);
    }
    mem_free(want.dy_bf16);
    mem_free(got.dy_bf16);
}

static void bf16_backward_agrees_with_plain(void **state)
{
    (void)state;
    for (size_t f = 0; f < n_kernels(); f++) {
        for (size_t r = 0; have_parts(kernels_at(f), 1) && r < N_SIZES; r++) {
            for (size_t o = 0; o < N_SIZES; o++) {
                check_bf16_backward(kernels_at(f), sizes[r], sizes[(r * 5 + o * 7) % N_SIZES],
                                    sizes[o]);
            }
        }
    }
    use("best");
}

/* With two parts for each number the functions of bf16 are those of float, but for the last places: a
 * hidden layer to float and to parts, and both of its gradients. */
static void check_two_parts(const char *name, int R, int I, int O)
{
    const size_t ld_x = (size_t)(I + I % 2), ld_y = (size_t)(O + O % 2);
    const size_t n_W = (size_t)I * (size_t)O, n_x = (size_t)R * ld_x, n_y = (size_t)R * ld_y;
    float *W = normals(n_W), *x = normals(n_x), *dy = normals(n_y), *bias = normals((size_t)O);
    float *y_want = mem_array(n_y, sizeof(float)), *y = mem_array(n_y, sizeof(float));
    float *dx_want = mem_array(n_x, sizeof(float)), *dx = mem_array(n_x, sizeof(float));
    float *dW_want = copy_of(W, n_W), *dW = copy_of(W, n_W);
    float *db_want = copy_of(bias, (size_t)O), *db = copy_of(bias, (size_t)O);
    float *zeros = mem_array((size_t)I, sizeof(float));
    struct kernels_layer layer = {.packed = W,
                                  .I = I,
                                  .O = O,
                                  .count = I,
                                  .start = bias,
                                  .rows_per_start = 1,
                                  .activation = KERNELS_ELU};
    use("plain"); /* whose packed weights are W */
    kernels_linear_forward(y_want, ld_y, &layer, x, ld_x, R);
    kernels_linear_backward_input(dx_want, ld_x, dy, ld_y, W, R, I, O);
    kernels_linear_backward_weight(dW_want, db_want, dy, ld_y, x, ld_x, R, I, O);

    use(name);
    uint16_t *packed = mem_aligned(kernels_bf16_packed_size(I, O) * sizeof *packed);
    uint16_t *back = mem_aligned(kernels_bf16_packed_size(O, I) * sizeof *back);
    uint16_t *x_parts = marked(2 * n_x), *dy_parts = marked(2 * n_y), *y_parts = marked(2 * n_y);
    float *scratch = mem_aligned(kernels_bf16_scratch(I, O) * sizeof *scratch);
    for (int i = 0; i < 3; i++) {
        kernels_bf16_pack(packed, W, I, O, i, 3);
        kernels_bf16_pack_back(back, W, I, O, i, 3);
    }
    layer.packed_bf16 = packed;
    const struct kernels_layer turned = {.packed_bf16 = back,
                                         .I = O,
                                         .O = I,
                                         .count = O,
                                         .start = zeros,
                                         .rows_per_start = 1,
                                         .activation = KERNELS_PLAIN};
    kernels_thread_begin();
    kernels_bf16_round(x_parts, 2 * ld_x, x, ld_x, R, I);
    kernels_bf16_round(dy_parts, 2 * ld_y, dy, ld_y, R, O);
    kernels_bf16_next(NULL, y, ld_y, &layer, x_parts, 2 * ld_x, R, scratch);
    kernels_bf16_next(y_parts, NULL, 2 * ld_y, &layer, x_parts, 2 * ld_x, R, scratch);
    kernels_bf16_next(NULL, dx, ld_x, &turned, dy_parts, 2 * ld_y, R, scratch);
    kernels_bf16_backward_weight(dW, db, dy, ld_y, x, ld_x, R, I, O, scratch);
    kernels_thread_end();
    char what[96];
    snprintf(what, sizeof what, "%s R %d I %d O %d", name, R, I, O);
    assert_close(y, y_want, n_y, 2e-4, what);
    assert_close(dx, dx_want, n_x, 2e-4, what);
    assert_sums_close(dW, dW_want, n_W, 2e-4, what);
    assert_sums_close(db, db_want, (size_t)O, 2e-5, what);
    /* Both parts together are the float, to 2^-17. */
    for (size_t i = 0; i < n_y; i++) {
        const size_t at = i / ld_y * 2 * ld_y + i % ld_y;
        const float sum = float_of(y_parts[at]) + float_of(y_parts[at + ld_y]);
        if (i % ld_y < (size_t)O && !(fabsf(sum - y[i]) <= 0x1p-16f * fabsf(y[i]))) {
            fail_msg("%s: parts of element %zu are %.9g, expected %.9g", what, i, (double)sum,
                     (double)y[i]);
        }
    }
    float *all[] = {W,  x,       dy, bias,    y_want, y,     dx_want,
                    dx, dW_want, dW, db_want, db,     zeros, scratch};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        mem_free(all[i]);
    }
    uint16_t *parts[] = {packed, back, x_parts, dy_parts, y_parts};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        mem_free(parts[i]);
    }
}

static void two_parts_have_the_accuracy_of_float(void **state)
{
    (void)state;
    size_t n = 0;
    for (size_t f = 0; f < n_kernels(); f++) {
        for (size_t r = 0; have_parts(kernels_at(f), 2) && r < N_SIZES; r++) {
            for (size_t o = 0; o < N_SIZES; o += 2) {
                check_two_parts(kernels_at(f), sizes[r], sizes[(r * 5 + o * 7) % N_SIZES],
                                sizes[o]);
                n++;
            }
        }
    }
    assert_true(n > 0 || !have("avx2"));
    use("best");
}

/* Rounding, of biases that pass through a layer: ties go to the even neighbour, NaN and infinity
 * are kept. */
static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    static const struct {
        uint32_t bias;
        uint16_t rounded;
    } cases[] = {
        {0x3f800000, 0x3f80}, /* 1 */
        {0x3f808000, 0x3f80}, /* half way, even below */
        {0x3f818000, 0x3f82}, /* half way, even above */
        {0x3f808001, 0x3f81}, /* just above half way */
        {0x3f817fff, 0x3f81}, /* just below */
        {0xbf818000, 0xbf82}, /* negative */
        {0x3fffffff, 0x4000}, /* into the next power of two */
        {0x7f7fffff, 0x7f80}, /* over the largest */
        {0x7f800000, 0x7f80}, /* infinity */
    };
    for (size_t k = 0; k < n_kernels(); k++) {
        if (!have_parts(kernels_at(k), 1)) {
            continue;
        }
        use(kernels_at(k));
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            const float zero[2] = {0.0f, 0.0f};
            float bias[2];
            memcpy(&bias[0], &cases[i].bias, sizeof bias[0]);
            bias[1] = NAN;
            uint16_t *packed = mem_aligned(kernels_bf16_packed_size(1, 2) * sizeof *packed);
            float *scratch = mem_aligned(kernels_bf16_scratch(1, 2) * sizeof *scratch);
            kernels_bf16_pack(packed, zero, 1, 2, 0, 1);
            const struct kernels_layer layer = {.packed_bf16 = packed,
                                                .I = 1,
                                                .O = 2,
                                                .count = 1,
                                                .start = bias,
                                                .rows_per_start = 1,
                                                .activation = KERNELS_PLAIN};
            const uint16_t x[2] = {0x3f80, 0};
            uint16_t y[2];
            kernels_thread_begin();
            kernels_bf16_next(y, NULL, 2, &layer, x, 2, 1, scratch);
            kernels_thread_end();
            mem_free(packed);
            mem_free(scratch);
            if (y[0] != cases[i].rounded || !isnan(float_of(y[1]))) {
                fail_msg("%s: %08x is %04x, expected %04x; NaN is %04x", kernels_at(k),
                         cases[i].bias, y[0], cases[i].rounded, y[1]);
            }
        }
    }
    use("best");
}

/* One output of a layer by tiles, in the order of sums that Intel's manual gives for TDPBF16PS: for
 * every 32 inputs the products of even and of odd inputs apart, then both, then the total. */
static float tile_output(const uint16_t *x, const float *w, float bias, int I)
{
    float total = bias;
    for (int i0 = 0; i0 < I; i0 += 32) {
        float even = 0.0f, odd = 0.0f;
        for (int i = i0; i < I && i < i0 + 32; i++) {
            float *sum = i % 2 == 0 ? &even : &odd;
            *sum = fmaf(float_of(x[i]), w[i], *sum);
        }
        total += even + odd;
    }
    return total;
}

/* y(R,O) by the implementation, without activation. */
static float *plain_layer(const char *name, const float *W, const uint16_t *x, size_t ld_x,
                          const float *bias, int R, int I, int O)
{
    use(name);
    uint16_t *packed = mem_aligned(kernels_bf16_packed_size(I, O) * sizeof *packed);
    float *scratch = mem_aligned(kernels_bf16_scratch(I, O) * sizeof *scratch);
    float *y = mem_aligned((size_t)R * (size_t)O * sizeof *y);
    kernels_bf16_pack(packed, W, I, O, 0, 1);
    const struct kernels_layer layer = {.packed_bf16 = packed,
                                        .I = I,
                                        .O = O,
                                        .count = I,
                                        .start = bias,
                                        .rows_per_start = 1,
                                        .activation = KERNELS_PLAIN};
    kernels_thread_begin();
    kernels_bf16_next(NULL, y, (size_t)O, &layer, x, ld_x, R, scratch);
    kernels_thread_end();
    mem_free(packed);
    mem_free(scratch);
    return y;
}

/* Tiles, emulated and (where the processor has them) real, give the bits of the manual's order, for
 * every size of tail. The matrix unit itself is held against the emulation in this way. */
static void tiles_sum_in_the_order_of_the_manual(void **state)
{
    (void)state;
    static const char *const names[] = {"amx-emulated", "amx"};
    for (size_t k = 0; k < 2; k++) {
        if (!have(names[k])) {
            print_message("this processor cannot run %s\n", names[k]);
            continue;
        }
        for (size_t c = 0; c < N_SIZES; c++) {
            const int R = sizes[c], I = sizes[(c * 5 + 3) % N_SIZES];
            const int O = sizes[(c * 7 + 11) % N_SIZES];
            const size_t ld_x = (size_t)I + 6 - (size_t)I % 2;
            float *W = normals((size_t)I * (size_t)O);
            float *bias = normals((size_t)O);
            float *floats = normals((size_t)R * ld_x);
            uint16_t *x = marked((size_t)R * ld_x);
            uint32_t bits;
            for (size_t i = 0; i < (size_t)I * (size_t)O; i++) {
                memcpy(&bits, &W[i], sizeof bits);
                bits &= 0xffff0000u; /* a bf16 already: rounding is another test's */
                memcpy(&W[i], &bits, sizeof bits);
            }
            for (size_t i = 0; i < (size_t)R * ld_x; i++) {
                memcpy(&bits, &floats[i], sizeof bits);
                /* Beyond the inputs: what must have no weight. */
                x[i] = i % ld_x < (size_t)I ? (uint16_t)(bits >> 16) : 0x7fc0;
            }
            float *y = plain_layer(names[k], W, x, ld_x, bias, R, I, O);
            for (int r = 0; r < R; r++) {
                for (int o = 0; o < O; o++) {
                    const float want =
                        tile_output(x + (size_t)r * ld_x, W + (size_t)o * (size_t)I, bias[o], I);
                    if (memcmp(&y[r * O + o], &want, sizeof want) != 0) {
                        fail_msg("%s R %d I %d O %d: row %d output %d is %.9g, expected %.9g",
                                 names[k], R, I, O, r, o, (double)y[r * O + o], (double)want);
                    }
                }
            }
            mem_free(W);
            mem_free(bias);
            mem_free(floats);
            mem_free(x);
            mem_free(y);
        }
    }
    use("best");
}

/* ---- Backward ---- */

static void check_backward(const char *name, int R, int I, int O)
{
    const size_t ld_x = (size_t)I + SPARE;
    const size_t ld_y = (size_t)O + SPARE;
    float *W = normals((size_t)I * (size_t)O);
    float *x = normals((size_t)R * ld_x);
    float *dy = normals((size_t)R * ld_y);
    float *dW = normals((size_t)I * (size_t)O);
    float *db = normals((size_t)O);
    float *dx = normals((size_t)R * ld_x);
    float *dW_want = copy_of(dW, (size_t)I * (size_t)O);
    float *db_want = copy_of(db, (size_t)O);
    float *dx_want = copy_of(dx, (size_t)R * ld_x);
    use("plain");
    kernels_linear_backward_weight(dW_want, db_want, dy, ld_y, x, ld_x, R, I, O);
    kernels_linear_backward_input(dx_want, ld_x, dy, ld_y, W, R, I, O);
    use(name);
    kernels_linear_backward_weight(dW, db, dy, ld_y, x, ld_x, R, I, O);
    kernels_linear_backward_input(dx, ld_x, dy, ld_y, W, R, I, O);
    char what[128];
    snprintf(what, sizeof what, "%s backward R %d I %d O %d", name, R, I, O);
    assert_sums_close(dW, dW_want, (size_t)I * (size_t)O, 2e-5, what);
    assert_sums_close(db, db_want, (size_t)O, 2e-5, what);
    assert_close(dx, dx_want, (size_t)R * ld_x, 2e-5, what);
    float *all[] = {W, x, dy, dW, db, dx, dW_want, db_want, dx_want};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        mem_free(all[i]);
    }
}

static void backward_agrees_with_plain(void **state)
{
    (void)state;
    for (size_t f = 0; f < n_kernels(); f++) {
        for (size_t r = 0; have(kernels_at(f)) && r < N_SIZES; r++) {
            for (size_t o = 0; o < N_SIZES; o++) {
                check_backward(kernels_at(f), sizes[r], sizes[(r * 5 + o * 7) % N_SIZES], sizes[o]);
            }
        }
    }
}

static void check_activations(const char *name, int R, int H)
{
    const size_t ld = (size_t)H + SPARE;
    const size_t n = (size_t)R * ld;
    float *d = normals(n);
    float *y = normals(n);
    float *normal = normals(n);
    float *inverse_std = normals((size_t)R);
    float *scale = normals((size_t)H);
    float *dscale = normals((size_t)H);
    float *doffset = normals((size_t)H);
    use("plain");
    kernels_tanh(y, y, n);
    float *elu_want = copy_of(d, n);
    float *elu_got = copy_of(d, n);
    float *d_want = copy_of(d, n);
    float *dscale_want = copy_of(dscale, (size_t)H);
    float *doffset_want = copy_of(doffset, (size_t)H);
    kernels_elu_backward(elu_want, ld, y, ld, R, H);
    kernels_norm_tanh_backward(d_want, ld, dscale_want, doffset_want, y, ld, normal, ld,
                               inverse_std, scale, R, H);
    use(name);
    kernels_elu_backward(elu_got, ld, y, ld, R, H);
    kernels_norm_tanh_backward(d, ld, dscale, doffset, y, ld, normal, ld, inverse_std, scale, R, H);
    char what[128];
    snprintf(what, sizeof what, "%s activations R %d H %d", name, R, H);
    assert_close(elu_got, elu_want, n, 1e-6, what);
    assert_close(d, d_want, n, 2e-5, what);
    assert_sums_close(dscale, dscale_want, (size_t)H, 2e-5, what);
    assert_sums_close(doffset, doffset_want, (size_t)H, 2e-5, what);
    float *all[] = {d,       y,        normal,  inverse_std, scale,       dscale,
                    doffset, elu_want, elu_got, d_want,      dscale_want, doffset_want};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        mem_free(all[i]);
    }
}

static void activation_gradients_agree_with_plain(void **state)
{
    (void)state;
    for (size_t f = 0; f < n_kernels(); f++) {
        for (size_t h = 0; have(kernels_at(f)) && h < N_SIZES; h++) {
            check_activations(kernels_at(f), 1 + (int)(h % 5), sizes[h]);
        }
    }
}

/* ---- Elementwise ---- */

static double softplus(double x)
{
    return fmax(x, 0.0) + log1p(exp(-fabs(x)));
}

static double elu(double x)
{
    return x > 0.0 ? x : expm1(x);
}

static void functions_are_accurate(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        void (*function)(float *y, const float *x, size_t n);
        double (*exact)(double x);
        double low, high;
    } functions[] = {
        {"exp", kernels_exp, exp, -87.0, 88.0},
        {"tanh", kernels_tanh, tanh, -20.0, 20.0},
        {"softplus", kernels_softplus, softplus, -80.0, 80.0},
        {"elu", kernels_elu, elu, -100.0, 20.0},
    };
    enum { N = 200001 };
    float *x = mem_array(N, sizeof *x);
    float *y = mem_array(N, sizeof *y);
    for (size_t f = 0; f < n_kernels(); f++) {
        for (size_t i = 0; have(kernels_at(f)) && i < sizeof functions / sizeof functions[0]; i++) {
            use(kernels_at(f));
            double worst = 0.0;
            /* Evenly, and densely around 0 in both signs. */
            for (int j = 0; j < N; j++) {
                const double at =
                    functions[i].low + (functions[i].high - functions[i].low) * j / (N - 1);
                x[j] = j % 2 == 0 ? (float)at : (float)(at * exp(-30.0 * j / N));
            }
            functions[i].function(y, x, N);
            for (int j = 0; j < N; j++) {
                const double want = functions[i].exact((double)x[j]);
                worst = fmax(worst, fabs((double)y[j] - want) / fmax(fabs(want), 1e-37));
            }
            print_message("%s %s: worst relative error %.2e\n", kernels_at(f), functions[i].name,
                          worst);
            assert_true(worst < 3e-7);
        }
    }
    mem_free(x);
    mem_free(y);
}

static void nan_and_infinity_are_kept(void **state)
{
    (void)state;
    void (*const functions[])(float *, const float *, size_t) = {kernels_exp, kernels_tanh,
                                                                 kernels_softplus, kernels_elu};
    for (size_t k = 0; k < n_kernels(); k++) {
        for (size_t f = 0; have(kernels_at(k)) && f < 4; f++) {
            use(kernels_at(k));
            for (size_t n = 1; n < 40; n++) {
                float x[40];
                for (size_t i = 0; i < 40; i++) {
                    x[i] = 1.0f;
                }
                x[n - 1] = NAN;
                functions[f](x, x, n);
                assert_true(isnan(x[n - 1]));
                assert_true(n == 40 || x[n] == 1.0f);
                assert_true(n == 1 || isfinite(x[0]));
            }
        }
        float ends[2] = {-INFINITY, INFINITY};
        kernels_tanh(ends, ends, 2);
        assert_true(ends[0] == -1.0f && ends[1] == 1.0f);
        float low = -INFINITY;
        kernels_elu(&low, &low, 1);
        assert_true(low == -1.0f);
    }
}

static void adam_agrees_with_plain(void **state)
{
    (void)state;
    enum { N = 1003 };
    const struct kernels_adam adam = {0.5f,  0.9f,  0.1f,    0.999f, 0.001f,
                                      3e-4f, 10.0f, 1000.0f, 1e-8f};
    float *g = normals(N);
    float *p[N_KERNELS_MAX + 1], *m[N_KERNELS_MAX + 1], *v[N_KERNELS_MAX + 1];
    const size_t n = n_kernels();
    p[0] = normals(N);
    m[0] = normals(N);
    v[0] = normals(N);
    for (size_t i = 0; i < N; i++) {
        v[0][i] *= v[0][i];
    }
    /* Place 0 is that of `plain`, place k + 1 that of implementation k. */
    for (size_t k = 0; k < n; k++) {
        p[k + 1] = copy_of(p[0], N);
        m[k + 1] = copy_of(m[0], N);
        v[k + 1] = copy_of(v[0], N);
    }
    use("plain");
    kernels_adam_step(p[0], m[0], v[0], g, N, &adam);
    for (size_t k = 0; k < n; k++) {
        if (!have(kernels_at(k))) {
            continue;
        }
        use(kernels_at(k));
        kernels_adam_step(p[k + 1], m[k + 1], v[k + 1], g, N, &adam);
        assert_close(p[k + 1], p[0], N, 1e-6, kernels_at(k));
        assert_close(m[k + 1], m[0], N, 1e-6, kernels_at(k));
        assert_close(v[k + 1], v[0], N, 1e-6, kernels_at(k));
    }
    for (size_t k = 0; k <= n; k++) {
        mem_free(p[k]);
        mem_free(m[k]);
        mem_free(v[k]);
    }
    mem_free(g);
}

/* The best is never one whose bf16 is slower than its float, and what is said of it holds. */
static void the_choice_has_a_reason(void **state)
{
    (void)state;
    const bool tiles = have("amx"), pairs = have("avx512bf16"), wide = have("avx512");
    use("best");
    const double ratio = kernels_pairs_over_floats();
    print_message("%s; pairs of bf16 over floats: %.2f\n", kernels_name(), ratio);
    assert_true(pairs ? ratio > 0.1 && ratio < 10.0 : ratio == 0.0 || wide);
    if (tiles) {
        assert_string_equal(kernels_name(), "amx");
    } else if (wide) {
        assert_string_equal(kernels_name(), ratio > 1.0 ? "avx512bf16" : "avx512");
    }
    assert_true(kernels_bf16_pays() == (tiles || (pairs && ratio > 1.0)));
    assert_true(kernels_bf16_native() == kernels_bf16_pays());
    use("plain");
    assert_false(kernels_bf16_pays());
    use("best");
}

/* What is measured as a peak is one: tiles make more than pairs, pairs more than nothing. */
static void peaks_are_measured_where_there_is_a_unit(void **state)
{
    (void)state;
    const double floats = kernels_peak(KERNELS_UNIT_FLOAT, 4);
    const double pairs = kernels_peak(KERNELS_UNIT_PAIRS, 4);
    const double tiles = kernels_peak(KERNELS_UNIT_TILES, 4);
    print_message("GFLOP/s: floats %.0f, pairs %.0f, tiles %.0f\n", floats, pairs, tiles);
    assert_true((floats > 0.0) == have("avx2"));
    assert_true((pairs > 0.0) == have("avx512bf16"));
    assert_true(have("amx") ? tiles > 2.0 * pairs : tiles == 0.0);
    use("best");
}

static void unknown_names_are_refused(void **state)
{
    (void)state;
    struct err err;
    use("plain");
    assert_int_equal(kernels_select("sse", &err), STATUS_INVALID);
    assert_string_equal(kernels_name(), "plain");
    use("best");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_agrees_with_plain),
        cmocka_unit_test(a_row_does_not_depend_on_the_others),
        cmocka_unit_test(bf16_agrees_with_plain),
        cmocka_unit_test(bf16_backward_agrees_with_plain),
        cmocka_unit_test(two_parts_have_the_accuracy_of_float),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(tiles_sum_in_the_order_of_the_manual),
        cmocka_unit_test(backward_agrees_with_plain),
        cmocka_unit_test(activation_gradients_agree_with_plain),
        cmocka_unit_test(functions_are_accurate),
        cmocka_unit_test(nan_and_infinity_are_kept),
        cmocka_unit_test(adam_agrees_with_plain),
        cmocka_unit_test(the_choice_has_a_reason),
        cmocka_unit_test(peaks_are_measured_where_there_is_a_unit),
        cmocka_unit_test(unknown_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
