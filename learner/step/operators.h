/* The operators of a step, and what they read and write. Private to learner/.
 *
 * A worker (one thread's share of a batch) takes its task snippets in groups that fit the cache. An
 * operator works on one group: it gets the group, what earlier operators left, and a workspace. It
 * adds to the workspace's sums and gradients, and everything else that it leaves is an argument.
 *
 * Sizes: S states, R rows, I inputs of policy and prior, O, A, K, M as in settings, C candidates,
 * n samples of a state. */
#ifndef HINDCAST_LEARNER_STEP_OPERATORS_H
#define HINDCAST_LEARNER_STEP_OPERATORS_H

#include <stdint.h>

#include "common/networks/gaussian.h"
#include "common/networks/network.h"
#include "common/networks/normalizer.h"
#include "common/networks/parameters.h"
#include "learner/step/algorithm.h"
#include "learner/step/batch.h"
#include "learner/step/report.h"
#include "learner/step/settings.h"
#include "learner/step/task_snippets.h"

/* The kinds of noise: the purpose under which it is drawn (common/base/noise.h). */
enum noise_kind {
    NOISE_VALUE = 1,
    NOISE_IMPROVE = 2,
    NOISE_BACKUP = 3, /* entry t: the candidates at s_(t+1) */
    NOISE_TASKS = 4,
    NOISE_INIT = 16
};

/* ---- The step ---- */

/* The networks of an algorithm; those it does not have are zero. */
struct step_network {
    struct network now, target;
    size_t at; /* where its gradients begin in the block */
};

/* What all workers see of a step, constant while they work. */
struct step {
    const struct settings *settings;
    const struct algorithm *algorithm;
    const struct batch *batch;
    const struct noise *noise; /* NULL: drawn */
    uint64_t number;           /* steps done before this one */
    int I;
    struct step_network policy, prior, critic, critic2, perturb, value;
    struct gaussian_head policy_head, prior_head;
    struct normalizer normalizer; /* O 0: observations are taken as they are */
    double eta[REPORT_TASKS_MAX];
    double alpha_mean[REPORT_ACTIONS_MAX], alpha_std[REPORT_ACTIONS_MAX];
    double q_weight;         /* td3+bc: alpha / mean |Q| of the step before; 0 in the first one */
    struct td_error *errors; /* (B,T) written by the worker that has the task snippet */
};

/* Sums over the states of a batch or of a part of one; `value` over the `values` rows at which V
 * was estimated. Doubles only, so that it can be added up and sent as an array. Losses of what is
 * fitted to logged data (algorithm_weighs) are summed with the weights of their states, before
 * these are divided by the largest. */
struct sums {
    double states, values;
    double weight, td_error;
    double weight_max[BATCH_PARTS_MAX]; /* the largest weight of each part of the batch, at the
                                           part's own place; all 0: no weights */
    double critic_loss, critic2_loss, value_loss, value, target;
    double prior_loss, accepted, advantage;
    double policy_loss, dual_loss, q, q_size, kl_improved, kl_prior, entropy, bc_loss;
    double kl_mean[REPORT_ACTIONS_MAX], kl_std[REPORT_ACTIONS_MAX];
    double eta_gradient[REPORT_TASKS_MAX]; /* of dual_loss by eta */
};
#define SUMS_COUNT (sizeof(struct sums) / sizeof(double))
/* The largest weight of the global batch, by which weighted losses and gradients are divided; 1
 * without weights. */
double sums_weight_max(const struct sums *sums);

/* ---- What operators pass to each other ---- */

/* A group: the states, and bootstrap rows, that a worker works on. Those that are used together lie
 * together:
 *
 *     rows 0 .. S-1     the states, one task snippet after another, t = 0 .. n-1 within it
 *     rows S .. R-1     the bootstrap rows (t = n), one for each task snippet */
struct states {
    int n, S, R;                   /* task snippets, states, rows */
    struct task_snippet *snippets; /* (n) */
    int *snippet_of;               /* (R) */
    int *t_of;                     /* (R) */
    int *task;                     /* (R) */
    int *next;                     /* (S) the row of the next state */
    float *x;                      /* (R,I) network inputs: observation, one-hot task */
    float *xa;                     /* (S,I+A) the critic's: and the clipped logged action */
    float *a;                      /* (S,A) logged actions */
    float *r, *d;                  /* (S) rewards of the row's task, discounts */
    double *weight;                /* (S) importance weights; 1 where the batch has none */
};

/* Diagonal Gaussians over actions, or gradients by their parameters. */
struct gaussians {
    float *mean, *std; /* (rows,A) */
};

/* What the value estimate leaves. The improvement may replace the samples by its own. */
struct value {
    float *v;               /* (R) V(s) */
    struct gaussians actor; /* (R,A) whose samples V is made of: policy', or the prior */
    float *part;            /* (R,ld_part) the state's share of the first layer of critic' */
    float *samples;         /* (R,M,A), or (S,C,A) of a backup; not clipped */
    float *q;               /* (R,M) or (S,C): Q' of the samples */
};

/* A thread's memory for the time of one operator; nothing in it but sums and gradients outlives the
 * call. Buffers that an algorithm does not use are NULL. */
struct workspace {
    const struct step *step;
    struct sums sums;
    float *gradients; /* a block: sums over this worker's states */

    int R_max;
    size_t ld_part;
    struct network_tape tape;
    float *scratch;            /* of networks */
    float *raw;                /* (R,2A) outputs of a Gaussian network */
    float *dout;               /* (R,ld_out) gradients by a network's outputs */
    struct gaussians gradient; /* (S,A) by mean and std */
    struct gaussians policy;   /* (S,A) of the policy that is improved */
    float *clipped;            /* a few rows of actions */
    float *weights;            /* (M) */
    double *advantage;         /* (R) of one task snippet, or of all states */
    float *q_logged;           /* (S) Q of the logged actions */
    double *td_error;          /* (S) |Q(s,a) - y| of the first critic */

    /* Backups over actions, and improvements by two critics. */
    float *next_x; /* (S,I) inputs of s_(t+1) */
    float *q2;     /* (S,C) the second critic's */
    /* Improvements along action gradients, n samples a state. */
    float *z;                                    /* (S,n,A) the noise of the samples */
    float *action_gradients, *action_gradients2; /* (S,n,A) d Q / d a */
    float *xs, *dxs; /* (R_max,I+A) inputs of the critic, and gradients by them */
    /* The perturbation network. */
    float *moves; /* (S,C,A) tanh of its output */
    float *xp;    /* (S,I+A) its inputs */
};

/* ---- The operators, each in its own file ---- */

/* V(s) at all rows; value_estimate.c. */
algorithm_value value_estimate;
/* V(s) at the rows that are some state's next: the best of C candidates, or the policy's action
 * under noise; backup.c. */
algorithm_value backup_bcq, backup_bear, backup_td3_bc;
/* V(s) at all rows by the value network, its gradients, and q_logged; value_expectile.c. */
algorithm_value value_expectile;
/* Gradients of the critic, or of both; policy_evaluation.c. */
algorithm_evaluation policy_evaluation, policy_evaluation_both;
/* Gradients of the prior, and the prior at the states; prior.c. */
algorithm_prior_fit prior_fit;
/* Gradients of the policy, sums for the duals. Needs the value estimate's actor and part; without a
 * prior also its samples and q. */
algorithm_improvement improvement_mpo;
/* Gradients of the policy along the action gradients of Q', of min(Q1, Q2) or of Q1; of the
 * perturbation network along those of Q1. */
algorithm_improvement improvement_svg, improvement_bear, improvement_td3_bc, improvement_bcq;
/* Gradients of the policy towards logged actions, weighted by their advantage. */
algorithm_improvement improvement_crr, improvement_iql;
/* What keeps a policy near the prior or the logged actions, or wide; regularizer.c. */
algorithm_regularizer regularizer_kl, regularizer_bc, regularizer_entropy;

/* The two halves of an improvement along action gradients (policy_gradient.c). The first draws
 * samples(S,n,A) from the policy, its means where the algorithm draws no noise for them, and leaves
 * the policy and the noise in the workspace. */
void policy_gradient_sample(struct workspace *work, const struct states *states, float *samples);
/* The second takes q(S,n) and action_gradients(S,n,A) at these samples and adds the regularizer and
 * the policy's gradients. */
void policy_gradient_follow(struct workspace *work, const struct states *states, const float *q,
                            const float *action_gradients, const struct gaussians *prior);

/* The two halves of a regression on logged actions (policy_regression.c). The first leaves the
 * policy in the workspace, and the tape that the second needs. The second takes the workspace's
 * advantage(S), weighs each state by f of it (likelihood.h), and adds losses and the policy's
 * gradients. */
typedef double regression_weight(const struct settings *settings, double advantage);
void policy_regression_forward(struct workspace *work, const struct states *states);
void policy_regression_follow(struct workspace *work, const struct states *states,
                              regression_weight *f);

/* advantage(n) of one task snippet, in double since it is compared with 0 (Eq. 4):
 *
 *     A_t = R_t - V(s_t),   R_t = r_t + gamma d_t R_(t+1),   R_n = V(s_n) = next_v */
void prior_advantages(double *advantage, const float *r, const float *d, const float *v,
                      double next_v, double gamma, int n);

/* ---- Reports (report_fill.c) ---- */

/* What an improvement adds to the report, as the table names it. */
algorithm_report report_mpo, report_svg, report_bcq, report_regression, report_td3_bc;

/* Means and norms as a report; `norms`: of each group of the layout. */
void report_fill(struct report *report, const struct step *step, const struct sums *sums,
                 const struct parameters_layout *layout, const double *norms, uint64_t number);
/* CORRUPT, naming the first value that is not finite. */
status report_check(const struct report *report, struct err *err) MUST_CHECK;

#endif
