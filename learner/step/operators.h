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
#ifndef HINDCAST_LEARNER_STEP_OPERATORS_H
#define HINDCAST_LEARNER_STEP_OPERATORS_H

#include <stdint.h>

#include "common/base/memory.h"
#include "common/networks/gaussian.h"
#include "common/networks/network.h"
#include "common/networks/parameters.h"
#include "learner/step/algorithm.h"
#include "learner/step/batch.h"
#include "learner/step/phases.h"
#include "learner/step/report.h"
#include "learner/step/settings.h"
#include "learner/step/units.h"

/* The kinds of noise: the purpose under which it is drawn (common/base/noise.h). */
enum noise_kind {
    NOISE_VALUE = 1,
    NOISE_IMPROVE = 2,
    NOISE_BACKUP = 3, /* entry t: the candidates at s_(t+1) */
    NOISE_TASKS = 4,
    NOISE_INIT = 16
};

/* Sums over the states of a batch or of a part of one; `value` over the `values` rows at which V
 * was estimated. All double, so that it is an array. */
struct sums {
    double states, values;
    double critic_loss, critic2_loss, value, target;
    double prior_loss, accepted, advantage;
    double policy_loss, dual_loss, q, kl_improved, kl_prior, entropy;
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
    struct step_network policy, prior, critic, critic2, perturb;
    struct gaussian_head policy_head, prior_head;
    double eta[REPORT_TASKS_MAX];
    double alpha_mean[REPORT_ACTIONS_MAX], alpha_std[REPORT_ACTIONS_MAX];
};

/* One thread's memory; the group it works on. */
struct worker {
    const struct step *step;
    struct sums sums;
    struct phases phases; /* of the step under way */
    float *gradients;     /* a block: sums over this worker's states */
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

    float *part; /* (R,ld_part) first layer of the network that judges, the state's share */
    size_t ld_part;
    float *mean, *std;             /* (R,A) whose samples V is made of: policy', or the prior */
    float *prior_mean, *prior_std; /* (S,A) */
    float *own_mean, *own_std;     /* (S,A) policy */
    float *dmean, *dstd;           /* (S,A) */
    float *raw;                    /* (R,2A) */
    float *samples;                /* (R,M,A), or (S,C,A) of a backup; not clipped */
    float *clipped;                /* a few rows of them, clipped */
    float *q;                      /* (R,M) Q' of the samples */
    float *weights;                /* (M) */
    float *dout;                   /* (R,ld_out) */
    float *v;                      /* (R) V(s) */
    double *advantage;             /* (R) of one unit */

    /* Backups with candidates. */
    float *next_x; /* (S,I) inputs of s_(t+1) */
    float *q2;     /* (S,C) the second critic's; also of improvements */
    /* Improvements along the critic's slopes; n samples a state. */
    float *z;                /* (S,n,A) the noise of the samples */
    float *slopes, *slopes2; /* (S,n,A) d Q / d a */
    float *xs, *dxs;         /* (R_max,I+A) inputs of the critic, and gradients by them */
    /* The perturbation network. */
    float *moves; /* (S,C,A) tanh of its output */
    float *xp;    /* (S,I+A) its inputs */
};

/* Bytes of arena that a worker of groups of up to R_max rows takes, and taking them. */
size_t worker_bytes(const struct step *step, int R_max);
void worker_init(struct worker *worker, const struct step *step, int R_max);
/* Loads units(n), with n and b set, as the group to work on. */
void worker_load(struct worker *worker, const struct unit *units, int n);

/* Actions per row under this kind of noise: M, C, or 1. */
int step_samples(const struct step *step, enum noise_kind kind);
/* z(rows,n,A) <- the noise of this kind for the group's first `rows` rows. */
void worker_noise(const struct worker *worker, float *z, enum noise_kind kind, int rows);
/* samples(rows,n,A) <- mean + std z, with z of this kind, for the group's first `rows` rows. */
void worker_sample(struct worker *worker, enum noise_kind kind, const float *mean, const float *std,
                   int rows);
#define JUDGE_ROWS                                                                                 \
    240 /* sample rows whose clipped actions lie ready at a time; a multiple of the kernels'       \
           blocks */
/* out(rows,n,Q) <- net(s, clip(samples)), using the state's share of its first layer in `part`. */
void worker_judge(struct worker *worker, float *out, const struct network *net, int rows, int n);
/* xa(rows,I+A) <- [x | clip(action)] for actions first .. first + rows - 1 of actions(S,n,A). */
void worker_join(const struct worker *worker, float *xa, const float *actions, size_t first,
                 int rows, int n);
/* q(S,n) <- net(s, clip(a)) and slopes(S,n,A) <- its gradient by a, for a the samples(S,n,A); clip
 * passes it on [-1, 1], ends included, and 0 outside. Uses the tape. */
void worker_slopes(struct worker *worker, float *q, float *slopes, const struct network *net,
                   int n);

/* ---- The operators, each in its own file. Read what earlier ones left in the worker. ---- */

/* mean, std, samples, part, q(R,M), v(R). */
algorithm_operator value_estimate;
/* v at the rows that are some state's next: the best of C candidates. */
algorithm_operator backup_bcq, backup_bear;
/* Gradients of the critic, or of both. Reads v. */
algorithm_operator evaluation, evaluation_twin;
/* Gradients of the prior; prior_mean, prior_std. Reads v. */
algorithm_operator prior;
/* Gradients of the policy, sums for the duals. Reads mean, std, part; with a prior prior_mean,
 * prior_std, else samples, q. */
algorithm_operator improvement_mpo;
/* Gradients of the policy along the slopes of Q' or of min(Q1, Q2), of the perturbation network
 * along those of Q1. Read prior_mean, prior_std where the algorithm has a prior. */
algorithm_operator improvement_svg, improvement_bear, improvement_bcq;
/* What keeps a policy that follows slopes: adds to dmean, dstd. Reads own_mean, own_std. */
algorithm_operator restraint_kl, restraint_entropy;

/* The two halves of following slopes (policy_slopes.c). own_mean, own_std, z, samples(S,n,A) from
 * the policy .. */
void policy_draw(struct worker *worker);
/* .. and its gradients from q(S,n) and slopes(S,n,A) at these samples, the restraint's added. */
void policy_follow(struct worker *worker, const float *q, const float *slopes);

/* A_t = R_t - V(s_t), R_n = V(s_n), R_t = r_t + gamma d_t R_(t+1), for one unit: advantage(n).
 * next_v: V of its bootstrap row. Eq. 4's return; double, since it is compared with 0. */
void advantages(double *advantage, const float *r, const float *d, const float *v, double next_v,
                double gamma, int n);

/* What an improvement adds to the report, as the table names it. */
algorithm_report report_mpo, report_svg, report_bcq;

/* Means and norms as a report; `norms`: of each group of the layout. */
void report_fill(struct report *report, const struct step *step, const struct sums *sums,
                 const struct parameters_layout *layout, const double *norms, uint64_t number);
/* CORRUPT, naming the first value that is not finite. */
status report_check(const struct report *report, struct err *err) MUST_CHECK;

#endif
