/* Sampling actions at the rows of a group, and what the networks over [state | action] say of them.
 */
#include <math.h>
#include <string.h>

#include "common/base/noise.h"
#include "common/networks/kernels.h"
#include "learner/step/operators.h"

int step_samples(const struct step *step, enum noise_kind kind)
{
    const struct settings *settings = step->settings;
    if (kind == NOISE_BACKUP) {
        return settings->candidates;
    }
    return kind == NOISE_IMPROVE && step->algorithm->improve_one ? 1 : settings->M;
}

/* ---- Drawing ---- */

static const float *given_noise(const struct noise *noise, enum noise_kind kind)
{
    return kind == NOISE_VALUE     ? noise->value
           : kind == NOISE_IMPROVE ? noise->improve
                                   : noise->backup;
}

/* Fills z(n_rows,n,A) for rows t .. t + n_rows - 1 of a unit; n_rows is 1 unless T is 1, where
 * these lie together. */
static void take_noise(const struct worker *w, float *z, enum noise_kind kind,
                       const struct unit *unit, int t, int n_rows)
{
    const struct step *step = w->step;
    const struct settings *settings = step->settings;
    const uint64_t rows = (uint64_t)step->batch->N + (kind == NOISE_VALUE ? 1 : 0);
    const uint64_t T = (uint64_t)settings->T;
    const uint64_t per_row = (uint64_t)step_samples(step, kind) * (uint64_t)settings->A;
    const size_t n = (size_t)per_row * (size_t)n_rows;
    const uint64_t within = (uint64_t)t * T + (uint64_t)unit->tau;
    if (step->noise != NULL) {
        const float *given = given_noise(step->noise, kind);
        memcpy(z, given + ((uint64_t)unit->b * rows * T + within) * per_row, n * sizeof *z);
    } else {
        const uint64_t b = step->batch->begin + (uint64_t)unit->b;
        noise_normal(z, n, settings->seed, step->number, kind, (b * rows * T + within) * per_row);
    }
}

void worker_noise(const struct worker *w, float *z, enum noise_kind kind, int rows)
{
    const struct settings *settings = w->step->settings;
    const size_t per_row = (size_t)step_samples(w->step, kind) * (size_t)settings->A;
    const int run_max = settings->T == 1 ? rows : 1;
    for (int u = 0; u < w->n_units; u++) {
        const struct unit *unit = &w->units[u];
        for (int t = 0; t < unit->n; t += run_max) {
            const int run = unit->n - t < run_max ? unit->n - t : run_max;
            take_noise(w, z + (size_t)(unit->first + t) * per_row, kind, unit, t, run);
        }
        if (rows > w->S) {
            take_noise(w, z + (size_t)(w->S + u) * per_row, kind, unit, unit->n, 1);
        }
    }
}

void worker_sample(struct worker *w, enum noise_kind kind, const float *mean, const float *std,
                   int rows)
{
    const int A = w->step->settings->A;
    const int n = step_samples(w->step, kind);
    worker_noise(w, w->samples, kind, rows);
    for (size_t row = 0; row < (size_t)rows; row++) {
        const size_t at = row * (size_t)A;
        float *a = w->samples + at * (size_t)n;
        gaussian_sample(a, mean + at, std + at, a, n, A);
    }
}

/* ---- Judging ---- */

void worker_judge(struct worker *w, float *out, const struct network *net, int rows, int n)
{
    const size_t A = (size_t)w->step->settings->A;
    const size_t Q = (size_t)net->shape->Q;
    const int block = kernels_block_rows();
    const int ready = JUDGE_ROWS / block * block;
    const int chunk = n < ready ? ready / n : 1;
    for (int row = 0; row < rows; row += chunk) {
        const int now = (rows - row < chunk ? rows - row : chunk) * n;
        const size_t first = (size_t)row * (size_t)n;
        gaussian_clip(w->clipped, w->samples + first * A, (size_t)now * A);
        network_infer_actions(out + first * Q, net, w->part, w->ld_part, w->clipped, A, first, now,
                              n, (int)A, w->scratch);
    }
}

void worker_join(const struct worker *w, float *xa, const float *actions, size_t first, int rows,
                 int n)
{
    const size_t I = (size_t)w->step->I;
    const size_t A = (size_t)w->step->settings->A;
    for (size_t j = 0; j < (size_t)rows; j++) {
        float *to = xa + j * (I + A);
        memcpy(to, w->x + (first + j) / (size_t)n * I, I * sizeof *to);
        gaussian_clip(to + I, actions + (first + j) * A, A);
    }
}

void worker_slopes(struct worker *w, float *q, float *slopes, const struct network *net, int n)
{
    const size_t I = (size_t)w->step->I;
    const size_t A = (size_t)w->step->settings->A;
    const size_t ld_out = w->tape.ld_out;
    const size_t total = (size_t)w->S * (size_t)n;
    for (size_t first = 0; first < total; first += (size_t)w->R_max) {
        const size_t left = total - first;
        const size_t rows = left < (size_t)w->R_max ? left : (size_t)w->R_max;
        worker_join(w, w->xs, w->samples, first, (int)rows, n);
        network_forward(&w->tape, net, w->xs, I + A, (int)rows);
        for (size_t j = 0; j < rows; j++) {
            q[first + j] = w->tape.out[j * ld_out];
            w->dout[j * ld_out] = 1.0f;
        }
        network_backward(NULL, w->dxs, I + A, net, &w->tape, w->dout, (int)rows);
        for (size_t j = 0; j < rows; j++) {
            const float *a = w->samples + (first + j) * A;
            const float *by_action = w->dxs + j * (I + A) + I;
            float *slope = slopes + (first + j) * A;
            for (size_t i = 0; i < A; i++) {
                slope[i] = fabsf(a[i]) > 1.0f ? 0.0f : by_action[i];
            }
        }
    }
}
