/* bench_learner [--algorithm=abm+mpo] [--snippets=64] [--transitions=8] [--observation=17]
 * [--actions=6] [--tasks=1]
 *               [--train_tasks=TASKS] [--samples=20] [--widths=256,256,256] [--threads=CORES]
 * [--rounds=5] [--seconds=1]
 *               [--kernels=best] [--json]
 *
 * How fast the learner steps, beside what OpenBLAS's sgemm reaches on the same cores in the same
 * run, as "name value unit" lines or one JSON object. Learner and sgemm take turns, round after
 * round; each figure is the best of its rounds.
 *
 *   learner_steps        steps a second, on full snippets, noise drawing and optimiser included
 *   learner_gflops       the same times the nominal work of a step (docs/maths.md, section 6;
 * matrix products only) sgemm_gflops         the best of the shapes below, all cores in one call
 *   learner_sgemm_ratio  learner_gflops / sgemm_gflops
 *   sgemm_MxNxK          each shape on its own */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/kernels.h"
#include "learner/state.h"
#include "learner/update.h"

/* Last: it brings in complex.h, and with it a macro I. */
#include <cblas.h>

struct options {
    struct settings settings;
    int snippets, transitions, threads, rounds;
    double seconds;
    bool json;
};

/* ---- sgemm ---- */

static const struct shape {
    int M, N, K;
} shapes[] = {{512, 256, 256}, {1024, 256, 256}, {10240, 256, 256},
              {512, 256, 17},  {10240, 256, 6},  {512, 12, 256}};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])
#define SGEMM_S  0.06 /* a shape, a round */

static float *noise_matrix(size_t n)
{
    float *matrix = mem_aligned(n * sizeof *matrix);
    ASSERT(matrix != NULL);
    noise_normal(matrix, n, 1, 0, 1, 0);
    return matrix;
}

/* GFLOP/s of y(M,N) = x(M,K) W(N,K)^T over about SGEMM_S. */
static double measure_sgemm(const struct shape *shape)
{
    const size_t M = (size_t)shape->M;
    const size_t N = (size_t)shape->N;
    const size_t K = (size_t)shape->K;
    float *x = noise_matrix(M * K);
    float *W = noise_matrix(N * K);
    float *y = mem_aligned(M * N * sizeof *y);
    ASSERT(y != NULL);
    double calls = -1.0; /* the first one is for warming up */
    uint64_t start_ns = 0;
    double elapsed_s = 0.0;
    do {
        if (calls == 0.0) {
            start_ns = clock_now_ns();
        }
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, shape->M, shape->N, shape->K, 1.0f, x,
                    shape->K, W, shape->K, 0.0f, y, shape->N);
        calls += 1.0;
        elapsed_s = calls > 0.0 ? 1e-9 * (double)(clock_now_ns() - start_ns) : 0.0;
    } while (elapsed_s < SGEMM_S);
    mem_free(x);
    mem_free(W);
    mem_free(y);
    return 2e-9 * (double)(M * N * K) * calls / elapsed_s;
}

/* OPENBLAS_CORETYPE is read when the library is loaded, and a wrong one halves sgemm: run again
 * without it. */
static void free_openblas(char **argv)
{
    const char *forced = getenv("OPENBLAS_CORETYPE");
    if (forced != NULL) {
        fprintf(stderr,
                "bench_learner: OPENBLAS_CORETYPE=%s is set, which may halve OpenBLAS: measuring "
                "without it\n",
                forced);
        unsetenv("OPENBLAS_CORETYPE");
        execv("/proc/self/exe", argv);
        perror("bench_learner: cannot start again without OPENBLAS_CORETYPE");
        exit(1);
    }
    const char *core = openblas_get_corename();
    if (__builtin_cpu_supports("avx512f") &&
        (strcmp(core, "Haswell") == 0 || strcmp(core, "Zen") == 0)) {
        fprintf(stderr,
                "bench_learner: OpenBLAS runs its %s kernels on a processor with AVX-512: its "
                "figures are low\n",
                core);
    }
}

/* ---- The learner ---- */

struct bench {
    struct state *state;
    struct update *update;
    struct batch batch;
    float *rows;
    uint32_t *n_valid;
    int32_t *tasks;
};

static void fill_batch(struct bench *bench, const struct options *options)
{
    const struct settings *settings = &options->settings;
    const size_t B = (size_t)options->snippets;
    const size_t rows = B * ((size_t)options->transitions + 1);
    const size_t W = (size_t)settings_row_width(settings);
    const size_t O = (size_t)settings->O;
    const size_t A = (size_t)settings->A;
    bench->rows = noise_matrix(rows * W);
    bench->n_valid = mem_array(B, sizeof *bench->n_valid);
    bench->tasks = mem_array(B * (size_t)settings->T, sizeof *bench->tasks);
    ASSERT(bench->n_valid != NULL && bench->tasks != NULL);
    for (size_t row = 0; row < rows; row++) {
        float *at = bench->rows + row * W;
        for (size_t i = O; i < O + A; i++) {
            at[i] = tanhf(at[i]);
        }
        at[W - 1] = 1.0f;
    }
    for (size_t b = 0; b < B; b++) {
        bench->n_valid[b] = (uint32_t)options->transitions;
    }
    batch_draw_tasks(bench->tasks, settings, 0, 0, options->snippets);
    bench->batch = (struct batch){.rows = bench->rows,
                                  .n_valid = bench->n_valid,
                                  .tasks = bench->tasks,
                                  .B = options->snippets,
                                  .N = options->transitions};
}

static void open_bench(struct bench *bench, const struct options *options)
{
    struct err err;
    if (state_new(&bench->state, &options->settings, &err) != STATUS_OK ||
        update_new(&bench->update, &options->settings, options->snippets, options->transitions,
                   options->threads, &err) != STATUS_OK) {
        fprintf(stderr, "bench_learner: %s\n", err.text);
        exit(1);
    }
    fill_batch(bench, options);
}

static void close_bench(struct bench *bench)
{
    update_free(bench->update);
    state_free(bench->state);
    mem_free(bench->rows);
    mem_free(bench->n_valid);
    mem_free(bench->tasks);
}

/* Steps a second over about `seconds`. */
static double measure_steps(struct bench *bench, double seconds)
{
    struct err err;
    double steps = -1.0;
    uint64_t start_ns = 0;
    double elapsed_s = 0.0;
    do {
        if (steps == 0.0) {
            start_ns = clock_now_ns();
        }
        if (update_step(bench->update, bench->state, &bench->batch, NULL, NULL, &err) !=
            STATUS_OK) {
            fprintf(stderr, "bench_learner: %s\n", err.text);
            exit(1);
        }
        steps += 1.0;
        elapsed_s = steps > 0.0 ? 1e-9 * (double)(clock_now_ns() - start_ns) : 0.0;
    } while (elapsed_s < seconds);
    return steps / elapsed_s;
}

/* ---- Options and output ---- */

static bool option_int(const char *argument, const char *name, int *value)
{
    const size_t length = strlen(name);
    if (strncmp(argument, name, length) != 0) {
        return false;
    }
    *value = atoi(argument + length);
    return true;
}

static void parse(struct options *options, int argc, char **argv)
{
    struct settings *settings = &options->settings;
    int train_tasks = 0;
    const char *kernels = "best";
    struct err err = {0};
    status s = STATUS_OK;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strncmp(a, "--algorithm=", 12) == 0) {
            s = s != STATUS_OK ? s : settings_set(settings, "algorithm", a + 12, &err);
        } else if (strncmp(a, "--widths=", 9) == 0) {
            s = s != STATUS_OK ? s : settings_set(settings, "widths", a + 9, &err);
        } else if (strncmp(a, "--kernels=", 10) == 0) {
            kernels = a + 10;
        } else if (strncmp(a, "--seconds=", 10) == 0) {
            options->seconds = atof(a + 10);
        } else if (strcmp(a, "--json") == 0) {
            options->json = true;
        } else if (!option_int(a, "--snippets=", &options->snippets) &&
                   !option_int(a, "--transitions=", &options->transitions) &&
                   !option_int(a, "--observation=", &settings->O) &&
                   !option_int(a, "--actions=", &settings->A) &&
                   !option_int(a, "--tasks=", &settings->K) &&
                   !option_int(a, "--train_tasks=", &train_tasks) &&
                   !option_int(a, "--samples=", &settings->M) &&
                   !option_int(a, "--threads=", &options->threads) &&
                   !option_int(a, "--rounds=", &options->rounds)) {
            s = err_set(&err, STATUS_INVALID,
                        "unknown argument %s; see the head of bench_learner.c", a);
        }
    }
    settings->T = train_tasks > 0 ? train_tasks : settings->K;
    s = s != STATUS_OK ? s : settings_check(settings, &err);
    s = s != STATUS_OK ? s : kernels_select(kernels, &err);
    if (s == STATUS_OK &&
        (options->snippets < 1 || options->transitions < 1 || options->threads < 1 ||
         options->rounds < 1 || !(options->seconds > 0.0))) {
        s = err_set(&err, STATUS_INVALID, "numbers must be 1 or more");
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "bench_learner: %s\n", err.text);
        exit(2);
    }
}

static void print(const struct options *options, const char *name, double value, const char *unit,
                  bool last)
{
    if (options->json) {
        printf("\"%s\": {\"value\": %.4g, \"unit\": \"%s\"}%s", name, value, unit,
               last ? "}\n" : ", ");
    } else {
        printf("%s %.4g %s\n", name, value, unit);
    }
}

int main(int argc, char **argv)
{
    free_openblas(argv);
    struct options options = {.settings = settings_default(),
                              .snippets = 64,
                              .transitions = 8,
                              .rounds = 5,
                              .seconds = 1.0};
    options.settings.O = 17;
    options.settings.A = 6;
    options.threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    parse(&options, argc, argv);
    openblas_set_num_threads(options.threads);

    struct bench bench = {0};
    open_bench(&bench, &options);
    double sgemm[N_SHAPES] = {0};
    double steps = 0.0;
    for (int round = 0; round < options.rounds; round++) {
        for (size_t i = 0; i < N_SHAPES; i++) {
            sgemm[i] = fmax(sgemm[i], measure_sgemm(&shapes[i]));
        }
        steps = fmax(steps, measure_steps(&bench, options.seconds));
    }
    close_bench(&bench);

    double best = 0.0;
    for (size_t i = 0; i < N_SHAPES; i++) {
        best = fmax(best, sgemm[i]);
    }
    const double U = (double)options.snippets * options.settings.T;
    const double flop = update_nominal_flop(&options.settings, U * options.transitions, U);
    const double gflops = 1e-9 * steps * flop;
    fprintf(stderr,
            "%s, %d x %d, %d of %d tasks, %d threads, kernels %s, OpenBLAS %s, nominal %.3f GFLOP "
            "a step\n",
            options.settings.algorithm, options.snippets, options.transitions, options.settings.T,
            options.settings.K, options.threads, kernels_name(), openblas_get_corename(),
            1e-9 * flop);
    if (options.json) {
        printf("{");
    }
    for (size_t i = 0; i < N_SHAPES; i++) {
        char name[64];
        snprintf(name, sizeof name, "sgemm_%dx%dx%d", shapes[i].M, shapes[i].N, shapes[i].K);
        print(&options, name, sgemm[i], "GFLOP/s", false);
    }
    print(&options, "learner_steps", steps, "steps/s", false);
    print(&options, "learner_gflops", gflops, "GFLOP/s", false);
    print(&options, "sgemm_gflops", best, "GFLOP/s", false);
    print(&options, "learner_sgemm_ratio", gflops / best, "ratio", true);
    return 0;
}
