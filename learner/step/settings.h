/* What a learner is told once: the algorithm, the sizes, the constants. Names and defaults are
 * those of the reference (docs/maths.md); every number that the paper's main text does not give is
 * ours. */
#ifndef HINDCAST_LEARNER_STEP_SETTINGS_H
#define HINDCAST_LEARNER_STEP_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/networks/network.h"

#define SETTINGS_TEXT_SIZE 32

struct settings {
    char algorithm[SETTINGS_TEXT_SIZE]; /* a name of algorithm_names(); "abm+mpo" */
    int O;                              /* observation, floats */
    int A;                              /* action dimensions */
    int K;                              /* tasks (rewards in a row) */
    int T;                              /* tasks trained per snippet, 1..K; K: `tasks: all` */
    int M;                              /* samples per state: 20 (the paper's) */
    int n_widths;                       /* hidden layers of every network: 3 (ours) */
    int widths[NETWORK_LAYERS_MAX];     /* 256, 256, 256 (ours) */
    double gamma;                       /* 0.99 */
    double init_std;                    /* 0.5 */
    double policy_min_std;              /* 0.01 */
    double prior_min_std;               /* 0.05 */
    char prior_likelihood[SETTINGS_TEXT_SIZE]; /* "gaussian" or "censored" */
    char prior_f[SETTINGS_TEXT_SIZE];          /* abm: "step" or "exp" */
    double temperature;                        /* of exp: 1 */
    double max_weight;                         /* of exp: 20 */
    double eps;                             /* KL bound of the E-step, and of SVG and BEAR: 0.1 */
    double eps_mean;                        /* trust region of MPO, per dimension: 2.5e-3 */
    double eps_std;                         /* 1e-5 */
    double entropy_cost;                    /* svg without a prior: 1e-3 */
    int candidates;                         /* bcq, bear: the backup's maximum: 10 */
    double perturb_scale;                   /* bcq: 0.05 */
    int act_candidates;                     /* 0: the algorithm's own (100 bcq, 10 bear, else 1) */
    double lr;                              /* networks: 3e-4 */
    double dual_lr;                         /* 1e-2 */
    double beta1, beta2, adam_eps;          /* 0.9, 0.999, 1e-8 */
    double clip_norm;                       /* global gradient norm of each network: 40 */
    int64_t target_period;                  /* steps between copies to the targets: 200 */
    double rho_floor;                       /* -18 */
    double init_eta;                        /* 0: the algorithm's own (10 MPO; 1 svg, bear) */
    double init_alpha_mean, init_alpha_std; /* 10, 100 */
    char evaluation_precision[SETTINGS_TEXT_SIZE]; /* "f32" or "bf16": the hidden layers of target
                                                      critics (bcq: and of perturb') judging sampled
                                                      actions; nothing that gradients go through */
    uint64_t seed; /* of initial weights and of the noise of every step */
};

/* The defaults, with O, A and K = T = 1 still to be set: O = A = 0. */
struct settings settings_default(void);

/* Everything within its range, algorithm and choices known; fills in what 0 stands for
 * (act_candidates, init_eta). INVALID names field, value and what was expected. Must be called
 * before any other use of `settings`. */
status settings_check(struct settings *settings, struct err *err) MUST_CHECK;

/* Inputs of policy and prior: O, or O + K with several tasks. */
int settings_inputs(const struct settings *settings);
/* Floats in a row: O + A + K + 1. */
int settings_row_width(const struct settings *settings);

/* Calls `visit` with name and text of every setting, in a fixed order, numbers in a form that reads
 * back exactly: metadata of checkpoints and policy packages. */
void settings_visit(const struct settings *settings,
                    void (*visit)(void *arg, const char *name, const char *text), void *arg);
/* Sets one field from its text. NOT_FOUND for an unknown name, INVALID for a text that is no such
 * value. */
status settings_set(struct settings *settings, const char *name, const char *text,
                    struct err *err) MUST_CHECK;

#endif
