/* What the operators of a step work on. Private to learner/.
 *
 * A **unit** is one snippet under one of its tasks. A worker (one thread's share) takes its units
 * in **groups** that fit the cache. The rows of a group are ordered so that what is used together
 * lies together:
 *
 *     rows 0 .. S-1     the states, unit after unit, t = 0 .. n-1 within a unit
 *     rows S .. R-1     the bootstrap rows (t = n), one a unit
 *
 * Sizes: S states, R = S + units rows, I inputs, O, A, K, M as in settings. */
#ifndef HINDCAST_LEARNER_OPERATORS_H
#define HINDCAST_LEARNER_OPERATORS_H

#include <stdint.h>

#include "common/base/memory.h"
#include "common/networks/gaussian.h"
#include "common/networks/network.h"
#include "common/networks/parameters.h"
#include "learner/algorithm.h"
#include "learner/batch.h"
#include "learner/report.h"
#include "learner/settings.h"
#include "learner/units.h"

/* The kinds of noise: the purpose under which it is drawn (common/base/noise.h). */
enum noise_kind {
    NOISE_VALUE = 1,
    NOISE_IMPROVE = 2,
    NOISE_BACKUP = 3,
    NOISE_TASKS = 4,
    NOISE_INIT = 16
};

/* Sums over the states (value: over the rows) of a batch or of a part of one. All double, so that
 * it is an array. */
struct sums {
    double states, rows;
    double critic_loss, value, target;
    double prior_loss, accepted, advantage;
    double policy_loss, dual_loss, q, kl_improved;
    double kl_mean[REPORT_ACTIONS_MAX], kl_std[REPORT_ACTIONS_MAX];
    double eta_gradient[REPORT_TASKS_MAX]; /* of dual_loss by eta */
};
#define SUMS_COUNT (sizeof(struct sums) / sizeof(double))

/* The networks of an algorithm; those it does not have are zero. `at`: where a network's gradients
 * begin in the block. */
struct step_network {
    struct network now, target;
    size_t at;
};

/* What all workers see of a step, constant while they work. */
struct step {
    const struct settings *settings;
    const struct algorithm *algorithm;
    const struct batch *batch;
    const struct noise *noise; /* NULL: drawn */
    uint64_t number;           /* steps done before this one */
    int I;
    struct step_network policy, prior, critic;
    struct gaussian_head policy_head, prior_head;
    double eta[REPORT_TASKS_MAX];
    double alpha_mean[REPORT_ACTIONS_MAX], alpha_std[REPORT_ACTIONS_MAX];
};

/* One thread's memory; the group it works on. */
struct worker {
    const struct step *step;
    struct sums sums;
    float *gradients; /* a block: sums over this worker's states */
    struct arena arena;
    struct network_tape tape;
    float *scratch;

    int n_units, S, R, R_max;
    struct unit *units; /* (R_max) */
    int *unit_of;       /* (R) */
    int *t_of;          /* (R) */
    int *next;          /* (S) the row of the next state */
    int *task;          /* (R) */
    float *x;           /* (R,I) network inputs: observation, one-hot task */
    float *xa;          /* (S,I+A) the critic's: and the clipped logged action */
    float *a;           /* (S,A) logged actions */
    float *r, *d;       /* (S) */

    float *part; /* (R,ld_part) critic', first layer, the state's share */
    size_t ld_part;
    float *mean, *std;             /* (R,A) whose samples V is made of: policy', or the prior */
    float *prior_mean, *prior_std; /* (S,A) */
    float *own_mean, *own_std;     /* (S,A) policy */
    float *dmean, *dstd;           /* (S,A) */
    float *raw;                    /* (R,2A) */
    float *samples;                /* (R,M,A) not clipped */
    float *clipped;                /* a few rows of them, clipped */
    float *q;                      /* (R,M) Q' of the samples */
    float *weights;                /* (M) */
    float *dout;                   /* (R,ld_out) */
    float *v;                      /* (R) V(s) */
    double *advantage;             /* (R) of one unit */
};

/* Bytes of arena that a worker of groups of up to R_max rows takes, and taking them. */
size_t worker_bytes(const struct step *step, int R_max);
void worker_init(struct worker *worker, const struct step *step, int R_max);
/* Loads units(n), with n and b set, as the group to work on. */
void worker_load(struct worker *worker, const struct unit *units, int n);

/* samples(rows,M,A) <- mean + std z, with z of this kind, for the group's first `rows` rows. */
void worker_sample(struct worker *worker, enum noise_kind kind, const float *mean, const float *std,
                   int rows);
/* q(rows,M) <- Q'(s, clip(samples)), using the state's share of critic' in `part`. */
void worker_judge(struct worker *worker, int rows);

/* ---- The operators, each in its own file. Read what earlier ones left in the worker. ---- */

/* mean, std, samples, part, q(R,M), v(R). */
algorithm_operator value_estimate;
/* Gradients of the critic. Reads v. */
algorithm_operator evaluation;
/* Gradients of the prior; prior_mean, prior_std. Reads v. */
algorithm_operator prior;
/* Gradients of the policy, sums for the duals. Reads mean, std, part; with a prior prior_mean,
 * prior_std, else samples, q. */
algorithm_operator improvement_mpo;

/* A_t = R_t - V(s_t), R_n = V(s_n), R_t = r_t + gamma d_t R_(t+1), for one unit: advantage(n).
 * next_v: V of its bootstrap row. Eq. 4's return; double, since it is compared with 0. */
void advantages(double *advantage, const float *r, const float *d, const float *v, double next_v,
                double gamma, int n);

/* Means and norms as a report; `norms`: of each group of the layout. */
void report_fill(struct report *report, const struct step *step, const struct sums *sums,
                 const struct parameters_layout *layout, const double *norms, uint64_t number);
/* CORRUPT, naming the first value that is not finite. */
status report_check(const struct report *report, struct err *err) MUST_CHECK;

#endif
