/* A learner that takes steps for bench_learner: state, update and one batch of full snippets of
 * noise. */
#ifndef HINDCAST_BENCH_LEARNER_STEPS_H
#define HINDCAST_BENCH_LEARNER_STEPS_H

#include <stddef.h>

#include "learner/step/settings.h"
#include "learner/step/state.h"
#include "learner/step/update.h"

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
/* The same, where a meeting may fail: returns its status. */
status learner_steps_take(struct learner_steps *steps, double seconds, double *rate,
                          struct err *err) MUST_CHECK;
/* For several learners: called between gradients and step of each step from here on, may put totals
 * in the place of the sums; anything but OK ends learner_steps_take. */
typedef status learner_steps_meeting(void *arg, const struct state *state, struct update_sums sums,
                                     struct err *err);
void learner_steps_meet(struct learner_steps *steps, learner_steps_meeting *meet, void *arg);
/* The state of the beginning again. */
void learner_steps_restart(struct learner_steps *steps);
const struct settings *learner_steps_settings(const struct learner_steps *steps);
const struct state *learner_steps_state(const struct learner_steps *steps);
struct update_sums learner_steps_sums(struct learner_steps *steps); /* of the last step */
/* Of the gradients that were computed last; without APPLY before the step is taken. */
const struct phases *learner_steps_phases(const struct learner_steps *steps);

/* Nominal GFLOP of a step (docs/maths.md, section 6). */
double learner_steps_gflop(const struct learner_steps *steps);
/* MiB that its update has taken. */
double learner_steps_mib(const struct learner_steps *steps);

/* MiB that a process needs at most for a few such steps, measured in one of its own; call it before
 * anything else takes memory. */
double learner_steps_peak_mib(const struct settings *settings, const struct learner_size *size,
                              int threads);

#endif
