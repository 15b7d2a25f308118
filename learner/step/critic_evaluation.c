/* Critics at sampled actions: see critic_evaluation.h.
 *
 * By far the most work of a step: M samples at every row. Only outputs are wanted there, so that
 * the state's share of the first layer is computed once and its hidden layers may be in bf16.
 * Gradients by the action take a full forward and backward pass. */
#include "learner/step/critic_evaluation.h"

#include <math.h>

#include "common/networks/kernels.h"
#include "learner/step/actions.h"

/* Their clipped actions and first layers stay in the first two caches. */
#define ROWS_MAX 320

int critic_evaluation_rows(void)
{
    const int block = kernels_block_rows();
    ASSERT(block <= ROWS_MAX);
    return ROWS_MAX / block * block;
}

void critic_evaluation_part(struct workspace *work, float *part, const struct network *net,
                            const float *x, int rows)
{
    network_state_part(part, work->ld_part, net, x, (size_t)work->step->I, rows, work->step->I);
}

void critic_evaluation(struct workspace *work, float *out, const struct network *net,
                       const float *part, const float *samples, int rows, int n)
{
    ASSERT(n >= 1);
    ASSERT(rows <= work->R_max);
    const size_t A = (size_t)work->step->settings->A;
    const size_t Q = (size_t)net->shape->Q;
    const int ready = critic_evaluation_rows();
    /* At least one state, even if its samples are more than a call is meant for. */
    const int chunk = n < ready ? ready / n : 1;
    /* Whole states at a time, so that the network sees runs of n samples of one state. */
    for (int row = 0; row < rows; row += chunk) {
        const int now = (rows - row < chunk ? rows - row : chunk) * n;
        const size_t first = (size_t)row * (size_t)n;
        gaussian_clip(work->clipped, samples + first * A, (size_t)now * A);
        network_infer_actions(out + first * Q, net, part, work->ld_part, work->clipped, A, first,
                              now, n, (int)A, work->scratch);
    }
}

void critic_evaluation_gradients(struct workspace *work, float *q, float *action_gradients,
                                 const struct network *net, const struct states *states,
                                 const float *samples, int n)
{
    ASSERT(action_gradients != NULL);
    ASSERT(net->shape->Q == 1);
    const struct step *step = work->step;
    const size_t I = (size_t)step->I;
    const size_t A = (size_t)step->settings->A;
    const size_t ld_out = work->tape.ld_out;
    const size_t total = (size_t)states->S * (size_t)n;
    /* In parts as large as the tape. */
    for (size_t first = 0; first < total; first += (size_t)work->R_max) {
        /* As many rows as the tape holds: forward, and back from dQ = 1 to the inputs alone. */
        const size_t left = total - first;
        const size_t rows = left < (size_t)work->R_max ? left : (size_t)work->R_max;
        actions_join(work->xs, step, states, samples, first, (int)rows, n);
        network_forward(&work->tape, net, work->xs, I + A, (int)rows);
        /* Q of each sample; its gradient by itself is 1. */
        for (size_t j = 0; j < rows; j++) {
            q[first + j] = work->tape.out[j * ld_out];
            work->dout[j * ld_out] = 1.0f;
        }
        network_backward(NULL, work->dxs, I + A, net, &work->tape, work->dout, (int)rows);

        /* Through the clipping: where an action was cut off, moving it changes nothing. */
        for (size_t j = 0; j < rows; j++) {
            const float *a = samples + (first + j) * A;
            const float *by_clipped = work->dxs + j * (I + A) + I;
            float *by_action = action_gradients + (first + j) * A;
            for (size_t i = 0; i < A; i++) {
                by_action[i] = fabsf(a[i]) > 1.0f ? 0.0f : by_clipped[i];
            }
        }
    }
}
