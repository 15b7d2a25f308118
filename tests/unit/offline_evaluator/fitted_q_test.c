/* A step of fitted Q evaluation against a case that an independent program made in float64
 * (tests/golden/fitted_q/make.py, gradients by central differences), and against values that are
 * known in closed form. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/networks/safetensors.h"
#include "offline_evaluator/fitted_q.h"
#include "tests/lib/check.h"

/* ---- The golden case ---- */

#define CASE "tests/golden/fitted_q/case.safetensors"

struct golden {
    struct safetensors *file;
    struct fitted_q_head heads[8];
    int n_heads;
    struct thread_pool *pool;
    struct fitted_q *critic;
    struct fitted_q_batch batch;
};

/* A tensor of the case as a new array of its own type. */
static void *array_of(const struct golden *golden, const char *name)
{
    const struct safetensors_tensor *tensor = safetensors_find(golden->file, name);
    assert_non_null(tensor);
    const size_t size = tensor->count * safetensors_type_size(tensor->type);
    void *copy = mem_aligned(size);
    assert_non_null(copy);
    memcpy(copy, tensor->data, size);
    return copy;
}

/* block <- the tensors PREFIX/.., each at its place. */
static float *block_of(const struct golden *golden, const char *prefix)
{
    const struct network_shape *shape = fitted_q_shape(golden->critic);
    float *block = mem_aligned(shape->size * sizeof *block);
    assert_non_null(block);
    for (int i = 0; i < shape->n_tensors; i++) {
        char name[96];
        snprintf(name, sizeof name, "%s/%s", prefix, shape->tensors[i].name);
        float *part = array_of(golden, name);
        memcpy(block + shape->tensors[i].at, part, shape->tensors[i].size * sizeof *part);
        mem_free(part);
    }
    return block;
}

static void open_case(struct golden *golden, int threads)
{
    struct err err;
    assert_int_equal(safetensors_read(&golden->file, CASE, 1 << 20, &err), STATUS_OK);
    double *heads = array_of(golden, "heads");
    golden->n_heads = (int)safetensors_find(golden->file, "heads")->shape[0];
    for (int h = 0; h < golden->n_heads; h++) {
        const double *head = heads + (size_t)h * 7;
        golden->heads[h] = (struct fitted_q_head){(int)head[0], (int)head[1], head[2], head[3],
                                                  head[4],      head[5],      head[6]};
    }
    mem_free(heads);
    const struct fitted_q_settings settings = {.O = 3,
                                               .A = 2,
                                               .K = 2,
                                               .C = 3,
                                               .M = 2,
                                               .H = golden->n_heads,
                                               .heads = golden->heads,
                                               .n_widths = 2,
                                               .widths = {6, 5},
                                               .lr = 1e-3,
                                               .target_rate = 0.25,
                                               .B = 7};
    assert_int_equal(thread_pool_new(&golden->pool, threads, &err), STATUS_OK);
    assert_int_equal(fitted_q_new(&golden->critic, &settings, golden->pool, &err), STATUS_OK);
    float *params = block_of(golden, "params"), *target = block_of(golden, "target");
    float *zero = mem_aligned(fitted_q_size(golden->critic) * sizeof *zero);
    const float *const blocks[FITTED_Q_BLOCKS] = {params, target, zero, zero};
    fitted_q_restore(golden->critic, blocks, 0);
    mem_free(params);
    mem_free(target);
    mem_free(zero);
    golden->batch = (struct fitted_q_batch){.B = 7,
                                            .x = array_of(golden, "x"),
                                            .a = array_of(golden, "a"),
                                            .next_x = array_of(golden, "next_x"),
                                            .next_a = array_of(golden, "next_a"),
                                            .r = array_of(golden, "r"),
                                            .d = array_of(golden, "d"),
                                            .weights = array_of(golden, "weights")};
}

static void close_case(struct golden *golden)
{
    mem_free((void *)(uintptr_t)golden->batch.x);
    mem_free((void *)(uintptr_t)golden->batch.a);
    mem_free((void *)(uintptr_t)golden->batch.next_x);
    mem_free((void *)(uintptr_t)golden->batch.next_a);
    mem_free((void *)(uintptr_t)golden->batch.r);
    mem_free((void *)(uintptr_t)golden->batch.d);
    mem_free((void *)(uintptr_t)golden->batch.weights);
    fitted_q_free(golden->critic);
    thread_pool_free(golden->pool);
    safetensors_free(golden->file);
}

static void loss_and_gradients_are_those_of_the_case(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads++) {
        struct golden golden = {0};
        const float *gradients;
        open_case(&golden, threads);
        const struct network_shape *shape = fitted_q_shape(golden.critic);
        const double loss = fitted_q_gradients(golden.critic, &golden.batch, &gradients);
        double *expected = array_of(&golden, "loss");
        assert_true(fabs(loss - *expected) < 1e-5 * fabs(*expected));
        mem_free(expected);
        /* Ours are sums over transitions and heads, those of the case are by the mean. */
        const double n = 7.0 * golden.n_heads;
        double worst = 0;
        for (int i = 0; i < shape->n_tensors; i++) {
            char name[96];
            snprintf(name, sizeof name, "gradients/%s", shape->tensors[i].name);
            double *want = array_of(&golden, name);
            for (size_t j = 0; j < shape->tensors[i].size; j++) {
                const double have = (double)gradients[shape->tensors[i].at + j] / n;
                worst = fmax(worst, fabs(have - want[j]));
            }
            mem_free(want);
        }
        printf("threads %d: largest error of a gradient %.2g\n", threads, worst);
        assert_true(worst < 1e-6);
        close_case(&golden);
    }
}

static void values_are_those_of_the_case(void **state)
{
    (void)state;
    struct golden golden = {0};
    open_case(&golden, 2);
    double *want = array_of(&golden, "values");
    double have[7 * 8];
    fitted_q_values(golden.critic, have, golden.batch.next_x, golden.batch.next_a, 7);
    for (int i = 0; i < 7 * golden.n_heads; i++) {
        assert_true(fabs(have[i] - want[i]) < 1e-5);
    }
    mem_free(want);
    close_case(&golden);
}

static void the_target_follows_the_critic(void **state)
{
    (void)state;
    struct golden golden = {0};
    open_case(&golden, 2);
    const size_t size = fitted_q_size(golden.critic);
    float *before = mem_aligned(size * sizeof *before);
    memcpy(before, fitted_q_read(golden.critic, FITTED_Q_TARGET), size * sizeof *before);
    assert_true(isfinite(fitted_q_step(golden.critic, &golden.batch, 1)));
    const float *now = fitted_q_read(golden.critic, FITTED_Q_PARAMS);
    const float *target = fitted_q_read(golden.critic, FITTED_Q_TARGET);
    for (size_t i = 0; i < size; i++) {
        const float expected = before[i] + 0.25f * (now[i] - before[i]);
        assert_true(fabsf(target[i] - expected) <= 1e-6f * (1 + fabsf(expected)));
    }
    mem_free(before);
    close_case(&golden);
}

/* ---- A plant of known values ---- */

/* The state becomes (1 + action) / 2. The reward is state + 0.3 action; a tenth of the steps are an
 * episode's last. The policy that always takes action c is worth, with g = 0.9 gamma,
 *
 *     V(s) = s + k,   k = 0.3 c + g ((1 + c) / 2 + k) */
#define N_ACTIONS 4
static const double actions[N_ACTIONS] = {-0.6, -0.2, 0.2, 0.6};

static double known_value(double s, double c, double gamma)
{
    const double g = 0.9 * gamma;
    return s + (0.3 * c + g * (1 + c) / 2) / (1 - g);
}

static void values_of_a_plant_are_found(void **state)
{
    (void)state;
    struct fitted_q_head heads[N_ACTIONS];
    for (int c = 0; c < N_ACTIONS; c++) {
        heads[c] = (struct fitted_q_head){.column = c,
                                          .gamma = 0.95,
                                          .offset = 2,
                                          .scale = 2,
                                          .low = (double)-INFINITY,
                                          .high = (double)INFINITY};
    }
    enum { B = 128 };
    const struct fitted_q_settings settings = {.O = 1,
                                               .A = 1,
                                               .K = 1,
                                               .C = N_ACTIONS,
                                               .M = 1,
                                               .H = N_ACTIONS,
                                               .heads = heads,
                                               .n_widths = 2,
                                               .widths = {32, 32},
                                               .lr = 2e-3,
                                               .target_rate = 0.1,
                                               .B = B,
                                               .seed = 3};
    struct err err;
    struct thread_pool *pool;
    struct fitted_q *critic;
    assert_int_equal(thread_pool_new(&pool, 1, &err), STATUS_OK);
    assert_int_equal(fitted_q_new(&critic, &settings, pool, &err), STATUS_OK);
    struct rng rng;
    rng_init(&rng, 11, "plant", 0);
    static float x[B], a[B], next_x[B], next_a[B * N_ACTIONS], r[B], d[B];
    const int steps = 2500;
    for (int step = 0; step < steps; step++) {
        for (int b = 0; b < B; b++) {
            x[b] = (float)rng_uniform(&rng);
            a[b] = (float)(2 * rng_uniform(&rng) - 1);
            next_x[b] = (1 + a[b]) / 2;
            r[b] = x[b] + 0.3f * a[b];
            d[b] = rng_uniform(&rng) < 0.1 ? 0.0f : 1.0f;
            for (int c = 0; c < N_ACTIONS; c++) {
                next_a[b * N_ACTIONS + c] = (float)actions[c];
            }
        }
        const struct fitted_q_batch batch = {
            .B = B, .x = x, .a = a, .next_x = next_x, .next_a = next_a, .r = r, .d = d};
        fitted_q_step(critic, &batch, 1 - 0.9 * step / steps);
    }
    const float starts[2] = {0, 1};
    float of_starts[2 * N_ACTIONS];
    double q[2 * N_ACTIONS];
    for (int i = 0; i < 2 * N_ACTIONS; i++) {
        of_starts[i] = (float)actions[i % N_ACTIONS];
    }
    fitted_q_values(critic, q, starts, of_starts, 2);
    for (int i = 0; i < 2 * N_ACTIONS; i++) {
        const double want =
            known_value((double)starts[i / N_ACTIONS], actions[i % N_ACTIONS], 0.95);
        printf("state %d action %4.1f: %.3f, known %.3f\n", i / N_ACTIONS, actions[i % N_ACTIONS],
               q[i], want);
        assert_true(fabs(q[i] - want) < 0.3);
    }
    fitted_q_free(critic);
    thread_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_and_gradients_are_those_of_the_case),
        cmocka_unit_test(values_are_those_of_the_case),
        cmocka_unit_test(the_target_follows_the_critic),
        cmocka_unit_test(values_of_a_plant_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
