/* Some steps, and a table. See profile.h.
 *
 * The step counts the time of its own phases; here they are summed, and what lies between them
 * (waiting for batches, packages) is added, so that the shares add up to the time on the clock. The
 * arithmetic that a phase needs at least (update_nominal_phases) gives its rate.
 *
 * The state is a copy in memory: checkpoints are read, nothing is written, and a learner of the
 * same run may be at work meanwhile. */
#include "learner/tools/profile.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/networks/kernels.h"
#include "learner/run/checkpoint.h"
#include "learner/run/sampler_options.h"
#include "learner/step/update.h"

#define WARM_UP_STEPS 5 /* caches, page faults, the first batches, the processor's frequency */
#define OPEN_MS       30000
#define BATCH_MS      30000

struct profile {
    const struct experiment *experiment;
    const struct learner_options *options;
    struct settings settings;
    struct state *state;
    struct checkpoint about;
    struct replay_sampler *sampler;
    struct update *update;
    /* (B, T); NULL: every snippet trains all tasks. */
    int32_t *tasks;
    int threads;

    /* Of the measured steps. */
    struct phases phases;
    double states, units; /* states and snippets, both times T */
    uint64_t busy_ns;     /* of all threads */
    uint64_t slowest_ns;  /* of each step's slowest one */
    size_t n_packages;
    uint64_t package_ns; /* what one takes, made once after the steps */
};

/* Nobody asks a profile to stop; the process is simply ended. */
static bool never(void *arg)
{
    (void)arg;
    return false;
}

/* ---- Beginning ---- */

/* The newest state of the run; NOT_FOUND: there is none. */
static status resume(struct profile *profile, struct err *err)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%s/checkpoints", profile->experiment->run_dir);
    return checkpoint_look(folder, profile->options, (uint64_t)profile->experiment->seed,
                           &profile->state, &profile->settings, &profile->about, err);
}

/* A new state for the table's signature. */
static status begin_new(struct profile *profile, const struct signature *signature, struct err *err)
{
    status s = learner_options_settings(
        profile->options, signature, (uint64_t)profile->experiment->seed, &profile->settings, err);
    return s == STATUS_OK ? state_new(&profile->state, &profile->settings, err) : s;
}

/* Batches from where the run stands. */
static status open_sampler(struct profile *profile, struct signature *signature, struct err *err)
{
    struct replay_sampler_options wanted = sampler_options_make(
        profile->options, profile->experiment->seed, profile->about.next_batch);
    wanted.slice_begin = wanted.slice_count =
        0; /* the whole batch, also in a run of several ranks */
    return replay_sampler_open(&profile->sampler, profile->experiment, signature, &wanted, OPEN_MS,
                               never, NULL, err);
}

/* The state, batches for it, and the machinery of a step. */
static status prepare(struct profile *profile, struct err *err)
{
    const struct learner_options *options = profile->options;
    struct signature signature = {0};
    status s = resume(profile, err);
    const bool resumed = s == STATUS_OK;
    if (!resumed && s != STATUS_NOT_FOUND) {
        return s;
    }
    if (resumed) {
        signature = profile->about.signature;
    }
    /* The table's signature decides the sizes, or must be that of the checkpoint. */
    s = open_sampler(profile, &signature, err);
    if (s == STATUS_OK && !resumed) {
        s = begin_new(profile, &signature, err);
    }
    /* As a learner makes them: the same threads, for the whole batch. */
    if (s == STATUS_OK) {
        profile->threads = learner_options_threads(options);
        s = update_new(&profile->update, &profile->settings, (int)options->batch_snippets,
                       (int)options->snippet_transitions, profile->threads, err);
    }
    /* Tasks are drawn only where a snippet trains fewer than all of them. */
    if (s == STATUS_OK && profile->settings.T < profile->settings.K) {
        profile->tasks = mem_array((size_t)options->batch_snippets * (size_t)profile->settings.T,
                                   sizeof(*profile->tasks));
        s = profile->tasks != NULL ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "tasks");
    }
    return s;
}

/* ---- Steps ---- */

/* Adds one step's times, and the work that its batch asked for. */
static void count_step(struct profile *profile, const struct batch *batch)
{
    uint64_t slowest = 0;
    /* Phases, states and snippets of the step. */
    phases_add(&profile->phases, update_phases(profile->update));
    for (int b = 0; b < batch->B; b++) {
        profile->states += (double)batch->n_valid[b] * profile->settings.T;
    }
    profile->units += (double)batch->B * profile->settings.T;
    /* How even the work of the threads was. */
    for (int i = 0; i < profile->threads; i++) {
        const uint64_t busy = update_busy_ns(profile->update, i);
        profile->busy_ns += busy;
        slowest = busy > slowest ? busy : slowest;
    }
    profile->slowest_ns += slowest;
}

/* Makes a policy package and drops it: the cost of publishing to the training thread. */
static status make_package(struct profile *profile, struct err *err)
{
    void *package = NULL;
    size_t size = 0;
    status s = state_package(profile->state, &profile->settings, NULL, NULL, NULL, 0, &package,
                             &size, err);
    mem_free(package);
    return s;
}

/* One step as a learner takes it, with its times. */
static status take_step(struct profile *profile, struct err *err)
{
    /* The batch. */
    struct replay_batch *from = NULL;
    status s = replay_sampler_next(profile->sampler, &from, BATCH_MS, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "waiting for a batch");
    }
    phases_lap(&profile->phases, PHASE_WAIT);
    const struct batch batch = {.rows = from->rows,
                                .n_valid = from->n_valid,
                                .tasks = profile->tasks,
                                .B = (int)from->snippets,
                                .N = (int)profile->options->snippet_transitions};
    /* As a learner without other ranks draws them. */
    if (profile->tasks != NULL) {
        batch_draw_tasks(profile->tasks, &profile->settings, state_step(profile->state), 0,
                         batch.B);
    }
    /* The step, without its report. */
    s = update_step(profile->update, profile->state, &batch, NULL, NULL, err);
    if (s == STATUS_OK) {
        count_step(profile, &batch);
        phases_start(&profile->phases);
    }
    replay_sampler_return(profile->sampler, from);
    /* What a learner would do after it. */
    if (s == STATUS_OK &&
        state_step(profile->state) % (uint64_t)profile->options->publish_every == 0) {
        s = make_package(profile, err);
        phases_lap(&profile->phases, PHASE_PUBLISH);
        profile->n_packages++;
    }
    return s;
}

/* ---- The table ---- */

/* One row; a rate only where the phase has nominal work. */
static void print_phase(FILE *out, const char *name, double ms, double whole_ms, double flop)
{
    fprintf(out, "%-10s %10.3f %7.1f%%", name, ms, 100 * ms / whole_ms);
    if (flop > 0 && ms > 0) {
        fprintf(out, " %10.1f", flop / ms / 1e6);
    }
    fputc('\n', out);
}

/* The table: phases, what is left of the time, the whole step; then one line about balance and
 * packages. */
static void print(const struct profile *profile, uint64_t first_step, double seconds, FILE *out)
{
    const struct learner_options *options = profile->options;
    const double n = (double)options->profile;
    /* What the mean step had to compute at least. */
    double flop[PHASES];
    update_nominal_phases(&profile->settings, profile->states / n, profile->units / n, flop);
    /* What was measured, in enough detail to compare two tables. */
    fprintf(out,
            "%s, %" PRId64 " snippets of %" PRId64 ", %d threads, %s kernels; %" PRId64
            " steps from step %" PRIu64 " on\n\n",
            settings_algorithm_name(profile->settings.algorithm), options->batch_snippets,
            options->snippet_transitions, profile->threads, kernels_name(), options->profile,
            first_step);
    fprintf(out, "%-10s %10s %8s %10s\n", "phase", "ms/step", "share", "GFLOP/s");
    /* One row for each phase that took time. */
    const double whole_ms = seconds * 1e3 / n;
    double told_ms = 0;
    for (int i = 0; i < PHASES; i++) {
        const double ms = (double)profile->phases.ns[i] / 1e6 / n;
        told_ms += ms;
        if (profile->phases.ns[i] > 0) {
            print_phase(out, phase_name((enum phase)i), ms, whole_ms, flop[i]);
        }
    }
    /* The rest of the time on the clock, then the sum of all rows. */
    print_phase(out, "other", whole_ms > told_ms ? whole_ms - told_ms : 0, whole_ms, 0);
    print_phase(out, "step", whole_ms, whole_ms,
                update_nominal_flop(&profile->settings, profile->states / n, profile->units / n));
    /* Threads get equal shares of a step; the slowest decides when it ends. */
    const double mean_ns = (double)profile->busy_ns / profile->threads;
    fprintf(out,
            "\n%.2f steps/s; the slowest thread works %.1f%% longer than their mean; "
            "%zu policy packages, one takes %.2f ms; %.1f MB for the step\n",
            n / seconds, 100 * ((double)profile->slowest_ns / mean_ns - 1), profile->n_packages,
            (double)profile->package_ns / 1e6, (double)update_bytes(profile->update) / 1e6);
}

/* Warm-up, the measured steps, the table. */
static status measure(struct profile *profile, FILE *out, struct err *err)
{
    /* Everything that is needed, then steps that nobody counts. */
    status s = prepare(profile, err);
    const uint64_t first_step = profile->state != NULL ? state_step(profile->state) : 0;
    phases_start(&profile->phases);
    for (int i = 0; s == STATUS_OK && i < WARM_UP_STEPS; i++) {
        s = take_step(profile, err);
    }
    /* Everything that the warm-up counted is forgotten. */
    memset(&profile->phases, 0, sizeof(profile->phases));
    profile->states = profile->units = 0;
    profile->busy_ns = profile->slowest_ns = 0;
    profile->n_packages = 0;
    /* The measured steps. */
    const uint64_t begin_ns = clock_now_ns();
    phases_start(&profile->phases);
    for (int64_t i = 0; s == STATUS_OK && i < profile->options->profile; i++) {
        s = take_step(profile, err);
    }
    const uint64_t end_ns = clock_now_ns();
    /* A package is made in any case, as there may be none among these steps. */
    s = s == STATUS_OK ? make_package(profile, err) : s;
    if (s == STATUS_OK) {
        profile->package_ns = clock_now_ns() - end_ns;
        print(profile, first_step + WARM_UP_STEPS, (double)(end_ns - begin_ns) / 1e9, out);
    }
    return s;
}

status profile_run(const struct experiment *experiment, const struct learner_options *options,
                   FILE *out, struct err *err)
{
    struct profile *profile = mem_new(sizeof(*profile));
    if (profile == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "profile");
    }
    profile->experiment = experiment;
    profile->options = options;
    status s = measure(profile, out, err);
    if (profile->sampler != NULL) {
        replay_sampler_close(profile->sampler);
    }
    update_free(profile->update);
    state_free(profile->state);
    mem_free(profile->tasks);
    mem_free(profile);
    return s;
}
