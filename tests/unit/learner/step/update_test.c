/* The step as a whole: the same bits again; threads, ranks and the plain kernels agree; what must
 * not be read is not; what is not finite is refused and leaves the state alone. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/kernels.h"
#include "learner/step/algorithm.h"
#include "learner/step/operators.h"
#include "learner/step/update.h"
#include "tests/lib/check.h"
#include "tests/lib/learning.h"

enum { B = 30, N = 7, STEPS = 4 };

static struct state *new_state(const struct settings *settings)
{
    struct state *state;
    struct err err;
    assert_int_equal(state_new(&state, settings, &err), STATUS_OK);
    return state;
}

static struct update *new_update(const struct settings *settings, int threads)
{
    struct update *update;
    struct err err;
    assert_int_equal(update_new(&update, settings, B, N, threads, &err), STATUS_OK);
    return update;
}

/* STEPS steps from the start on `threads` threads; the caller frees. */
static struct state *run(const struct settings *settings, int threads, struct report *report)
{
    struct state *state = new_state(settings);
    struct update *update = new_update(settings, threads);
    for (int i = 0; i < STEPS; i++) {
        struct batch batch = learning_batch(settings, B, N, 100 + (uint64_t)i);
        struct err err;
        if (update_step(update, state, &batch, NULL, report, &err) != STATUS_OK) {
            fail_msg("%s", err.text);
        }
        learning_free(&batch);
    }
    update_free(update);
    return state;
}

/* Within `tolerance` of a learning rate everywhere: Adam's first steps are about one rate each. */
static void assert_near(const struct state *a, const struct state *b, double tolerance,
                        const char *what)
{
    double worst = 0.0;
    for (size_t i = 0; i < state_layout(a)->size; i++) {
        worst = fmax(worst, fabs((double)state_read(a, STATE_PARAMS)[i] -
                                 (double)state_read(b, STATE_PARAMS)[i]));
    }
    print_message("%s: parameters differ by %.1e of a learning rate\n", what, worst / 1e-2);
    assert_true(worst < tolerance * 1e-2);
}

static void the_same_run_gives_the_same_bits(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < learning_variants(); i++) {
        char name[64];
        const struct settings settings = learning_variant(i, name);
        for (int threads = 1; threads <= 3; threads++) {
            struct state *a = run(&settings, threads, NULL);
            struct state *b = run(&settings, threads, NULL);
            assert_int_equal(state_step(a), STEPS);
            assert_int_equal(state_digest(a), state_digest(b));
            assert_memory_equal(state_read(a, STATE_V), state_read(b, STATE_V),
                                state_layout(a)->size * sizeof(float));
            state_free(a);
            state_free(b);
        }
    }
}

static void thread_counts_and_kernels_agree(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < learning_variants(); i++) {
        char name[64];
        struct settings settings = learning_variant(i, name);
        settings.adam_eps =
            1e-4; /* or the sign of a gradient of 1e-9 would count for a whole rate */
        struct state *one = run(&settings, 1, NULL);
        static const int counts[] = {2, 3, 5, 11, 23};
        for (size_t n = 0; n < sizeof counts / sizeof counts[0]; n++) {
            struct state *many = run(&settings, counts[n], NULL);
            assert_near(many, one, 2e-3, name);
            state_free(many);
        }
        /* The last two have float from two parts of bf16. */
        static const char *const kernels[] = {"plain", "amx-x2", "amx-x2-emulated"};
        for (size_t k = 0; k < sizeof kernels / sizeof kernels[0]; k++) {
            if (kernels_select(kernels[k], NULL) != STATUS_OK) {
                continue;
            }
            struct state *other = run(&settings, 2, NULL);
            struct state *again = run(&settings, 2, NULL);
            assert_int_equal(kernels_select("best", NULL), STATUS_OK);
            assert_near(other, one, 2e-3, kernels[k]);
            assert_int_equal(state_digest(other), state_digest(again));
            state_free(other);
            state_free(again);
        }
        state_free(one);
    }
}

/* A step that normalizes is the step without, on observations that were normalized before: the same
 * bits of everything, for every algorithm; and the normalizer itself does not change. */
static void normalizing_is_learning_from_normalized_rows(void **unused)
{
    (void)unused;
    static const float mean[5] = {3e4f, -2, 0.5f, 7, 0}, scale[5] = {1e-3f, 4, 0, 1, 1e3f};
    const struct normalizer normalizer = {mean, scale, 5};
    for (size_t i = 0; i < learning_variants(); i++) {
        char name[64];
        const struct settings settings = learning_variant(i, name);
        struct settings standard = settings;
        standard.normalize = NORMALIZE_STANDARD;
        struct state *state = new_state(&settings), *normalizing = new_state(&standard);
        struct update *update = new_update(&settings, 2), *other = new_update(&standard, 2);
        state_set_normalizer(normalizing, mean, scale);
        for (uint64_t t = 0; t < STEPS; t++) {
            struct batch raw = learning_batch(&settings, B, N, 100 + t);
            struct batch before = learning_batch(&settings, B, N, 100 + t);
            const size_t W = (size_t)settings_row_width(&settings);
            float *rows = (float *)(uintptr_t)before.rows;
            for (size_t r = 0; r < (size_t)B * (N + 1); r++) {
                normalizer_apply(&normalizer, rows + r * W, rows + r * W);
            }
            struct err err;
            assert_int_equal(update_step(update, state, &before, NULL, NULL, &err), STATUS_OK);
            assert_int_equal(update_step(other, normalizing, &raw, NULL, NULL, &err), STATUS_OK);
            learning_free(&raw);
            learning_free(&before);
        }
        for (int block = 0; block < STATE_BLOCKS; block++) {
            assert_memory_equal(state_read(state, (enum state_block)block),
                                state_read(normalizing, (enum state_block)block),
                                state_layout(state)->size * sizeof(float));
        }
        const struct normalizer after = state_normalizer(normalizing);
        assert_int_equal(after.O, 5);
        assert_memory_equal(after.mean, mean, sizeof mean);
        assert_memory_equal(after.scale, scale, sizeof scale);
        update_free(update);
        update_free(other);
        state_free(state);
        state_free(normalizing);
    }
}

/* Averages follow the parameters, which they do not change: checked in double after each step. The
 * duals have none. */
static void averages_follow_the_parameters(void **unused)
{
    (void)unused;
    for (size_t v = 0; v < learning_variants(); v++) {
        char name[64];
        const struct settings settings = learning_variant(v, name);
        struct settings averaging = settings;
        averaging.policy_average = 0.3;
        struct state *state = new_state(&settings), *averaged = new_state(&averaging);
        struct update *update = new_update(&settings, 2), *other = new_update(&averaging, 3);
        const struct parameters_layout *layout = state_layout(state);
        const size_t n = layout->size;
        double *expected = mem_array(n, sizeof *expected);
        assert_non_null(expected);
        for (size_t i = 0; i < n; i++) {
            expected[i] = (double)state_read(averaged, STATE_PARAMS)[i];
        }
        for (int t = 1; t <= STEPS; t++) {
            struct batch batch = learning_batch(&settings, B, N, 100 + (uint64_t)t);
            struct err err;
            assert_int_equal(update_step(update, state, &batch, NULL, NULL, &err), STATUS_OK);
            learning_free(&batch);
            batch = learning_batch(&settings, B, N, 100 + (uint64_t)t);
            assert_int_equal(update_step(other, averaged, &batch, NULL, NULL, &err), STATUS_OK);
            learning_free(&batch);
            const double decay = fmin(0.3, (1.0 + t) / (10.0 + t));
            for (int k = 0; k < layout->n_groups; k++) {
                const struct parameters_group *group = &layout->groups[k];
                for (size_t i = group->at; group->is_network && i < group->at + group->size; i++) {
                    expected[i] = decay * expected[i] +
                                  (1.0 - decay) * (double)state_read(averaged, STATE_PARAMS)[i];
                }
            }
        }
        for (int k = 0; k < layout->n_groups; k++) {
            const struct parameters_group *group = &layout->groups[k];
            for (size_t i = group->at; group->is_network && i < group->at + group->size; i++) {
                const double average = (double)state_read(averaged, STATE_AVERAGE)[i];
                assert_true(fabs(average - expected[i]) <= 1e-6 * fmax(1.0, fabs(expected[i])));
            }
        }
        assert_near(averaged, state, 2e-3, name); /* the same steps, on other threads */
        mem_free(expected);
        update_free(update);
        update_free(other);
        state_free(state);
        state_free(averaged);
    }
}

/* A step with a reward scale is the step on rewards that were multiplied before: the same bits of
 * everything; but values are reported in the units of the logs. The factor is a power of 2, so that
 * no rounding differs. */
static void a_reward_scale_is_learning_from_scaled_rewards(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < learning_variants(); i++) {
        char name[64];
        const struct settings settings = learning_variant(i, name);
        struct settings scaled = settings;
        scaled.reward_scale = 8;
        struct state *state = new_state(&settings), *scaling = new_state(&scaled);
        struct update *update = new_update(&settings, 2), *other = new_update(&scaled, 2);
        for (uint64_t t = 0; t < STEPS; t++) {
            struct batch raw = learning_batch(&settings, B, N, 100 + t);
            struct batch before = learning_batch(&settings, B, N, 100 + t);
            const size_t W = (size_t)settings_row_width(&settings);
            float *rows = (float *)(uintptr_t)before.rows;
            for (size_t r = 0; r < (size_t)B * (N + 1); r++) {
                for (int k = 0; k < settings.K; k++) {
                    rows[r * W + (size_t)(settings.O + settings.A + k)] *= 8.0f;
                }
            }
            struct err err;
            struct report report, scaled_report;
            assert_int_equal(update_step(update, state, &before, NULL, &report, &err), STATUS_OK);
            assert_int_equal(update_step(other, scaling, &raw, NULL, &scaled_report, &err),
                             STATUS_OK);
            assert_true(report_find(&report, "target_mean")->values[0] ==
                        8 * report_find(&scaled_report, "target_mean")->values[0]);
            assert_true(report_find(&report, "critic_loss")->values[0] ==
                        report_find(&scaled_report, "critic_loss")->values[0]);
            learning_free(&raw);
            learning_free(&before);
        }
        assert_int_equal(state_digest(state), state_digest(scaling));
        update_free(update);
        update_free(other);
        state_free(state);
        state_free(scaling);
    }
}

/* The i-th of two ways to learn in bf16: evaluations of sampled actions, or all passes. */
static void set_bf16(struct settings *settings, int i)
{
    settings->precision = i == 0 ? PRECISION_F32 : PRECISION_BF16;
    settings->evaluation_precision = PRECISION_BF16;
}
static const char *const bf16_ways[] = {"evaluations", "all passes"};

static struct settings bf16_settings(const char *algorithm, int K, int T)
{
    struct settings settings = learning_settings(algorithm, K, T);
    settings.adam_eps = 1e-4;
    settings.target_period = 2; /* so that targets are packed again on the way */
    if (settings.algorithm == ALGORITHM_CRR) {
        settings.prior_f = PRIOR_F_EXP; /* step jumps where rounding turns an advantage's sign */
    }
    return settings;
}

/* Sums in another order round differently, and a number near the middle between two bf16 may then be
 * rounded to the other one. */
static void check_bf16_agrees(const struct settings *settings, double tolerance)
{
    static const char *const kernels[] = {"plain", "avx2", "avx512", "avx512bf16", "amx-emulated"};
    struct state *a = run(settings, 2, NULL);
    struct state *b = run(settings, 2, NULL);
    assert_int_equal(state_digest(a), state_digest(b));
    state_free(b);
    b = run(settings, 5, NULL);
    assert_near(b, a, tolerance, settings_algorithm_name(settings->algorithm));
    state_free(b);
    for (size_t k = 0; k < sizeof kernels / sizeof kernels[0]; k++) {
        if (kernels_select(kernels[k], NULL) != STATUS_OK) {
            continue;
        }
        b = run(settings, 2, NULL);
        struct state *again = run(settings, 2, NULL);
        assert_int_equal(state_digest(b), state_digest(again));
        assert_int_equal(kernels_select("best", NULL), STATUS_OK);
        assert_near(b, a, tolerance, kernels[k]);
        state_free(b);
        state_free(again);
    }
    state_free(a);
}

static void bf16_gives_the_same_bits_and_its_kernels_agree(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < 2 * ALGORITHM_COUNT; i++) {
        struct settings settings =
            bf16_settings(settings_algorithm_name((enum settings_algorithm)(i / 2)), 2, 2);
        set_bf16(&settings, (int)(i % 2));
        check_bf16_agrees(&settings, 2e-3);
    }
}

/* Critics start almost flat; heads 100 times as large make an error of their layers visible. The
 * size of Q that td3+bc has measured grows with them. */
static void steepen_critics(struct state *state)
{
    for (int k = 0; k < state_layout(state)->n_groups; k++) {
        const struct parameters_group *group = &state_layout(state)->groups[k];
        if (strcmp(group->name, "scale") == 0) {
            state_write(state, STATE_PARAMS)[group->at] *= 100.0f;
        }
        for (int t = 0; strncmp(group->name, "critic", 6) == 0 && t < group->n_tensors; t++) {
            const struct network_tensor *tensor = &group->tensors[t];
            for (size_t j = 0; strstr(tensor->name, "out/") != NULL && j < tensor->size; j++) {
                state_write(state, STATE_PARAMS)[group->at + tensor->at + j] *= 100.0f;
                state_write(state, STATE_TARGETS)[group->at + tensor->at + j] *= 100.0f;
            }
        }
    }
}

/* Losses and gradients of one step from the same state, batch and noise. The tolerances are what
 * three roundings of 2^-9 in a row can do, generously; that there is a difference at all shows that
 * bf16 was used. */
static void bf16_is_near_f32(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < 2 * ALGORITHM_COUNT; i++) {
        const int way = (int)(i % 2);
        struct settings settings =
            bf16_settings(settings_algorithm_name((enum settings_algorithm)(i / 2)), 2, 2);
        struct state *states[2];
        struct update *updates[2];
        static struct report reports[2];
        struct batch batch = learning_batch(&settings, B, N, 9);
        for (int p = 0; p < 2; p++) {
            struct err err;
            /* From weights that a few steps in float have made. */
            settings.precision = PRECISION_F32;
            settings.evaluation_precision = PRECISION_F32;
            states[p] = run(&settings, 2, NULL);
            if (p == 1) {
                set_bf16(&settings, way);
            }
            steepen_critics(states[p]);
            updates[p] = new_update(&settings, 2);
            assert_int_equal(update_step(updates[p], states[p], &batch, NULL, &reports[p], &err),
                             STATUS_OK);
        }
        for (int v = 0; v < reports[0].n_values; v++) {
            const double f32 = reports[0].values[v].values[0];
            const double bf16 = reports[1].values[v].values[0];
            if (!(fabs(f32 - bf16) <= 0.02 * fabs(f32) + 0.02)) {
                fail_msg("%s: %s is %.9g, in bf16 %.9g",
                         settings_algorithm_name(settings.algorithm), reports[0].values[v].name,
                         f32, bf16);
            }
        }
        const float *f32 = update_last_gradients(updates[0]);
        const float *bf16 = update_last_gradients(updates[1]);
        double squares = 0.0;
        double errors = 0.0;
        for (size_t j = 0; j < state_layout(states[0])->size; j++) {
            squares += (double)f32[j] * (double)f32[j];
            errors += (double)(f32[j] - bf16[j]) * (double)(f32[j] - bf16[j]);
        }
        print_message("%s, %s: gradients differ by %.1e of their norm\n",
                      settings_algorithm_name(settings.algorithm), bf16_ways[way],
                      sqrt(errors / squares));
        /* In iql no critic evaluates sampled actions. */
        const bool is_same = way == 0 && settings.algorithm == ALGORITHM_IQL;
        assert_true((sqrt(errors / squares) > 1e-5) == !is_same);
        assert_true(sqrt(errors / squares) < 0.01);
        for (int p = 0; p < 2; p++) {
            update_free(updates[p]);
            state_free(states[p]);
        }
        learning_free(&batch);
    }
}

/* weights(B) <- importance weights, between 0.1 and 3. */
static void draw_weights(double weights[B], uint64_t seed)
{
    for (uint64_t b = 0; b < B; b++) {
        weights[b] = 0.1 + 2.9 * (double)noise_below(1000, seed, 0, 77, b) / 999.0;
    }
}

/* Equal weights are no weights: by powers of two, so that not even a rounding differs. */
static void equal_weights_change_no_bit(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < learning_variants(); i++) {
        char name[64];
        const struct settings settings = learning_variant(i, name);
        struct state *plain = run(&settings, 2, NULL);
        struct state *state = new_state(&settings);
        struct update *update = new_update(&settings, 2);
        double weights[B];
        static struct report report;
        for (uint64_t t = 0; t < STEPS; t++) {
            struct batch batch = learning_batch(&settings, B, N, 100 + t);
            struct err err;
            for (int b = 0; b < B; b++) {
                weights[b] = t % 2 == 0 ? 1.0 : 0.25;
            }
            batch.weights = weights;
            assert_int_equal(update_step(update, state, &batch, NULL, &report, &err), STATUS_OK);
            assert_true(report_find(&report, "importance_weight")->values[0] == 1.0);
            learning_free(&batch);
        }
        assert_int_equal(state_digest(state), state_digest(plain));
        update_free(update);
        state_free(state);
        state_free(plain);
    }
}

/* The gradient of a weighted batch is the weighted sum of those of its snippets, for what is fitted
 * to logged data, and the plain sum for what improves on samples. */
static void assert_weighted_gradients(const struct settings *settings)
{
    struct state *state = new_state(settings);
    struct update *update = new_update(settings, 3);
    struct batch batch = learning_batch(settings, B, N, 9);
    const struct parameters_layout *layout = state_layout(state);
    const size_t row_floats = (size_t)settings_row_width(settings) * (N + 1);
    double *want = mem_array(layout->size, sizeof *want);
    double weights[B], states = 0, largest = 0;
    struct td_error errors[B];
    struct err err;
    draw_weights(weights, 4);
    for (int b = 0; b < B; b++) {
        const struct batch one = {.rows = batch.rows + (size_t)b * row_floats,
                                  .n_valid = batch.n_valid + b,
                                  .tasks = batch.tasks + b * settings->T,
                                  .B = 1,
                                  .N = N,
                                  .begin = (uint64_t)b};
        assert_int_equal(update_gradients(update, state, &one, NULL, &err), STATUS_OK);
        errors[b] = update_td_error(update, 0);
        assert_true(errors[b].mean > 0 && errors[b].largest >= errors[b].mean);
        states += (double)batch.n_valid[b] * settings->T;
        largest = fmax(largest, weights[b]);
        for (int k = 0; k < layout->n_groups; k++) {
            const struct parameters_group *group = &layout->groups[k];
            const bool weighs = algorithm_weighs(algorithm_of(settings), group->name);
            for (size_t j = group->at; j < group->at + group->size; j++) {
                want[j] += (weighs ? weights[b] : 1.0) * (double)update_sums(update).gradients[j];
            }
        }
    }
    batch.weights = weights;
    assert_int_equal(update_gradients(update, state, &batch, NULL, &err), STATUS_OK);
    for (int b = 0; b < B; b++) {
        assert_true(fabs(update_td_error(update, b).mean - errors[b].mean) < 1e-4 * errors[b].mean);
        assert_true(fabs(update_td_error(update, b).largest - errors[b].largest) <
                    1e-4 * errors[b].largest);
    }
    const float *got = update_last_gradients(update);
    for (int k = 0; k < layout->n_groups; k++) {
        const struct parameters_group *group = &layout->groups[k];
        const bool weighs = algorithm_weighs(algorithm_of(settings), group->name);
        double difference = 0, norm = 0;
        for (size_t j = group->at; group->is_network && j < group->at + group->size; j++) {
            const double mean = want[j] / (states * (weighs ? largest : 1.0));
            difference += ((double)got[j] - mean) * ((double)got[j] - mean);
            norm += mean * mean;
        }
        if (sqrt(difference) > 2e-5 * sqrt(norm)) {
            fail_msg("%s, %s: off by %.1e", settings_algorithm_name(settings->algorithm),
                     group->name, sqrt(difference / norm));
        }
    }
    mem_free(want);
    learning_free(&batch);
    update_free(update);
    state_free(state);
}

static void weights_weigh_snippets(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < learning_variants(); i++) {
        char name[64];
        struct settings settings = learning_variant(i, name);
        assert_weighted_gradients(&settings);
    }
}

/* Two ranks, each with its slice of the batch and noise by global position, add their sums. With
 * weights, the largest of which only one of them has. */
static void two_ranks_equal_one(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < 2 * (size_t)ALGORITHM_COUNT; i++) {
        struct settings settings =
            learning_settings(settings_algorithm_name((enum settings_algorithm)(i / 2)), 3, 1);
        settings.adam_eps = 1e-4;
        double weights[B];
        struct state *whole = new_state(&settings);
        struct state *ranks[2] = {new_state(&settings), new_state(&settings)};
        struct update *update = new_update(&settings, 2);
        struct update *parts[2] = {new_update(&settings, 1), new_update(&settings, 2)};
        enum { cut = 11 };
        static struct report report, part_report;
        for (int step = 0; step < STEPS; step++) {
            struct batch batch = learning_batch(&settings, B, N, 200 + (uint64_t)step);
            const size_t row_floats = (size_t)settings_row_width(&settings) * (N + 1);
            draw_weights(weights, (uint64_t)step);
            batch.weights = i % 2 == 0 ? NULL : weights;
            struct batch slices[2] = {batch, batch};
            slices[0].B = cut;
            slices[1].rows += cut * row_floats;
            slices[1].n_valid += cut;
            slices[1].tasks += (size_t)cut * (size_t)settings.T;
            slices[1].weights = batch.weights != NULL ? weights + cut : NULL;
            slices[1].B = B - cut;
            slices[1].begin = cut;
            slices[1].part = 1;
            struct err err;
            assert_int_equal(update_step(update, whole, &batch, NULL, &report, &err), STATUS_OK);
            struct update_sums sums[2];
            for (int r = 0; r < 2; r++) {
                assert_int_equal(update_gradients(parts[r], ranks[r], &slices[r], NULL, &err),
                                 STATUS_OK);
                sums[r] = update_sums(parts[r]);
            }
            for (size_t j = 0; j < sums[0].n_gradients; j++) {
                sums[0].gradients[j] += sums[1].gradients[j];
            }
            for (size_t j = 0; j < sums[0].n_scalars; j++) {
                sums[0].scalars[j] += sums[1].scalars[j];
            }
            memcpy(sums[1].gradients, sums[0].gradients, sums[0].n_gradients * sizeof(float));
            memcpy(sums[1].scalars, sums[0].scalars, sums[0].n_scalars * sizeof(double));
            for (int r = 0; r < 2; r++) {
                assert_int_equal(update_apply(parts[r], ranks[r], &part_report, &err), STATUS_OK);
            }
            /* The ranks have the same bits, whatever their numbers of threads. */
            assert_int_equal(state_digest(ranks[0]), state_digest(ranks[1]));
            assert_true(part_report.n_states == report.n_states);
            for (int v = 0; v < report.n_values; v++) {
                const double a = report.values[v].values[0];
                const double b = part_report.values[v].values[0];
                if (!(fabs(a - b) < 1e-4 * fmax(1.0, fabs(a)))) {
                    fail_msg("%s: %.9g of the whole batch, %.9g of two slices",
                             report.values[v].name, a, b);
                }
            }
            learning_free(&batch);
        }
        assert_near(ranks[0], whole, 2e-3, "two ranks");
        update_free(update);
        state_free(whole);
        for (int r = 0; r < 2; r++) {
            update_free(parts[r]);
            state_free(ranks[r]);
        }
    }
}

/* A step that draws its noise, and one that is given the same numbers. */
static void compare_noise(const char *name, int T)
{
    const struct settings settings = learning_settings(name, 2, T);
    const struct algorithm *algorithm = algorithm_of(&settings);
    struct state *a = new_state(&settings);
    struct state *b = new_state(&settings);
    struct update *update = new_update(&settings, 2);
    struct batch batch = learning_batch(&settings, B, N, 5);
    const size_t per_sample = (size_t)(settings.T * settings.A);
    const size_t n[3] = {B * (N + 1) * per_sample * (size_t)settings.M,
                         B * N * per_sample * (algorithm->improve_one ? 1 : (size_t)settings.M),
                         B * N * per_sample *
                             (algorithm->backup_one ? 1 : (size_t)settings.candidates)};
    float *z[3];
    for (uint32_t i = 0; i < 3; i++) {
        z[i] = mem_array(n[i], sizeof *z[i]);
        noise_normal(z[i], n[i], settings.seed, 0, i + 1, 0);
    }
    const struct noise noise = {.value = z[0], .improve = z[1], .backup = z[2]};
    struct err err;
    assert_int_equal(update_step(update, a, &batch, NULL, NULL, &err), STATUS_OK);
    assert_int_equal(update_step(update, b, &batch, &noise, NULL, &err), STATUS_OK);
    assert_int_equal(state_digest(a), state_digest(b));
    const bool improves = (algorithm->draws >> NOISE_IMPROVE & 1u) != 0;
    const struct noise incomplete = {
        .value = z[0], .improve = improves ? NULL : z[1], .backup = improves ? z[2] : NULL};
    assert_int_equal(update_step(update, b, &batch, &incomplete, NULL, &err), STATUS_INVALID);
    assert_string_equal(err.text,
                        improves ? "noise: improve is missing" : "noise: backup is missing");
    for (int i = 0; i < 3; i++) {
        mem_free(z[i]);
    }
    learning_free(&batch);
    update_free(update);
    state_free(a);
    state_free(b);
}

static void drawn_noise_is_that_of_the_arrays(void **unused)
{
    (void)unused;
    for (int T = 1; T <= 2; T++) {
        static const char *const names[] = {"abm+mpo", "svg", "bcq", "bear", "crr", "td3+bc"};
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            compare_noise(names[i], T);
        }
    }
}

static void what_is_not_finite_is_refused(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        const struct settings settings =
            learning_settings(settings_algorithm_name((enum settings_algorithm)i), 1, 1);
        struct state *state = new_state(&settings);
        struct update *update = new_update(&settings, 2);
        struct batch batch = learning_batch(&settings, B, N, 6);
        struct err err;
        assert_int_equal(update_step(update, state, &batch, NULL, NULL, &err), STATUS_OK);
        const uint64_t digest = state_digest(state);
        float *rows = (float *)(uintptr_t)batch.rows;
        /* An observation, an action, a reward, a discount of a valid row. */
        static const int columns[] = {0, 5, 7, 8};
        for (size_t c = 0; c < 4; c++) {
            for (int kind = 0; kind < 2; kind++) {
                /* An infinite action is clipped for the critic; only what is fitted to logged
                 * actions sees it. */
                if (columns[c] == 5 && kind == 1 &&
                    (settings.algorithm == ALGORITHM_MPO || settings.algorithm == ALGORITHM_SVG)) {
                    continue;
                }
                const float keep = rows[9 + columns[c]];
                rows[9 + columns[c]] = kind == 0 ? NAN : INFINITY;
                assert_int_equal(update_step(update, state, &batch, NULL, NULL, &err),
                                 STATUS_CORRUPT);
                assert_non_null(strstr(err.text, "learner step 2: "));
                assert_true(state_digest(state) == digest);
                rows[9 + columns[c]] = keep;
            }
        }
        learning_free(&batch);
        update_free(update);
        state_free(state);
    }
}

static void batches_out_of_range_are_refused(void **unused)
{
    (void)unused;
    const struct settings settings = learning_settings("abm+mpo", 1, 1);
    struct state *state = new_state(&settings);
    struct update *update = new_update(&settings, 1);
    struct batch batch = learning_batch(&settings, B + 1, N, 6);
    struct err err;
    assert_int_equal(update_step(update, state, &batch, NULL, NULL, &err), STATUS_INVALID);
    assert_string_equal(err.text, "batch of 31 snippets of 7: expected at most 30 of 7");
    batch.B = 3; /* fewer than the update was made for */
    assert_int_equal(update_step(update, state, &batch, NULL, NULL, &err), STATUS_OK);
    learning_free(&batch);
    update_free(update);
    state_free(state);
}

static void targets_are_copied_when_due(void **unused)
{
    (void)unused;
    static const char *const names[][2] = {{"abm+mpo", "critic"}, {"abm+mpo", "policy"},
                                           {"bcq", "perturb"},    {"bear", "critic2"},
                                           {"iql", "critic2"},    {"td3+bc", "policy"}};
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        const struct settings settings = learning_settings(names[n][0], 1, 1); /* every 3 steps */
        struct state *state = new_state(&settings);
        struct update *update = new_update(&settings, 2);
        const struct parameters_group *group = parameters_group(state_layout(state), names[n][1]);
        const size_t bytes = group->size * sizeof(float);
        for (int i = 1; i <= 7; i++) {
            struct batch batch = learning_batch(&settings, B, N, (uint64_t)i);
            struct err err;
            assert_int_equal(update_step(update, state, &batch, NULL, NULL, &err), STATUS_OK);
            const bool same = memcmp(state_read(state, STATE_PARAMS) + group->at,
                                     state_read(state, STATE_TARGETS) + group->at, bytes) == 0;
            assert_true(same == (i % 3 == 0));
            learning_free(&batch);
        }
        update_free(update);
        state_free(state);
    }
}

/* Nothing is allocated once the first step is done, whatever the batch. */
static void check_no_allocation(const char *algorithm)
{
    const struct settings settings = learning_settings(algorithm, 2, 2);
    struct state *state = new_state(&settings);
    struct update *update = new_update(&settings, 2);
    struct batch batches[3];
    for (uint64_t i = 0; i < 3; i++) {
        batches[i] = learning_batch(&settings, B, N, i);
    }
    memory_fail_at(1); /* the next allocation would fail the step */
    for (uint64_t i = 0; i < 3; i++) {
        struct err err;
        assert_int_equal(update_step(update, state, &batches[i], NULL, NULL, &err), STATUS_OK);
    }
    assert_null(mem_new(1)); /* the failure is still pending: no step allocated */
    memory_fail_at(0);
    for (uint64_t i = 0; i < 3; i++) {
        learning_free(&batches[i]);
    }
    update_free(update);
    state_free(state);
}

static void steps_do_not_allocate(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++) {
        check_no_allocation(settings_algorithm_name((enum settings_algorithm)i));
    }
}

static void no_memory_leaves_nothing_behind(void **unused)
{
    (void)unused;
    const struct settings settings = learning_settings("abm+mpo", 1, 1);
    for (uint64_t nth = 1;; nth++) {
        struct update *update;
        memory_fail_at(nth);
        const status s = update_new(&update, &settings, B, N, 2, NULL);
        memory_fail_at(0);
        if (s == STATUS_OK) {
            update_free(update);
            assert_true(nth > 8);
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
    }
}

/* The figures of docs/maths.md: 7.22 GFLOP for 64 full snippets of 8, 71.5 for 512 of 10. */
static void nominal_work_is_that_of_the_page(void **unused)
{
    (void)unused;
    struct settings settings = settings_default();
    settings.O = 17;
    settings.A = 6;
    assert_true(fabs(1e-9 * update_nominal_flop(&settings, 512, 64) - 7.22) < 0.005);
    assert_true(fabs(1e-9 * update_nominal_flop(&settings, 5120, 512) - 71.5) < 0.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_run_gives_the_same_bits),
        cmocka_unit_test(thread_counts_and_kernels_agree),
        cmocka_unit_test(normalizing_is_learning_from_normalized_rows),
        cmocka_unit_test(averages_follow_the_parameters),
        cmocka_unit_test(a_reward_scale_is_learning_from_scaled_rewards),
        cmocka_unit_test(bf16_gives_the_same_bits_and_its_kernels_agree),
        cmocka_unit_test(bf16_is_near_f32),
        cmocka_unit_test(equal_weights_change_no_bit),
        cmocka_unit_test(weights_weigh_snippets),
        cmocka_unit_test(two_ranks_equal_one),
        cmocka_unit_test(drawn_noise_is_that_of_the_arrays),
        cmocka_unit_test(what_is_not_finite_is_refused),
        cmocka_unit_test(batches_out_of_range_are_refused),
        cmocka_unit_test(targets_are_copied_when_due),
        cmocka_unit_test(steps_do_not_allocate),
        cmocka_unit_test(no_memory_leaves_nothing_behind),
        cmocka_unit_test(nominal_work_is_that_of_the_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
