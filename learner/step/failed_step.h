/* A step that was not finite, kept for whoever looks for the reason: two files in RUN_DIR,
 *
 *     failed-batch-00001199.safetensors    rows, valid, tasks: what made step 1200 not finite
 *     failed-state-00001199.safetensors    the state that met it, as a checkpoint; beside the
 *                                          settings: threads, kernels, begin
 *
 * from which the step can be taken again to the bit. Of several ranks each keeps its own slice. */
#ifndef HINDCAST_LEARNER_STEP_FAILED_STEP_H
#define HINDCAST_LEARNER_STEP_FAILED_STEP_H

#include "learner/step/batch.h"
#include "learner/step/state.h"

/* Keeps both files, their names with `suffix` ("" or "-rank-1"); says in the log where, and the
 * command that replays the step. */
void failed_step_keep(const char *run_dir, const char *suffix, const struct state *state,
                      const struct settings *settings, const struct batch *batch, int threads);

struct failed_step {
    struct settings settings;
    struct state *state;
    struct batch batch;
    int threads;
    char kernels[32]; /* that the step was taken with */
};

/* Reads both files from the path of the batch's. NOT_FOUND, CORRUPT, MISMATCH say which file, and
 * what is wrong with it. */
status failed_step_load(struct failed_step *step, const char *batch_path,
                        struct err *err) MUST_CHECK;
void failed_step_free(struct failed_step *step);

#endif
