/* The learner under measurement, its cores and its memory. The caller runs on one core and the
 * threads of the update on the others, so that the figures do not depend on where the scheduler
 * puts them. A failure ends the program: there is nothing to fall back to. */
#include "bench/learner_steps.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/base/noise.h"
#include "learner/step/state.h"
#include "learner/step/update.h"

/* The arrays of `batch` belong to this struct. */
struct learner_steps {
    struct settings settings;
    struct learner_size size;
    struct state *state;
    struct update *update;
    struct batch batch;
    float *rows;
    uint32_t *n_valid;
    int32_t *tasks;
    learner_steps_meeting *meet; /* NULL: a learner on its own */
    void *meet_arg;
};

/* Ends the program: a benchmark without its learner has nothing to do. */
static void stop(const char *why)
{
    fprintf(stderr, "bench_learner: %s\n", why);
    exit(1);
}

/* ---- Cores ---- */

/* The first core of `all`, or all others; `all` where there is but one. */
static cpu_set_t part_of(const cpu_set_t *all, bool first)
{
    cpu_set_t part;
    CPU_ZERO(&part);
    bool is_first = true;
    /* Cores are counted in the order of their numbers. */
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, all)) {
            if (is_first == first) {
                CPU_SET(cpu, &part);
            }
            is_first = false;
        }
    }
    return CPU_COUNT(&part) > 0 ? part : *all;
}

/* Moves the calling thread. A failure is reported, and only makes the figures less steady. */
static void bind(const cpu_set_t *cores)
{
    if (sched_setaffinity(0, sizeof *cores, cores) != 0) {
        perror("bench_learner: threads cannot be bound to cores");
    }
}

/* ---- Life ---- */

/* Makes a batch of noise: full snippets, actions within their limits, no terminations. */
static void fill_batch(struct learner_steps *steps)
{
    const struct settings *settings = &steps->settings;
    const size_t B = (size_t)steps->size.B;
    const size_t n_rows = B * ((size_t)steps->size.N + 1);
    const size_t W = (size_t)settings_row_width(settings);
    const size_t O = (size_t)settings->O;
    steps->rows = mem_aligned(n_rows * W * sizeof *steps->rows);
    steps->n_valid = mem_array(B, sizeof *steps->n_valid);
    steps->tasks = mem_array(B * (size_t)settings->T, sizeof *steps->tasks);
    if (steps->rows == NULL || steps->n_valid == NULL || steps->tasks == NULL) {
        stop("out of memory");
    }
    /* Observations and rewards are normals. */
    noise_normal(steps->rows, n_rows * W, 1, 0, 1, 0);
    for (size_t row = 0; row < n_rows; row++) {
        float *at = steps->rows + row * W;
        /* Canonical actions lie in -1..1. */
        for (size_t i = O; i < O + (size_t)settings->A; i++) {
            at[i] = tanhf(at[i]);
        }
        /* The discount of a step within an episode. */
        at[W - 1] = 1.0f;
    }
    /* Every snippet has all of its transitions, so that the nominal work is the real one. */
    for (size_t b = 0; b < B; b++) {
        steps->n_valid[b] = (uint32_t)steps->size.N;
    }
    batch_draw_tasks(steps->tasks, settings, 0, 0, steps->size.B);
    steps->batch = (struct batch){.rows = steps->rows,
                                  .n_valid = steps->n_valid,
                                  .tasks = steps->tasks,
                                  .B = steps->size.B,
                                  .N = steps->size.N};
}

struct learner_steps *learner_steps_new(const struct settings *settings,
                                        const struct learner_size *size, int threads)
{
    struct learner_steps *steps = mem_new(sizeof *steps);
    if (steps == NULL) {
        stop("out of memory");
    }
    steps->settings = *settings;
    steps->settings.O = size->O;
    steps->settings.A = size->A;
    steps->settings.K = size->K;
    steps->settings.T = size->T;
    steps->size = *size;
    /* The cores are set back below: later learners are to find all of them. */
    cpu_set_t all;
    struct err err;
    if (sched_getaffinity(0, sizeof all, &all) != 0) {
        stop("the cores of this process are not known");
    }
    /* The update's threads inherit where they may run. */
    const cpu_set_t others = part_of(&all, false);
    bind(&others);
    status s = settings_check(&steps->settings, &err);
    s = s != STATUS_OK ? s : state_new(&steps->state, &steps->settings, &err);
    s = s != STATUS_OK
            ? s
            : update_new(&steps->update, &steps->settings, size->B, size->N, threads, &err);
    bind(&all);
    if (s != STATUS_OK) {
        stop(err.text);
    }
    /* The first step is slower, as it touches memory for the first time; it is not timed. */
    fill_batch(steps);
    learner_steps_measure(steps, 0.0);
    return steps;
}

void learner_steps_free(struct learner_steps *steps)
{
    update_free(steps->update);
    state_free(steps->state);
    mem_free(steps->rows);
    mem_free(steps->n_valid);
    mem_free(steps->tasks);
    mem_free(steps);
}

void learner_steps_meet(struct learner_steps *steps, learner_steps_meeting *meet, void *arg)
{
    steps->meet = meet;
    steps->meet_arg = arg;
}

void learner_steps_restart(struct learner_steps *steps)
{
    struct err err;
    state_free(steps->state);
    if (state_new(&steps->state, &steps->settings, &err) != STATUS_OK) {
        stop(err.text);
    }
}

const struct settings *learner_steps_settings(const struct learner_steps *steps)
{
    return &steps->settings;
}

const struct state *learner_steps_state(const struct learner_steps *steps)
{
    return steps->state;
}

struct update_sums learner_steps_sums(struct learner_steps *steps)
{
    return update_sums(steps->update);
}

/* ---- Measures ---- */

/* One step as the learner takes it; with several learners they meet in the middle. */
static status take_step(struct learner_steps *steps, struct err *err)
{
    status s = update_gradients(steps->update, steps->state, &steps->batch, NULL, err);
    if (s == STATUS_OK && steps->meet != NULL) {
        s = steps->meet(steps->meet_arg, steps->state, update_sums(steps->update), err);
    }
    return s == STATUS_OK ? update_apply(steps->update, steps->state, NULL, err) : s;
}

status learner_steps_take(struct learner_steps *steps, double seconds, double *rate,
                          struct err *err)
{
    cpu_set_t all;
    if (sched_getaffinity(0, sizeof all, &all) != 0) {
        stop("the cores of this process are not known");
    }
    /* The caller stays on the first core, where no other thread of the update runs. */
    const cpu_set_t first = part_of(&all, true);
    bind(&first);
    double n = 0.0;
    double elapsed_s;
    const uint64_t start_ns = clock_now_ns();
    status s;
    /* At least one step, also for 0 seconds. */
    do {
        s = take_step(steps, err);
        n += 1.0;
        elapsed_s = 1e-9 * (double)(clock_now_ns() - start_ns);
    } while (s == STATUS_OK && elapsed_s < seconds);
    bind(&all);
    *rate = n / elapsed_s;
    return s;
}

double learner_steps_measure(struct learner_steps *steps, double seconds)
{
    struct err err;
    double rate;
    if (learner_steps_take(steps, seconds, &rate, &err) != STATUS_OK) {
        stop(err.text);
    }
    return rate;
}

const struct phases *learner_steps_phases(const struct learner_steps *steps)
{
    return update_phases(steps->update);
}

double learner_steps_gflop(const struct learner_steps *steps)
{
    /* The work is counted for each snippet and task. */
    const double U = (double)steps->size.B * steps->size.T;
    return 1e-9 * update_nominal_flop(&steps->settings, U * steps->size.N, U);
}

double learner_steps_mib(const struct learner_steps *steps)
{
    return (double)update_bytes(steps->update) / 0x1p20;
}

double learner_steps_peak_mib(const struct settings *settings, const struct learner_size *size,
                              int threads)
{
    /* The child would print what is buffered again. */
    fflush(NULL);
    const pid_t child = fork();
    /* A process of its own: its peak is not that of anything else. */
    if (child == 0) {
        struct learner_steps *steps = learner_steps_new(settings, size, threads);
        for (int i = 0; i < 3; i++) {
            learner_steps_measure(steps, 0.0);
        }
        _exit(0);
    }
    int ended = 0;
    /* The kernel keeps the peak of a process, in KiB, until it is waited for. */
    struct rusage usage;
    if (child < 0 || wait4(child, &ended, 0, &usage) != child || ended != 0) {
        stop("no process to measure memory in");
    }
    return (double)usage.ru_maxrss / 1024.0;
}
