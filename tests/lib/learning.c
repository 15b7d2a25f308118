/* Random batches and settings for tests of the learner step.
 *
 * A row is observation, action, K rewards and discount. Everything that the step must not read
 * (rows beyond n_valid, and all but the observation of a snippet's last row) is NaN, so reading it
 * shows in the results. */
#include "tests/lib/learning.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "learner/step/algorithm.h"

struct settings learning_settings(const char *algorithm, int K, int T)
{
    struct settings settings = settings_default();
    struct err err;
    ASSERT(settings_set(&settings, "algorithm", algorithm, &err) == STATUS_OK);
    settings.O = 5;
    settings.A = 2;
    settings.K = K;
    settings.T = T;
    settings.M = 5;
    settings.n_widths = 2;
    settings.widths[0] = 16;
    settings.widths[1] = 12;
    settings.target_period = 3;
    settings.seed = 11;
    ASSERT(settings_check(&settings, &err) == STATUS_OK);
    return settings;
}

/* Choices of options that the two variants of each algorithm do not cover. */
static const struct {
    const char *algorithm, *likelihood, *f;
} CHOICES[] = {
    {"abm+mpo", "gaussian", "exp"}, {"abm+mpo", "censored", "step"}, {"abm", "censored", "exp"},
    {"abm+svg", "censored", "exp"}, {"bm+mpo", "censored", "step"},  {"bear", "censored", "step"},
    {"bcq", "censored", "step"},    {"crr", "censored", "exp"},      {"iql", "censored", "step"}};

size_t learning_variants(void)
{
    return 2 * (size_t)ALGORITHM_COUNT + sizeof CHOICES / sizeof CHOICES[0];
}

struct settings learning_variant(size_t i, char name[64])
{
    ASSERT(i < learning_variants());
    if (i < 2 * (size_t)ALGORITHM_COUNT) {
        const bool drawn = i % 2 != 0;
        const char *algorithm = settings_algorithm_name((enum settings_algorithm)(i / 2));
        snprintf(name, 64, "%s, %s", algorithm, drawn ? "1 of 3 tasks" : "2 tasks");
        return learning_settings(algorithm, drawn ? 3 : 2, drawn ? 1 : 2);
    }

    i -= 2 * (size_t)ALGORITHM_COUNT;
    struct settings settings = learning_settings(CHOICES[i].algorithm, 2, 1);
    snprintf(name, 64, "%s, %s, %s", CHOICES[i].algorithm, CHOICES[i].likelihood, CHOICES[i].f);
    struct err err;
    status s = settings_set(&settings, "prior_likelihood", CHOICES[i].likelihood, &err);
    s = s != STATUS_OK ? s : settings_set(&settings, "prior_f", CHOICES[i].f, &err);
    s = s != STATUS_OK ? s : settings_check(&settings, &err);
    ASSERT(s == STATUS_OK);
    return settings;
}

/* `bootstrap`: the row after the last transition, which has an observation only. */
static void fill_row(float *row, const struct settings *settings, struct rng *rng, bool bootstrap)
{
    const int O = settings->O;
    const int A = settings->A;
    for (int i = 0; i < settings_row_width(settings); i++) {
        row[i] = (float)rng_normal(rng);
    }
    /* Some actions lie exactly at the limit, and some transitions end their episode. */
    for (int i = O; i < O + A; i++) {
        row[i] = rng_below(rng, 4) == 0 ? 1.0f : tanhf(row[i]);
    }
    row[O + A + settings->K] = rng_below(rng, 6) == 0 ? 0.0f : 1.0f;
    for (int i = O; bootstrap && i < settings_row_width(settings); i++) {
        row[i] = NAN;
    }
}

struct batch learning_batch(const struct settings *settings, int B, int N, uint64_t seed)
{
    const size_t W = (size_t)settings_row_width(settings);
    const size_t n_rows = (size_t)B * ((size_t)N + 1);
    float *rows = mem_array(n_rows * W, sizeof *rows);
    uint32_t *n_valid = mem_array((size_t)B, sizeof *n_valid);
    int32_t *tasks = mem_array((size_t)B * (size_t)settings->T, sizeof *tasks);
    ASSERT(rows != NULL && n_valid != NULL && tasks != NULL);
    struct rng rng;
    rng_init(&rng, seed, "batch", 0);
    for (size_t i = 0; i < n_rows * W; i++) {
        rows[i] = NAN;
    }
    /* The first snippet is full, the others have 1..N transitions. */
    for (size_t b = 0; b < (size_t)B; b++) {
        n_valid[b] = b == 0 ? (uint32_t)N : 1 + (uint32_t)rng_below(&rng, (uint64_t)N);
        for (size_t t = 0; t <= n_valid[b]; t++) {
            fill_row(rows + (b * ((size_t)N + 1) + t) * W, settings, &rng, t == n_valid[b]);
        }
    }
    batch_draw_tasks(tasks, settings, seed, 0, B);
    return (struct batch){.rows = rows, .n_valid = n_valid, .tasks = tasks, .B = B, .N = N};
}

void learning_free(struct batch *batch)
{
    mem_free((void *)(uintptr_t)batch->rows);
    mem_free((void *)(uintptr_t)batch->n_valid);
    mem_free((void *)(uintptr_t)batch->tasks);
}
