/* A learner that takes steps for bench_learner: state, update and one batch of full snippets of
 * noise. */
#ifndef HINDCAST_BENCH_LEARNER_STEPS_H
#define HINDCAST_BENCH_LEARNER_STEPS_H

#include <stddef.h>

#include "learner/settings.h"

/* What a step works on. */
struct learner_size {
    const char *name;
    int B, N;       /* snippets, transitions of each */
    int O, A, K, T; /* as in settings */
};

struct learner_steps;

/* On `threads` threads: the caller on the first core that the process may use, the others on the
 * rest. `settings` with algorithm and constants; the size is filled in. Ends the program where it
 * cannot. */
struct learner_steps *learner_steps_new(const struct settings *settings,
                                        const struct learner_size *size, int threads);
void learner_steps_free(struct learner_steps *steps);

/* Steps a second over about `seconds`, one step at least: noise drawn, optimiser included. */
double learner_steps_measure(struct learner_steps *steps, double seconds);
/* Nominal GFLOP of a step (docs/maths.md, section 6). */
double learner_steps_gflop(const struct learner_steps *steps);
/* MiB that its update has taken. */
double learner_steps_mib(const struct learner_steps *steps);

/* MiB that a process needs at most for a few such steps, measured in one of its own; call it before
 * anything else takes memory. */
double learner_steps_peak_mib(const struct settings *settings, const struct learner_size *size,
                              int threads);

#endif
