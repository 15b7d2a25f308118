/* How fast the learner steps, and what share that is of OpenBLAS's sgemm and of the peak of the unit
 * that multiplies, on the same cores in the same run.
 *
 *   bench_learner [--size=all|quick|large|sawyer] [--precision=all|f32|bf16-evaluation|bf16]
 *                 [--threads=CORES] [--algorithm=abm+mpo] [--kernels=best] [--seconds=2]
 *                 [--rounds=9] [--ranks=R,..]
 *
 * precision: bf16 is `learner.precision: bf16`, all passes; bf16-evaluation is
 * `learner.evaluation_precision: bf16`. Prints a line for each size, precision, and number of
 * threads (1, and --threads):
 *
 *   bench_learner size=quick precision=bf16 threads=2 steps_per_s=.. gflops=.. share_of_sgemm=..
 *       share_of_peak=.. peak_mib=.. update_mib=.. scaling=.. over_f32=..            (on one line)
 *
 *   gflops          steps_per_s times the nominal work of a step (docs/maths.md, section 6)
 *   share_of_sgemm  of sgemm in float on as many threads, for bf16 too: it may be above 1
 *   share_of_peak   of what that many cores can multiply and add in registers: floats for f32, tiles
 *                   or pairs of bf16 for the others where the kernels use them. A step in bf16 has
 *                   its first layers and heads in float, and of bf16-evaluation a fifth of the work
 *   peak_mib        resident memory of a process that takes such steps, at its peak
 *   update_mib      of that, what the update took for itself: it never takes more
 *   scaling         steps_per_s over that of one thread
 *   over_f32        steps_per_s over that of f32; left out where f32 was not measured
 *
 * With --ranks R, or 2,4,8, instead, in one precision (f32): several learners that share the batch,
 * each a process pinned to a core (in turn, where there are fewer cores), beside one process with 1
 * thread and with a thread for each rank or core. Two lines for each way to meet: grpc-tcp,
 * grpc-unix, mpi, mpi-tcp:
 *
 *   bench_learner size=quick ranks=2 transport=mpi steps_per_s=.. gradients_ms=.. digest_ms=..
 *       wait_ms=.. exchange_ms=.. apply_ms=.. bare_exchange_ms=.. bare_exchange_cpu_ms=..
 *       rank_0_bytes=.. other_bytes=.. over_one_thread=.. over_threads=..          (on one line)
 *   bench_learner size=quick ranks=2 one_thread_ms=.. threads_ms=.. part_ms=..
 *
 *   gradients_ms ..   pieces of a step, means over the ranks: gradients of the rank's part, digest of
 *                     the state, waiting for the last rank, exchange from then on, the step itself
 *   bare_exchange_ms  exchange_ms where nobody computes anything in between
 *   bare_exchange_cpu_ms  of wait and exchange there, the time that a rank's threads computed: copied,
 *                     added, made system calls, polled
 *   .._bytes          sent and received in a step by rank 0, and by the busiest of the others
 *   over_..           steps_per_s over that of one process with 1, with several threads
 *   .._ms             of a step of one process with 1 thread, with several, and with a rank's part
 *                     of the batch on one thread, which is a step without an exchange
 *
 * All that is compared takes turns, --rounds of them, --seconds long together, sgemm before and
 * after each; a figure is the median over rounds, and a ratio the median of the rounds' ratios, so
 * that a machine that swings does not spoil it. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/learner_ranks.h"
#include "bench/learner_steps.h"
#include "bench/quantile.h"
#include "bench/sgemm.h"
#include "bench/version.h"
#include "common/base/status.h"
#include "common/networks/kernels.h"
#include "common/networks/kernels_peak.h"

#define ROUNDS_MAX 101
#define RANKS_MAX  8
#define PEAK_TRIES 30 /* 6 ms: the first also bring the core to its speed */

/* docs/maths.md, section 6; `sawyer` has the observation, action and tasks of the stacking domain,
 * all tasks trained with each snippet. */
static const struct learner_size sizes[] = {
    {.name = "quick", .B = 64, .N = 8, .O = 17, .A = 6, .K = 1, .T = 1},
    {.name = "large", .B = 512, .N = 10, .O = 17, .A = 6, .K = 1, .T = 1},
    {.name = "sawyer", .B = 64, .N = 8, .O = 58, .A = 5, .K = 7, .T = 7},
};
#define N_SIZES (sizeof sizes / sizeof sizes[0])

static const char *const precisions[] = {"f32", "bf16-evaluation", "bf16"};
#define N_PRECISIONS (sizeof precisions / sizeof precisions[0])
/* For each precision: one thread, and as many as asked for. */
#define VARIANTS_MAX (2 * N_PRECISIONS)

/* The command line. `kernels` names those of common/networks, `settings` has the algorithm. */
struct options {
    struct settings settings;
    const char *size, *precision, *kernels;
    int threads, rounds;
    int ranks[RANKS_MAX], n_ranks; /* numbers of ranks; none: threads are compared */
    const char *rank_page;         /* this process is a rank that mpirun has started */
    double seconds;
};

/* One line of output. */
struct variant {
    const char *precision;
    int threads;
    struct learner_steps *steps;
    double peak_mib;
    double rate[ROUNDS_MAX], share[ROUNDS_MAX]; /* of each round */
    double of_peak[ROUNDS_MAX];
    double scaling[ROUNDS_MAX], gain[ROUNDS_MAX]; /* over one thread; over f32 */
    const struct variant *one_thread, *f32;       /* what it is compared with; NULL: not there */
};

/* ---- One size ---- */

/* The variant with this precision and number of threads, or NULL. */
static const struct variant *find(const struct variant *variants, int n, const char *precision,
                                  int threads)
{
    for (int i = 0; i < n; i++) {
        if (variants[i].threads == threads && strcmp(variants[i].precision, precision) == 0) {
            return &variants[i];
        }
    }
    return NULL;
}

/* Sets what the name of a precision stands for. */
static void set_precision(struct settings *settings, const char *precision)
{
    settings->precision = strcmp(precision, "bf16") == 0 ? PRECISION_BF16 : PRECISION_F32;
    settings->evaluation_precision = strcmp(precision, "f32") == 0 ? PRECISION_F32 : PRECISION_BF16;
}

/* The unit that makes most products of a precision with the kernels in use. */
static enum kernels_unit unit_of(const char *precision)
{
    if (strcmp(precision, "f32") == 0 || !kernels_bf16_native()) {
        return KERNELS_UNIT_FLOAT;
    }
    return strcmp(kernels_name(), "amx") == 0 ? KERNELS_UNIT_TILES : KERNELS_UNIT_PAIRS;
}

/* Memory first: nothing else has taken any then. */
static int open_variants(struct variant *variants, const struct options *options,
                         const struct learner_size *size)
{
    /* One thread always takes part, as the base of `scaling`. */
    int n = 0;
    for (size_t p = 0; p < N_PRECISIONS; p++) {
        /* From 1 to --threads in a single stride; with --threads=1 there is one variant only. */
        for (int threads = 1; threads <= options->threads; threads += options->threads - 1) {
            if (strcmp(options->precision, "all") == 0 ||
                strcmp(options->precision, precisions[p]) == 0) {
                variants[n++] = (struct variant){.precision = precisions[p], .threads = threads};
            }
            if (options->threads == 1) {
                break;
            }
        }
    }
    /* The peak is measured in processes of their own, which would inherit memory that is taken
     * here. */
    struct settings settings[VARIANTS_MAX];
    for (int i = 0; i < n; i++) {
        settings[i] = options->settings;
        set_precision(&settings[i], variants[i].precision);
        variants[i].peak_mib = learner_steps_peak_mib(&settings[i], size, variants[i].threads);
    }
    /* All learners are ready before the first round, so that rounds hold steps only. */
    for (int i = 0; i < n; i++) {
        variants[i].steps = learner_steps_new(&settings[i], size, variants[i].threads);
        variants[i].one_thread = find(variants, n, variants[i].precision, 1);
        variants[i].f32 = find(variants, n, "f32", variants[i].threads);
    }
    return n;
}

/* One round: each variant has a turn, between two measurements of sgemm on as many threads. */
static void measure_round(struct variant *variants, int n, int round, double turn_s)
{
    for (int i = 0; i < n; i++) {
        struct variant *v = &variants[i];
        /* Speeds drift within a round; the mean of before and after is sgemm's speed in the
         * middle. */
        const double before = sgemm_measure(v->threads, 0.1 * turn_s);
        v->rate[round] = learner_steps_measure(v->steps, turn_s);
        const double after = sgemm_measure(v->threads, 0.1 * turn_s);
        const double gflops = v->rate[round] * learner_steps_gflop(v->steps);
        v->share[round] = gflops / (0.5 * (before + after));
        v->of_peak[round] = gflops / (v->threads * kernels_peak(unit_of(v->precision), 4));
    }
    /* Ratios are made within the round, of turns that are close in time. */
    for (int i = 0; i < n; i++) {
        struct variant *v = &variants[i];
        v->scaling[round] = v->rate[round] / v->one_thread->rate[round];
        v->gain[round] = v->f32 != NULL ? v->rate[round] / v->f32->rate[round] : 0.0;
    }
}

/* Prints the medians over rounds. quantile() sorts the arrays in place, so it comes last. */
static void print(const struct learner_size *size, struct variant *v, size_t rounds)
{
    const double rate = quantile(v->rate, rounds, 0.5);
    printf("bench_learner size=%s precision=%s threads=%d steps_per_s=%.4g gflops=%.4g "
           "share_of_sgemm=%.3f share_of_peak=%.3f peak_mib=%.1f update_mib=%.1f scaling=%.2f",
           size->name, v->precision, v->threads, rate, rate * learner_steps_gflop(v->steps),
           quantile(v->share, rounds, 0.5), quantile(v->of_peak, rounds, 0.5), v->peak_mib,
           learner_steps_mib(v->steps), quantile(v->scaling, rounds, 0.5));
    /* Without f32 there is nothing to compare with. */
    if (v->f32 != NULL) {
        printf(" over_f32=%.2f", quantile(v->gain, rounds, 0.5));
    }
    printf("\n");
    fflush(stdout);
}

/* Measures one size; --seconds is the time of one variant over all its rounds. */
static void run(const struct options *options, const struct learner_size *size)
{
    static struct variant variants[VARIANTS_MAX];
    /* Static: the arrays of rounds are large. */
    const int n = open_variants(variants, options, size);
    for (int round = 0; round < options->rounds; round++) {
        measure_round(variants, n, round, options->seconds / options->rounds);
    }
    for (int i = 0; i < n; i++) {
        print(size, &variants[i], (size_t)options->rounds);
    }
    for (int i = 0; i < n; i++) {
        learner_steps_free(variants[i].steps);
    }
}

/* ---- Options ---- */

/* Is it the name of a size, or "all"? */
static bool is_size(const char *name)
{
    bool found = strcmp(name, "all") == 0;
    for (size_t i = 0; i < N_SIZES; i++) {
        found = found || strcmp(name, sizes[i].name) == 0;
    }
    return found;
}

/* Is it the name of a precision, or "all"? */
static bool is_precision(const char *name)
{
    bool found = strcmp(name, "all") == 0;
    for (size_t i = 0; i < N_PRECISIONS; i++) {
        found = found || strcmp(name, precisions[i]) == 0;
    }
    return found;
}

/* The text after "--name=" or, for "--name", the next argument; NULL for another option. */
static const char *value_of(const char *name, int argc, char **argv, int *i)
{
    const size_t length = strlen(name);
    if (strncmp(argv[*i], "--", 2) != 0 || strncmp(argv[*i] + 2, name, length) != 0) {
        /* A longer name that begins alike is another option; it fails at the last line. */
        return NULL;
    }
    const char *rest = argv[*i] + 2 + length;
    if (*rest == '=') {
        return rest + 1;
    }
    return *rest == 0 && *i + 1 < argc ? argv[++*i] : NULL;
}

/* "2,4,8": several numbers of ranks, one after the other. */
static status parse_ranks(struct options *options, const char *text, struct err *err)
{
    options->n_ranks = 0;
    for (const char *at = text; *at;) {
        char *end;
        const long ranks = strtol(at, &end, 10);
        if (end == at || (*end && *end != ',') || ranks < 2 || options->n_ranks == RANKS_MAX) {
            return err_set(err, STATUS_INVALID, "--ranks %s: expected up to %d numbers above 1",
                           text, RANKS_MAX);
        }
        options->ranks[options->n_ranks++] = (int)ranks;
        at = end + (*end == ',');
    }
    return STATUS_OK;
}

/* Reads the command line over the defaults. Numbers are checked in check(). */
static status parse(struct options *options, int argc, char **argv, struct err *err)
{
    status s = STATUS_OK;
    for (int i = 1; i < argc && s == STATUS_OK; i++) {
        const char *text;
        if ((text = value_of("size", argc, argv, &i)) != NULL) {
            options->size = text;
        } else if ((text = value_of("precision", argc, argv, &i)) != NULL) {
            options->precision = text;
        } else if ((text = value_of("algorithm", argc, argv, &i)) != NULL) {
            s = settings_set(&options->settings, "algorithm", text, err);
        } else if ((text = value_of("kernels", argc, argv, &i)) != NULL) {
            options->kernels = text;
        } else if ((text = value_of("threads", argc, argv, &i)) != NULL) {
            options->threads = atoi(text);
        } else if ((text = value_of("rounds", argc, argv, &i)) != NULL) {
            options->rounds = atoi(text);
        } else if ((text = value_of("ranks", argc, argv, &i)) != NULL) {
            s = parse_ranks(options, text, err);
        } else if ((text = value_of("rank_page", argc, argv, &i)) != NULL) {
            options->rank_page = text;
        } else if ((text = value_of("seconds", argc, argv, &i)) != NULL) {
            options->seconds = atof(text);
        } else {
            s = err_set(err, STATUS_INVALID,
                        "%s: not known, or without its value; see the head of "
                        "bench_learner.c",
                        argv[i]);
        }
    }
    return s;
}

/* Checks the options and selects the kernels. INVALID says what was expected. */
static status check(const struct options *options, struct err *err)
{
    if (!is_size(options->size)) {
        return err_set(err, STATUS_INVALID, "--size %s: expected all, quick, large or sawyer",
                       options->size);
    }
    if (!is_precision(options->precision)) {
        return err_set(err, STATUS_INVALID,
                       "--precision %s: expected all, f32, bf16-evaluation or bf16",
                       options->precision);
    }
    if (options->threads < 1 || options->threads > 1024) {
        return err_set(err, STATUS_INVALID, "--threads %d: expected 1..1024", options->threads);
    }
    if (options->rounds < 1 || options->rounds > ROUNDS_MAX) {
        return err_set(err, STATUS_INVALID, "--rounds %d: expected 1..%d", options->rounds,
                       ROUNDS_MAX);
    }
    if (!(options->seconds > 0.0 && options->seconds < 1e6)) {
        return err_set(err, STATUS_INVALID, "--seconds %g: expected more than 0", options->seconds);
    }
    /* The choice holds for the whole process, and fails where the processor lacks the
     * instructions. */
    return kernels_select(options->kernels, err);
}

/* The cores that this process may use, which may be fewer than the machine has. */
static int cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int main(int argc, char **argv)
{
    if (bench_version(argc, argv)) {
        return 0;
    }
    /* First of all: it may start the program again. */
    sgemm_check_core(argv);
    struct options options = {.settings = settings_default(),
                              .size = "all",
                              .precision = "all",
                              .kernels = "best",
                              .threads = cores(),
                              .rounds = 9,
                              .seconds = 2.0};
    struct err err;
    status s = parse(&options, argc, argv, &err);
    s = s != STATUS_OK ? s : check(&options, &err);
    if (s != STATUS_OK) {
        fprintf(stderr, "bench_learner: %s\n", err.text);
        return 2;
    }
    /* Threads are compared in each precision, ranks in one: f32 unless another is asked for. */
    if (strcmp(options.precision, "all") != 0) {
        set_precision(&options.settings, options.precision);
    }
    for (size_t i = 0; options.rank_page != NULL && i < N_SIZES; i++) {
        if (strcmp(options.size, sizes[i].name) == 0) {
            learner_ranks_serve(&options.settings, &sizes[i], options.rank_page);
        }
    }
    /* To stderr: what the figures depend on besides the code. */
    fprintf(
        stderr,
        "%s, kernels %s%s, OpenBLAS %s; a core's multiply-adds in GFLOP/s: floats %.0f, pairs of "
        "bf16 %.0f, tiles of bf16 %.0f\n",
        settings_algorithm_name(options.settings.algorithm), kernels_name(),
        kernels_bf16_native() ? "" : " (bf16 by hand)", sgemm_core(),
        kernels_peak(KERNELS_UNIT_FLOAT, PEAK_TRIES), kernels_peak(KERNELS_UNIT_PAIRS, PEAK_TRIES),
        kernels_peak(KERNELS_UNIT_TILES, PEAK_TRIES));
    /* One size after another; with --ranks another comparison for each. */
    for (size_t i = 0; i < N_SIZES; i++) {
        if (strcmp(options.size, "all") == 0 || strcmp(options.size, sizes[i].name) == 0) {
            for (int k = 0; k < options.n_ranks; k++) {
                learner_ranks_run(&options.settings, &sizes[i], options.ranks[k], options.rounds,
                                  options.seconds, argv);
            }
            if (options.n_ranks == 0) {
                run(&options, &sizes[i]);
            }
        }
    }
    return 0;
}
