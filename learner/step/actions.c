/* Sampling actions: see actions.h.
 *
 * Every number of the noise has its own place in a step: row, task, sample, dimension. A worker
 * draws the ranges that its rows have, so that any division of a batch among threads and ranks
 * gives the same samples.
 *
 * Samples are drawn before clipping; whoever evaluates them clips. Noise that a caller gives, as
 * tests do, has the same places as drawn noise, but within one rank's batch. */
#include "learner/step/actions.h"

#include <string.h>

#include "common/base/noise.h"

int actions_per_row(const struct step *step, enum noise_kind kind)
{
    const struct settings *settings = step->settings;
    if (kind == NOISE_BACKUP) {
        return step->algorithm->backup_one ? 1 : settings->candidates;
    }
    return kind == NOISE_IMPROVE && step->algorithm->improve_one ? 1 : settings->M;
}

/* The caller's array of that kind; update_gradients has checked that it is there. */
static const float *given_noise(const struct noise *noise, enum noise_kind kind)
{
    return kind == NOISE_VALUE     ? noise->value
           : kind == NOISE_IMPROVE ? noise->improve
                                   : noise->backup;
}

/* Fills z(n_rows,n,A) for rows t .. t + n_rows - 1 of a task snippet; n_rows is 1 unless T is 1,
 * where these lie together. */
static void take_noise(float *z, const struct step *step, enum noise_kind kind,
                       const struct task_snippet *snippet, int t, int n_rows)
{
    const struct settings *settings = step->settings;
    /* Places of the global batch: (snippet, row, task, sample, dimension), rows 0 .. N for the
     * value estimate, 0 .. N-1 otherwise. */
    const uint64_t rows = (uint64_t)step->batch->N + (kind == NOISE_VALUE ? 1 : 0);
    const uint64_t T = (uint64_t)settings->T;
    const uint64_t per_row = (uint64_t)actions_per_row(step, kind) * (uint64_t)settings->A;
    /* How many numbers, and where they begin within the snippet. */
    const size_t n = (size_t)per_row * (size_t)n_rows;
    const uint64_t within = (uint64_t)t * T + (uint64_t)snippet->tau;
    /* Given noise has the places of this rank's batch, drawn noise those of the global one. */
    if (step->noise != NULL) {
        const float *given = given_noise(step->noise, kind);
        memcpy(z, given + ((uint64_t)snippet->b * rows * T + within) * per_row, n * sizeof *z);
    } else {
        const uint64_t b = step->batch->begin + (uint64_t)snippet->b;
        noise_normal(z, n, settings->seed, step->number, kind, (b * rows * T + within) * per_row);
    }
}

void actions_noise(float *z, const struct step *step, const struct states *states,
                   enum noise_kind kind, int rows)
{
    ASSERT(rows == states->S || rows == states->R);
    const struct settings *settings = step->settings;
    const size_t per_row = (size_t)actions_per_row(step, kind) * (size_t)settings->A;
    const int run_max = settings->T == 1 ? rows : 1;
    /* With one task per snippet consecutive rows have consecutive places: one call for all. */
    for (int u = 0; u < states->n; u++) {
        const struct task_snippet *snippet = &states->snippets[u];
        /* The states of the snippet, then its bootstrap row where noise for all rows is asked
         * for. */
        for (int t = 0; t < snippet->n; t += run_max) {
            const int run = snippet->n - t < run_max ? snippet->n - t : run_max;
            take_noise(z + (size_t)(snippet->first + t) * per_row, step, kind, snippet, t, run);
        }
        if (rows > states->S) {
            take_noise(z + (size_t)(states->S + u) * per_row, step, kind, snippet, snippet->n, 1);
        }
    }
}

void actions_sample(float *samples, const struct step *step, const struct states *states,
                    enum noise_kind kind, const struct gaussians *at, int rows)
{
    const int A = step->settings->A;
    const int n = actions_per_row(step, kind);
    /* The noise becomes the actions in place. */
    actions_noise(samples, step, states, kind, rows);
    for (size_t row = 0; row < (size_t)rows; row++) {
        const size_t first = row * (size_t)A;
        float *a = samples + first * (size_t)n;
        gaussian_sample(a, at->mean + first, at->std + first, a, n, A);
    }
}

void actions_join(float *xa, const struct step *step, const struct states *states,
                  const float *actions, size_t first, int rows, int n)
{
    const size_t I = (size_t)step->I;
    const size_t A = (size_t)step->settings->A;
    /* Row j belongs to state (first + j) / n; the critic sees its action clipped. */
    for (size_t j = 0; j < (size_t)rows; j++) {
        float *to = xa + j * (I + A);
        memcpy(to, states->x + (first + j) / (size_t)n * I, I * sizeof *to);
        gaussian_clip(to + I, actions + (first + j) * A, A);
    }
}
