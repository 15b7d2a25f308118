/* The yardstick: the shapes that are measured, and the kernels that OpenBLAS runs. A build of
 * OpenBLAS that is older than the processor falls back to kernels for SSE3; the program then
 * starts itself again with kernels that fit, since the library reads its environment only while
 * it is loaded. */
#include "bench/sgemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/noise.h"

/* Last: it brings in complex.h, and with it a macro I. */
#include <cblas.h>

/* A hidden layer over a few rows, over all rows of a step, and over all of its samples. */
static const struct shape {
    int M, N, K;
} shapes[] = {{512, 256, 256}, {1024, 256, 256}, {10240, 256, 256}};
#define N_SHAPES (sizeof shapes / sizeof shapes[0])
#define M_MAX    10240
#define NK_MAX   256

/* Of the largest shape; the smaller ones use the beginning of the same matrices. */
static float *x, *W, *y;

/* The matrices live until the program ends. Normals, since zeros may be faster to multiply. */
static float *normals(size_t n)
{
    float *matrix = mem_aligned(n * sizeof *matrix);
    ASSERT(matrix != NULL);
    noise_normal(matrix, n, 1, 0, 1, 0);
    return matrix;
}

/* Calls sgemm on one shape for about `seconds` and returns its GFLOP/s. x, W and y are there. */
static double measure_shape(const struct shape *shape, double seconds)
{
    double calls = -1.0; /* the first one is for warming up */
    uint64_t start_ns = 0;
    double elapsed_s = 0.0;
    do {
        if (calls == 0.0) {
            start_ns = clock_now_ns();
        }
        /* W is transposed, as the weights of a layer are stored. */
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, shape->M, shape->N, shape->K, 1.0f, x,
                    shape->K, W, shape->K, 0.0f, y, shape->N);
        calls += 1.0;
        elapsed_s = calls > 0.0 ? 1e-9 * (double)(clock_now_ns() - start_ns) : 0.0;
    } while (elapsed_s < seconds);
    /* A product of M x K by K x N is M N K multiplications and as many additions. */
    return 2e-9 * (double)shape->M * (double)shape->N * (double)shape->K * calls / elapsed_s;
}

double sgemm_measure(int threads, double seconds)
{
    /* The matrices are made at the first call: the memory of learners is measured before it. */
    if (x == NULL) {
        x = normals((size_t)M_MAX * NK_MAX);
        W = normals((size_t)NK_MAX * NK_MAX);
        y = normals((size_t)M_MAX * NK_MAX);
    }
    openblas_set_num_threads(threads);
    const size_t n_shapes = N_SHAPES;
    /* The best shape counts: the yardstick is what the library can reach at all. */
    double best = 0.0;
    for (size_t i = 0; i < N_SHAPES; i++) {
        const double gflops = measure_shape(&shapes[i], seconds / (double)n_shapes);
        best = gflops > best ? gflops : best;
    }
    return best;
}

/* ---- The kernels that OpenBLAS chose ---- */

/* Names are compared without regard to case, as OpenBLAS itself does. */
static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (strcasecmp(name, *names) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether these kernels use the widest registers of this processor. */
static bool core_fits(const char *core)
{
    static const char *const avx512[] = {"SkylakeX", "Cooperlake", "SapphireRapids", NULL};
    static const char *const avx2[] = {"Haswell", "Zen", NULL};
    /* A processor with AVX-512 has AVX2, too, so the wider one is asked first. */
    if (__builtin_cpu_supports("avx512f")) {
        return is_one_of(core, avx512);
    }
    return !__builtin_cpu_supports("avx2") || is_one_of(core, avx2);
}

const char *sgemm_core(void)
{
    return openblas_get_corename();
}

/* Replaces this process by the same program; `coretype` NULL: without OPENBLAS_CORETYPE. */
static void start_again(char **argv, const char *coretype)
{
    if (coretype != NULL) {
        setenv("OPENBLAS_CORETYPE", coretype, 1);
    } else {
        unsetenv("OPENBLAS_CORETYPE");
    }
    /* The link in /proc names this very program, whatever argv[0] says. */
    execv("/proc/self/exe", argv);
    perror("bench_learner: cannot start again with other kernels of OpenBLAS");
    exit(1);
}

void sgemm_check_core(char **argv)
{
    /* The usual case: the library knows the processor. */
    const char *core = openblas_get_corename();
    if (core_fits(core)) {
        return;
    }
    /* The choice for the case that the library does not know this processor's model number. */
    const char *choice = __builtin_cpu_supports("avx512f") ? "SkylakeX" : "Haswell";
    /* The user has chosen nothing, so the detection has failed: choose for it. */
    const char *forced = getenv("OPENBLAS_CORETYPE");
    if (forced == NULL) {
        fprintf(stderr,
                "WARNING: OpenBLAS chose its %s kernels, which do not fit this processor: starting "
                "again with OPENBLAS_CORETYPE=%s\n",
                core, choice);
        start_again(argv, choice);
    }
    /* The user's own choice does not fit: let the library choose. */
    if (strcasecmp(forced, choice) != 0) {
        fprintf(stderr,
                "WARNING: OPENBLAS_CORETYPE=%s makes OpenBLAS run its %s kernels, which do not fit "
                "this processor: starting again without it\n",
                forced, core);
        start_again(argv, NULL);
    }
    /* Nothing is left to try: a build of OpenBLAS that lacks these kernels. */
    fprintf(
        stderr,
        "WARNING: OpenBLAS has no %s kernels and runs its %s ones: sgemm is slow, and shares of "
        "it are too high\n",
        choice, core);
}
