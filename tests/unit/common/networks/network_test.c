/* Networks: shapes and names, forward against loops in double, gradients against central
 * differences in double. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/kernels.h"
#include "common/networks/network.h"
#include "tests/lib/check.h"

struct made {
    struct network_shape shape;
    struct network net;
    struct network_packed packed, floats, all; /* actions in bf16; nothing; all passes */
    float *params, *scratch;
    struct arena arena;
    struct network_tape tape;
};

static void make(struct made *made, int I, const int *widths, int n, int A, int Q, int R,
                 uint64_t seed)
{
    struct err err;
    const status s = A > 0 ? network_shape_gaussian(&made->shape, I, widths, n, A, &err)
                           : network_shape_out(&made->shape, I, widths, n, Q, &err);
    assert_int_equal(s, STATUS_OK);
    made->params = mem_aligned(made->shape.size * sizeof(float));
    struct network_packed *const packed[] = {&made->floats, &made->packed, &made->all};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(network_packed_init(packed[i], &made->shape, (enum network_bf16)i),
                         STATUS_OK);
    }
    made->scratch = mem_aligned(network_scratch(&made->shape) * sizeof(float));
    noise_normal(made->params, made->shape.size, seed, 0, 1, 0);
    for (size_t i = 0; i < made->shape.size; i++) {
        made->params[i] *= 0.4f;
    }
    for (int i = 0; i < 3; i++) {
        network_pack(packed[i], &made->shape, made->params, 0, 1);
    }
    made->net = (struct network){&made->shape, made->params, &made->floats};
    assert_int_equal(arena_init(&made->arena, network_tape_bytes(&made->shape, R, true)),
                     STATUS_OK);
    network_tape_init(&made->tape, &made->shape, R, true, &made->arena);
}

static void unmake(struct made *made)
{
    arena_fini(&made->arena);
    mem_free(made->params);
    network_packed_fini(&made->packed);
    network_packed_fini(&made->floats);
    network_packed_fini(&made->all);
    mem_free(made->scratch);
}

/* out(Q) at x(I), written from the definition, in double. */
static void plain(double *out, const struct network_shape *shape, const double *p, const double *x)
{
    double h[2][512];
    int I = shape->I;
    memcpy(h[0], x, (size_t)I * sizeof *x);
    for (int l = 0; l <= shape->n_layers; l++) {
        const bool head = l == shape->n_layers;
        const int O = head ? shape->Q : shape->widths[l];
        const double *W = p + (head ? shape->head_weight_at : shape->weight_at[l]);
        const double *b = p + (head ? shape->head_bias_at : shape->bias_at[l]);
        double *y = h[(l + 1) % 2];
        double mean = 0.0;
        double variance = 0.0;
        for (int o = 0; o < O; o++) {
            y[o] = b[o];
            for (int i = 0; i < I; i++) {
                y[o] += W[o * I + i] * h[l % 2][i];
            }
            mean += y[o] / O;
        }
        for (int o = 0; o < O; o++) {
            variance += (y[o] - mean) * (y[o] - mean) / O;
        }
        for (int o = 0; o < O; o++) {
            if (head) {
                out[o] = y[o];
            } else if (l == 0) {
                const double normal = (y[o] - mean) / sqrt(variance + 1e-5);
                y[o] =
                    tanh(normal * p[shape->scale_at + (size_t)o] + p[shape->offset_at + (size_t)o]);
            } else {
                y[o] = y[o] > 0.0 ? y[o] : exp(y[o]) - 1.0;
            }
        }
        I = O;
    }
}

static void names_shapes_and_places(void **state)
{
    (void)state;
    struct network_shape shape;
    struct err err;
    const int widths[] = {20, 12, 8};
    assert_int_equal(network_shape_gaussian(&shape, 7, widths, 3, 3, &err), STATUS_OK);
    static const struct {
        const char *name;
        int rows, columns;
    } want[] = {{"layers/0/weight", 20, 7}, {"layers/0/bias", 20, 0},    {"norm/scale", 20, 0},
                {"norm/offset", 20, 0},     {"layers/1/weight", 12, 20}, {"layers/1/bias", 12, 0},
                {"layers/2/weight", 8, 12}, {"layers/2/bias", 8, 0},     {"mean/weight", 3, 8},
                {"std/weight", 3, 8},       {"mean/bias", 3, 0},         {"std/bias", 3, 0}};
    assert_int_equal(shape.n_tensors, 12);
    size_t end = 0;
    for (int i = 0; i < 12; i++) {
        assert_string_equal(shape.tensors[i].name, want[i].name);
        assert_int_equal(shape.tensors[i].shape[0], want[i].rows);
        assert_int_equal(shape.tensors[i].n_dims, want[i].columns > 0 ? 2 : 1);
        assert_true(want[i].columns == 0 || shape.tensors[i].shape[1] == want[i].columns);
        assert_true(shape.tensors[i].at >= end);
        end = shape.tensors[i].at + shape.tensors[i].size;
    }
    assert_true(end <= shape.size && shape.size % 16 == 0);
    /* The heads are one matrix and one bias. */
    assert_int_equal(shape.tensors[9].at, shape.tensors[8].at + 24);
    assert_int_equal(shape.tensors[11].at, shape.tensors[10].at + 3);

    assert_int_equal(network_shape_gaussian(&shape, 0, widths, 3, 3, &err), STATUS_INVALID);
    assert_int_equal(network_shape_gaussian(&shape, 7, widths, 0, 3, &err), STATUS_INVALID);
    assert_int_equal(network_shape_gaussian(&shape, 7, widths, 9, 3, &err), STATUS_INVALID);
    assert_int_equal(network_shape_out(&shape, 7, (const int[]){0}, 1, 1, &err), STATUS_INVALID);
}

static void initial_weights_have_the_stated_distribution(void **state)
{
    (void)state;
    struct network_shape shape;
    struct err err;
    const int widths[] = {64, 48};
    assert_int_equal(network_shape_out(&shape, 30, widths, 2, 1, &err), STATUS_OK);
    float *a = mem_aligned(shape.size * sizeof *a);
    float *b = mem_aligned(shape.size * sizeof *b);
    network_init(a, &shape, 5, 16);
    network_init(b, &shape, 5, 16);
    assert_memory_equal(a, b, shape.size * sizeof *a);
    network_init(b, &shape, 6, 16);
    assert_memory_not_equal(a, b, shape.size * sizeof *a);
    for (int i = 0; i < shape.n_tensors; i++) {
        const struct network_tensor *tensor = &shape.tensors[i];
        double sum = 0.0;
        double squares = 0.0;
        float largest = 0.0f;
        for (size_t j = 0; j < tensor->size; j++) {
            const float w = a[tensor->at + j];
            sum += (double)w;
            squares += (double)w * (double)w;
            largest = fmaxf(largest, fabsf(w));
        }
        const double n = (double)tensor->size;
        if (tensor->n_dims == 1) {
            assert_true(sum == (strcmp(tensor->name, "norm/scale") == 0 ? n : 0.0));
        } else {
            const double scale = strncmp(tensor->name, "layers", 6) == 0 ? 1.0 / 3.0 : 1e-4;
            const double limit = sqrt(3.0 * scale / tensor->shape[0]);
            assert_true((double)largest <= limit * 1.000001 && (double)largest > 0.9 * limit);
            assert_true(fabs(sum / n) < limit * 4.0 / sqrt(3.0 * n));
            assert_true(tensor->size < 1000 ||
                        fabs(squares / n - limit * limit / 3.0) < 0.1 * limit * limit / 3.0);
        }
    }
    mem_free(a);
    mem_free(b);
}

static void forward_agrees_with_loops_in_double(void **state)
{
    (void)state;
    static const int widths[][3] = {{16, 16, 16}, {33, 20, 7}, {5, 40, 64}, {256, 256, 256}};
    for (size_t c = 0; c < 4; c++) {
        enum { R = 61, I = 9 };
        struct made made;
        make(&made, I, widths[c], 3, 3, 0, R, c);
        const size_t Q = (size_t)made.shape.Q;
        float x[R * I];
        float *out = mem_array(R * Q, sizeof *out);
        double *p = mem_array(made.shape.size, sizeof *p);
        noise_normal(x, R * I, 3, 0, 9, 0);
        for (size_t i = 0; i < made.shape.size; i++) {
            p[i] = (double)made.params[i];
        }
        network_infer(out, Q, &made.net, x, I, R, made.scratch);
        network_forward(&made.tape, &made.net, x, I, R);
        for (size_t r = 0; r < R; r++) {
            double in[I];
            double want[6];
            for (size_t i = 0; i < I; i++) {
                in[i] = (double)x[r * I + i];
            }
            plain(want, &made.shape, p, in);
            for (size_t q = 0; q < Q; q++) {
                assert_true(fabs((double)out[r * Q + q] - want[q]) < 1e-4 * (1.0 + fabs(want[q])));
                assert_true(out[r * Q + q] == made.tape.out[r * made.tape.ld_out + q]);
            }
        }
        mem_free(p);
        mem_free(out);
        unmake(&made);
    }
}

static void actions_share_the_states_part(void **state)
{
    (void)state;
    enum { S = 7, M = 9, I = 5, A = 3 };
    struct made made;
    make(&made, I + A, (const int[]){40, 24}, 2, 0, 1, 1, 11);
    float x[S * I], a[S * M * A], whole[S * M * (I + A)], part[S * 64], want[S * M], got[S * M];
    noise_normal(x, S * I, 4, 0, 1, 0);
    noise_normal(a, S * M * A, 4, 0, 2, 0);
    for (int j = 0; j < S * M; j++) {
        memcpy(whole + j * (I + A), x + j / M * I, I * sizeof *x);
        memcpy(whole + j * (I + A) + I, a + j * A, A * sizeof *a);
    }
    network_infer(want, 1, &made.net, whole, I + A, S * M, made.scratch);
    network_state_part(part, 64, &made.net, x, I, S, I);
    /* In two calls that cut through a state. */
    const int cut = 2 * M + 4;
    network_infer_actions(got, &made.net, part, 64, a, A, 0, cut, M, A, made.scratch);
    network_infer_actions(got + cut, &made.net, part, 64, a + cut * A, A, (size_t)cut, S * M - cut,
                          M, A, made.scratch);
    for (int j = 0; j < S * M; j++) {
        assert_true(fabsf(got[j] - want[j]) < 1e-5f * (1.0f + fabsf(want[j])));
    }
    unmake(&made);
}

/* Hidden layers in bf16 against float: not further apart than three roundings of relative 2^-9
 * allow, and not the same. All implementations agree much more closely: they round alike. */
static void bf16_is_near_float(void **state)
{
    (void)state;
    enum { S = 11, M = 9, I = 5, A = 3, N = S * M };
    static const char *const kernels[] = {"plain",      "avx2", "avx512",
                                          "avx512bf16", "amx",  "amx-emulated"};
    static const int widths[][3] = {{40, 33, 24}, {1, 7, 1}, {65, 64, 0}, {20, 0, 0}};
    for (int w = 0; w < 4; w++) {
        const int n_layers = widths[w][1] == 0 ? 1 : widths[w][2] == 0 ? 2 : 3;
        float x[S * I], a[N * A], part[S * 96], want[N], plain_bf16[N], got[N];
        noise_normal(x, S * I, 11, 0, 1, 0);
        noise_normal(a, N * A, 11, 0, 2, 0);
        for (size_t k = 0; k < sizeof kernels / sizeof kernels[0]; k++) {
            if (kernels_select(kernels[k], NULL) != STATUS_OK) {
                continue;
            }
            struct made made;
            make(&made, I + A, widths[w], n_layers, 0, 1, N, 12);
            network_state_part(part, 96, &made.net, x, I, S, I);
            network_infer_actions(want, &made.net, part, 96, a, A, 0, N, M, A, made.scratch);
            made.net.packed = &made.packed;
            kernels_thread_begin();
            network_infer_actions(got, &made.net, part, 96, a, A, 0, N, M, A, made.scratch);
            double squares = 0.0;
            double errors = 0.0;
            double between = 0.0;
            for (int j = 0; j < N; j++) {
                plain_bf16[j] = k == 0 ? got[j] : plain_bf16[j];
                squares += (double)want[j] * (double)want[j];
                errors += (double)(got[j] - want[j]) * (double)(got[j] - want[j]);
                between += (double)(got[j] - plain_bf16[j]) * (double)(got[j] - plain_bf16[j]);
            }
            const double relative = sqrt(errors / squares);
            print_message("%s, %d layers: %.2e of float, %.2e of plain\n", kernels[k], n_layers,
                          relative, sqrt(between / squares));
            assert_true(relative < 6e-3);
            /* One layer has nothing between the first and the heads. */
            assert_true(n_layers == 1 ? relative == 0.0 : relative > 1e-5);
            assert_true(sqrt(between / squares) < 2e-3);
            /* With other rows beside it: the same bits. */
            float again[N];
            network_infer_actions(again, &made.net, part, 96, a + 7 * A, A, 7, N - 7, M, A,
                                  made.scratch);
            assert_memory_equal(again, got + 7, (N - 7) * sizeof *got);
            kernels_thread_end();
            unmake(&made);
        }
    }
    assert_int_equal(kernels_select("best", NULL), STATUS_OK);
}

/* |a - b| / |b|, norms. */
static double distance(const float *a, const float *b, size_t n)
{
    double squares = 0.0;
    double errors = 0.0;
    for (size_t i = 0; i < n; i++) {
        squares += (double)b[i] * (double)b[i];
        errors += (double)(a[i] - b[i]) * (double)(a[i] - b[i]);
    }
    return sqrt(errors / squares);
}

/* Outputs, gradients and gradients by the inputs of a network on a tape. */
struct passes {
    float *out, *gradients, *dx, *inferred;
};

static struct passes run_passes(struct made *made, const struct network_packed *packed,
                                const float *x, const float *dout, int R)
{
    const struct network_shape *shape = &made->shape;
    const size_t I = (size_t)shape->I;
    const size_t Q = (size_t)shape->Q;
    const struct network net = {shape, made->params, packed};
    struct passes made_passes = {
        mem_array((size_t)R * Q, sizeof(float)), mem_aligned(shape->size * sizeof(float)),
        mem_array((size_t)R * I, sizeof(float)), mem_array((size_t)R * Q, sizeof(float))};
    kernels_thread_begin();
    network_infer(made_passes.inferred, Q, &net, x, I, R, made->scratch);
    network_forward(&made->tape, &net, x, I, R);
    for (size_t r = 0; r < (size_t)R; r++) {
        memcpy(made_passes.out + r * Q, made->tape.out + r * made->tape.ld_out, Q * sizeof(float));
    }
    network_backward(made_passes.gradients, made_passes.dx, I, &net, &made->tape, dout, R);
    kernels_thread_end();
    return made_passes;
}

static void free_passes(struct passes *passes)
{
    float *const all[] = {passes->out, passes->gradients, passes->dx, passes->inferred};
    for (int i = 0; i < 4; i++) {
        mem_free(all[i]);
    }
}

/* All passes in bf16 against float, and implementations against each other: an output has three
 * roundings behind it and a gradient six. */
static void passes_in_bf16_are_near_float(void **state)
{
    (void)state;
    enum { R = 150, I = 6 };
    static const int widths[][3] = {{40, 33, 24}, {64, 96, 32}, {5, 7, 1}, {20, 0, 0}};
    for (int w = 0; w < 4; w++) {
        const int n_layers = widths[w][1] == 0 ? 1 : 3;
        float x[R * I];
        noise_normal(x, R * I, 5, 0, 1, 0);
        struct passes plain = {0};
        for (size_t k = 0; k < 8; k++) {
            static const char *const kernels[] = {
                "plain", "avx2",         "avx512", "avx512bf16",
                "amx",   "amx-emulated", "amx-x2", "amx-x2-emulated"};
            if (kernels_select(kernels[k], NULL) != STATUS_OK) {
                continue;
            }
            struct made made;
            make(&made, I, widths[w], n_layers, 2, 0, R, 31);
            float *dout = mem_aligned(R * made.tape.ld_out * sizeof *dout);
            noise_normal(dout, R * made.tape.ld_out, 5, 0, 2, 0);
            const size_t n_out = R * (size_t)made.shape.Q;
            struct passes want = run_passes(&made, &made.floats, x, dout, R);
            struct passes got = run_passes(&made, &made.all, x, dout, R);
            plain = k == 0 ? run_passes(&made, &made.all, x, dout, R) : plain;
            const double out = distance(got.out, want.out, n_out);
            const double gradients = distance(got.gradients, want.gradients, made.shape.size);
            const double dx = distance(got.dx, want.dx, R * I);
            const double between = distance(got.gradients, plain.gradients, made.shape.size);
            print_message("%s, %d layers of %d: outputs %.1e, gradients %.1e, by inputs %.1e of "
                          "float; gradients %.1e of plain\n",
                          kernels[k], n_layers, widths[w][0], out, gradients, dx, between);
            if (kernels_bf16_parts() == 1) {
                assert_true(out < 8e-3 && gradients < 1.2e-2 && dx < 1.2e-2);
                assert_true(n_layers == 1 ? gradients == 0.0 : gradients > 1e-5);
                assert_true(between < 3e-3 && distance(got.out, plain.out, n_out) < 3e-3);
            } else {
                /* Two parts: 17 bits instead of 24. */
                assert_true(out < 3e-5 && gradients < 6e-5 && dx < 6e-5);
                assert_true(n_layers == 1 ? gradients == 0.0 : gradients > 1e-7);
            }
            /* Nothing kept: the same up to what a rounded tanh makes of it. */
            assert_true(distance(got.inferred, got.out, n_out) <
                        (kernels_bf16_parts() == 1 ? 4e-3 : 3e-5));
            /* The same call again: the same bits. */
            struct passes again = run_passes(&made, &made.all, x, dout, R);
            assert_memory_equal(again.gradients, got.gradients, made.shape.size * sizeof(float));
            assert_memory_equal(again.dx, got.dx, R * I * sizeof(float));
            free_passes(&again);
            free_passes(&want);
            free_passes(&got);
            mem_free(dout);
            unmake(&made);
        }
        free_passes(&plain);
    }
    assert_int_equal(kernels_select("best", NULL), STATUS_OK);
}

/* A copy is complete where the other has all that it needs. */
static void a_packed_copy_says_whether_it_is_complete(void **state)
{
    (void)state;
    static const int widths[] = {24, 40};
    struct made made;
    make(&made, 5, widths, 2, 0, 1, 3, 4);
    struct network_packed *const packed[] = {&made.floats, &made.packed, &made.all};
    for (int to = 0; to < 3; to++) {
        for (int from = 0; from < 3; from++) {
            struct network_packed copy;
            assert_int_equal(network_packed_init(&copy, &made.shape, (enum network_bf16)to),
                             STATUS_OK);
            memset(copy.memory, 0, copy.size_bytes);
            const bool complete = network_packed_copy(&copy, packed[from], &made.shape);
            /* With all passes in bf16 there are no floats of hidden layers. */
            assert_true(complete == (to == from || (to == 0 && from == 1)));
            if (complete) {
                network_pack(&copy, &made.shape, made.params, 0, 1);
                struct network_packed again;
                assert_int_equal(network_packed_init(&again, &made.shape, (enum network_bf16)to),
                                 STATUS_OK);
                memset(again.memory, 0, again.size_bytes);
                assert_true(network_packed_copy(&again, packed[from], &made.shape));
                assert_memory_equal(copy.memory, again.memory, copy.size_bytes);
                network_packed_fini(&again);
            }
            network_packed_fini(&copy);
        }
    }
    unmake(&made);
}

/* sum_r weights . out(x_r) in double. */
static double objective(const struct network_shape *shape, const double *p, const double *x,
                        const double *weights, int R)
{
    double sum = 0.0;
    for (int r = 0; r < R; r++) {
        double out[16];
        plain(out, shape, p, x + r * shape->I);
        for (int q = 0; q < shape->Q; q++) {
            sum += weights[r * shape->Q + q] * out[q];
        }
    }
    return sum;
}

static double derivative(const struct network_shape *shape, double *p, double *x,
                         const double *weights, int R, double *at)
{
    const double h = 1e-5;
    const double keep = *at;
    *at = keep + h;
    const double ahead = objective(shape, p, x, weights, R);
    *at = keep - h;
    const double behind = objective(shape, p, x, weights, R);
    *at = keep;
    return (ahead - behind) / (2.0 * h);
}

static void check_gradients(const int *widths, int n_layers, int A, int Q)
{
    enum { R = 13, I = 6 };
    struct made made;
    make(&made, I, widths, n_layers, A, Q, R, 21);
    const struct network_shape *shape = &made.shape;
    float x[R * I], dx[R * I], noise[R * 16];
    double x_d[R * I], weights[R * 16];
    float *dout = mem_aligned(R * made.tape.ld_out * sizeof *dout);
    float *gradients = mem_aligned(shape->size * sizeof *gradients);
    double *p = mem_array(shape->size, sizeof *p);
    noise_normal(x, R * I, 5, 0, 1, 0);
    noise_normal(noise, R * 16, 5, 0, 2, 0);
    for (int i = 0; i < R * I; i++) {
        x_d[i] = (double)x[i];
    }
    for (int r = 0; r < R; r++) {
        for (int q = 0; q < shape->Q; q++) {
            dout[(size_t)r * made.tape.ld_out + (size_t)q] = noise[r * shape->Q + q];
            weights[r * shape->Q + q] = (double)noise[r * shape->Q + q];
        }
    }
    for (size_t i = 0; i < shape->size; i++) {
        p[i] = (double)made.params[i];
    }

    network_forward(&made.tape, &made.net, x, I, R);
    network_backward(gradients, dx, I, &made.net, &made.tape, dout, R);
    for (int t = 0; t < shape->n_tensors; t++) {
        const struct network_tensor *tensor = &shape->tensors[t];
        for (size_t i = 0; i < tensor->size; i += 1 + tensor->size / 23) {
            const double want = derivative(shape, p, x_d, weights, R, &p[tensor->at + i]);
            const double got = (double)gradients[tensor->at + i];
            if (!(fabs(got - want) < 2e-4 * (1.0 + fabs(want)))) {
                fail_msg("%s[%zu]: %.8g, central difference %.8g", tensor->name, i, got, want);
            }
        }
    }
    for (int i = 0; i < R * I; i++) {
        const double want = derivative(shape, p, x_d, weights, R, &x_d[i]);
        if (!(fabs((double)dx[i] - want) < 2e-4 * (1.0 + fabs(want)))) {
            fail_msg("input %d: %.8g, central difference %.8g", i, (double)dx[i], want);
        }
    }

    /* Without parameters' gradients the inputs' are the same; with them they add up. */
    float again[R * I];
    network_forward(&made.tape, &made.net, x, I, R);
    network_backward(NULL, again, I, &made.net, &made.tape, dout, R);
    assert_memory_equal(again, dx, sizeof dx);
    float *twice = mem_aligned(shape->size * sizeof *twice);
    memcpy(twice, gradients, shape->size * sizeof *twice);
    network_forward(&made.tape, &made.net, x, I, R);
    network_backward(twice, NULL, 0, &made.net, &made.tape, dout, R);
    for (size_t i = 0; i < shape->size; i++) {
        assert_true(fabsf(twice[i] - 2.0f * gradients[i]) <= 1e-4f * (1.0f + fabsf(gradients[i])));
    }
    mem_free(twice);
    mem_free(dout);
    mem_free(gradients);
    mem_free(p);
    unmake(&made);
}

static void gradients_are_central_differences(void **state)
{
    (void)state;
    static const char *const kernels[] = {"plain", "avx2", "avx512", "avx512bf16"};
    for (size_t k = 0; k < 4; k++) {
        if (kernels_select(kernels[k], NULL) != STATUS_OK) {
            continue;
        }
        check_gradients((const int[]){16, 12, 8}, 3, 2, 0);
        check_gradients((const int[]){40, 33}, 2, 0, 1);
        check_gradients((const int[]){8}, 1, 0, 3);
        check_gradients((const int[]){7, 9, 5, 6}, 4, 1, 0);
    }
    assert_int_equal(kernels_select("best", NULL), STATUS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_shapes_and_places),
        cmocka_unit_test(initial_weights_have_the_stated_distribution),
        cmocka_unit_test(forward_agrees_with_loops_in_double),
        cmocka_unit_test(actions_share_the_states_part),
        cmocka_unit_test(bf16_is_near_float),
        cmocka_unit_test(passes_in_bf16_are_near_float),
        cmocka_unit_test(a_packed_copy_says_whether_it_is_complete),
        cmocka_unit_test(gradients_are_central_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
