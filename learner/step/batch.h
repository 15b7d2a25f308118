/* A batch of snippets as the replay client delivers it, and the noise of a step. Nothing here owns
 * memory. */
#ifndef HINDCAST_LEARNER_STEP_BATCH_H
#define HINDCAST_LEARNER_STEP_BATCH_H

#include <stdint.h>

#include "common/base/status.h"
#include "learner/step/settings.h"

#define BATCH_PARTS_MAX  64  /* learners that may share a batch */
#define BATCH_WEIGHT_MAX 1e6 /* of an importance weight, so that gradients stay finite as floats */

/* One rank's part of the global batch. Row n of a snippet is read for its observation alone, rows
 * beyond n not at all: they may hold anything. */
struct batch {
    const float *rows;       /* (B, N+1, W), row = observation | action | rewards | discount */
    const uint32_t *n_valid; /* (B), 1..N: transitions that count */
    const int32_t *tasks;    /* (B, T), 0..K-1, each once per snippet; NULL: all, needs T = K */
    int B;                   /* snippets here, 1 or more */
    int N;                   /* transitions per full snippet */
    uint64_t begin; /* this rank's first snippet in the global batch, by which noise is drawn */
    /* (B) importance weights, above 0 and at most BATCH_WEIGHT_MAX, before they are divided by the
     * largest of the global batch (docs/maths.md, section 9); NULL: all alike. All ranks have them
     * or none has. */
    const double *weights;
    int part; /* which of the parts of the global batch this is, 0 .. BATCH_PARTS_MAX - 1 */
};

/* The critic's errors at a snippet's states; of the first critic where there are two. */
struct td_error {
    double largest, mean; /* of |Q(s,a) - y|, in the units of scaled rewards */
};

/* The standard normals of a step, for tests that supply them; docs/maths.md, "Noise". An array that
 * the algorithm does not use is NULL. Entries of states beyond n are not read. */
struct noise {
    const float *value;   /* (B, N+1, T, M, A) */
    const float *improve; /* (B, N, T, M, A), or (B, N, T, 1, A) */
    const float *backup;  /* (B, N, T, C, A) */
};

/* INVALID, naming snippet and value, when an n_valid, a task or a weight is out of range. */
status batch_check(const struct batch *batch, const struct settings *settings,
                   struct err *err) MUST_CHECK;

/* tasks(B, T) <- T of the K tasks for each snippet, without repetition, drawn from (seed, step,
 * begin + b), so that any split of the global batch gives the same. With T = K they are 0 .. K-1.
 */
void batch_draw_tasks(int32_t *tasks, const struct settings *settings, uint64_t step,
                      uint64_t begin, int B);

/* Writes rows, n_valid, tasks and weights to a safetensors file, for the analysis of a failed step. */
status batch_save(const struct batch *batch, const struct settings *settings, uint64_t step,
                  const char *path, struct err *err) MUST_CHECK;

#endif
