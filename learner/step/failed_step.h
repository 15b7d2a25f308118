/* A step that was not finite, kept for analysis: two files in RUN_DIR,
 *
 *     failed-batch-00001199.safetensors    rows, valid, tasks: the batch of step 1200
 *     failed-state-00001199.safetensors    the state before that step, as a checkpoint; beside the
 *                                          settings: threads, kernels, begin
 *
 * from which the step can be repeated with the same bits. Each of several ranks keeps its own
 * slice. */
#ifndef HINDCAST_LEARNER_STEP_FAILED_STEP_H
#define HINDCAST_LEARNER_STEP_FAILED_STEP_H

#include "learner/step/batch.h"
#include "learner/step/state.h"

/* Writes both files, with `suffix` in their names ("" or "-rank-1"), and logs where they are and
 * the command that repeats the step. A failure is logged, too. */
void failed_step_keep(const char *run_dir, const char *suffix, const struct state *state,
                      const struct settings *settings, const struct batch *batch, int threads);

struct failed_step {
    struct settings settings;
    struct state *state;
    struct batch batch;
    int threads;
    char kernels[32]; /* with which the step was taken */
};

/* Reads both files, given the path of the batch's. NOT_FOUND, CORRUPT, MISMATCH name the file and
 * what is wrong with it. */
status failed_step_load(struct failed_step *step, const char *batch_path,
                        struct err *err) MUST_CHECK;
void failed_step_free(struct failed_step *step);

#endif
