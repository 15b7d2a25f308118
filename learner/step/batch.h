/* A batch of snippets as the replay client delivers it, and the noise of a step. Nothing here owns
 * memory. */
#ifndef HINDCAST_LEARNER_STEP_BATCH_H
#define HINDCAST_LEARNER_STEP_BATCH_H

#include <stdint.h>

#include "common/base/status.h"
#include "learner/step/settings.h"

/* One rank's part of the global batch. Row n of a snippet is read for its observation alone, rows
 * beyond n not at all: they may hold anything. */
struct batch {
    const float *rows;       /* (B, N+1, W), row = observation | action | rewards | discount */
    const uint32_t *n_valid; /* (B), 1..N: transitions that count */
    const int32_t *tasks;    /* (B, T), 0..K-1, each once per snippet; NULL: all, needs T = K */
    int B;                   /* snippets here, 1 or more */
    int N;                   /* transitions per full snippet */
    uint64_t begin; /* this rank's first snippet in the global batch, by which noise is drawn */
};

/* The standard normals of a step, for tests that supply them; docs/maths.md, "Noise". An array that
 * the algorithm does not use is NULL. Entries of states beyond n are not read. */
struct noise {
    const float *value;   /* (B, N+1, T, M, A) */
    const float *improve; /* (B, N, T, M, A), or (B, N, T, 1, A) */
    const float *backup;  /* (B, N, T, C, A) */
};

/* INVALID, naming snippet and value, when an n_valid or a task is out of range. */
status batch_check(const struct batch *batch, const struct settings *settings,
                   struct err *err) MUST_CHECK;

/* tasks(B, T) <- T of the K tasks for each snippet, without repetition, drawn from (seed, step,
 * begin + b), so that any split of the global batch gives the same. With T = K they are 0 .. K-1.
 */
void batch_draw_tasks(int32_t *tasks, const struct settings *settings, uint64_t step,
                      uint64_t begin, int B);

/* Writes rows, n_valid and tasks to a safetensors file, for the analysis of a failed step. */
status batch_save(const struct batch *batch, const struct settings *settings, uint64_t step,
                  const char *path, struct err *err) MUST_CHECK;

#endif
