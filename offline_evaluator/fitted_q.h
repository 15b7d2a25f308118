/* Fitted Q evaluation of several given policies at once: one critic with a trunk that all share and
 * an output for each thing that is asked, trained by TD(0) on logged transitions.
 *
 * A column c is a way to act: for each state it gives M actions (one where the policy acts by its
 * mean). A head h asks for the discounted sum of one reward under one column:
 *
 *     y_h = clip(r_k(h) + gamma_h d 1/M sum_j Q'_h(s', a_c(h),j), low_h, high_h)
 *     loss = mean over transitions of 1/H sum_h w_h 1/2 ((Q_h(s, a) - y_h) / scale_h)^2
 *
 * These are steps 1 and 2 of the learner (docs/maths.md, section 3) with the policies held fixed;
 * Le, Voloshin, Yue, "Batch Policy Learning under Constraints", ICML 2019, Algorithm 3. The shared
 * trunk is ours: the logged actions, at which the critic is trained, are the same for all policies.
 * Outputs of the network are (Q - offset) / scale, so that they are of size 1 whatever the rewards.
 *
 * The target critic is a running mean of the critic, taken over by `target_rate` at each step, and
 * is what values are read from. Sizes: B transitions, O observation (normalized), A action, C
 * columns, M actions of a column, H heads.
 *
 * The same seed, threads and kernels: the same bits. Used from one thread. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_FITTED_Q_H
#define HINDCAST_OFFLINE_EVALUATOR_FITTED_Q_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/thread_pool.h"
#include "common/networks/network.h"

struct fitted_q_head {
    int column;           /* whose action follows */
    int reward;           /* 0 .. K - 1 */
    double gamma;         /* 0 .. 1 */
    double offset, scale; /* of the outputs; scale > 0 */
    double low, high;     /* what y may be; infinite: no bound */
};

struct fitted_q_settings {
    int O, A, K, C, M, H;
    const struct fitted_q_head *heads; /* (H), borrowed for as long as the critic lives */
    int n_widths;
    int widths[NETWORK_LAYERS_MAX];
    bool bf16; /* hidden layers as network.h says */
    double lr; /* of Adam (0.9, 0.999, 1e-8) */
    double target_rate;
    int B;
    uint64_t seed; /* of the initial weights */
};

struct fitted_q_batch {
    int B;                /* 1 .. the settings' */
    const float *x;       /* (B,O) */
    const float *a;       /* (B,A) logged, clipped */
    const float *next_x;  /* (B,O) */
    const float *next_a;  /* (B,C,M,A) clipped */
    const float *r;       /* (B,K) */
    const float *d;       /* (B) */
    const float *weights; /* (B,H) w_h; NULL: 1 */
    const double *y;      /* (B,H) in place of the targets above; NULL: those */
};

/* Params, target, Adam's moments; each fitted_q_size floats. */
enum fitted_q_block { FITTED_Q_PARAMS, FITTED_Q_TARGET, FITTED_Q_M, FITTED_Q_V, FITTED_Q_BLOCKS };

struct fitted_q;

/* `pool` is borrowed: its threads do the work. INVALID, NO_MEMORY. */
status fitted_q_new(struct fitted_q **critic, const struct fitted_q_settings *settings,
                    struct thread_pool *pool, struct err *err) MUST_CHECK;
void fitted_q_free(struct fitted_q *critic);

/* One step; returns the loss before it, NaN or infinite where the critic has diverged. `lr_factor`
 * multiplies the rate of Adam. */
double fitted_q_step(struct fitted_q *critic, const struct fitted_q_batch *batch, double lr_factor);
/* The loss and its gradient by the parameters, of the critic as it is; for tests. */
double fitted_q_gradients(struct fitted_q *critic, const struct fitted_q_batch *batch,
                          const float **gradients);

/* q(n,H) <- the target critic's values at states x(n,O): of head h at the actions a(n,C,M,A) of its
 * column, mean over M. */
void fitted_q_values(struct fitted_q *critic, double *q, const float *x, const float *a, int n);

/* ---- The state, for checkpoints ---- */

uint64_t fitted_q_steps(const struct fitted_q *critic);
size_t fitted_q_size(const struct fitted_q *critic);
const struct network_shape *fitted_q_shape(const struct fitted_q *critic);
const float *fitted_q_read(const struct fitted_q *critic, enum fitted_q_block block);
/* Replaces all of the state. */
void fitted_q_restore(struct fitted_q *critic, const float *const blocks[FITTED_Q_BLOCKS],
                      uint64_t steps);

#endif
