/* The hyperparameters of a learner, in one list.
 *
 * settings_at() gives each entry: name, type, unit, default, range, help. Everything else follows
 * from it: the options of the command line and the YAML file, the terms that a group of learners
 * must share, the digest of the configuration, the metadata of checkpoints, policy packages and
 * failed steps, and the table in docs/hyperparameters.md. A new hyperparameter is one field of
 * struct settings and one entry of the table in settings.c.
 *
 * Names and defaults are those of the reference (docs/maths.md). */
#ifndef HINDCAST_LEARNER_STEP_SETTINGS_H
#define HINDCAST_LEARNER_STEP_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"
#include "common/networks/network.h"

/* In the order of their names in the list. */
enum settings_algorithm {
    ALGORITHM_MPO,
    ALGORITHM_BM_MPO,
    ALGORITHM_ABM_MPO,
    ALGORITHM_BM,
    ALGORITHM_ABM,
    ALGORITHM_SVG,
    ALGORITHM_BM_SVG,
    ALGORITHM_ABM_SVG,
    ALGORITHM_BCQ,
    ALGORITHM_BEAR,
    ALGORITHM_CRR,
    ALGORITHM_IQL,
    ALGORITHM_TD3_BC,
    ALGORITHM_COUNT
};
enum settings_likelihood { LIKELIHOOD_GAUSSIAN, LIKELIHOOD_CENSORED };
enum settings_prior_f { PRIOR_F_STEP, PRIOR_F_EXP };
enum settings_precision { PRECISION_F32, PRECISION_BF16 };
enum settings_normalize { NORMALIZE_NONE, NORMALIZE_STANDARD };

struct settings {
    enum settings_algorithm algorithm;
    int O;                          /* observation, floats */
    int A;                          /* action dimensions */
    int K;                          /* tasks (rewards in a row) */
    int T;                          /* tasks trained per snippet, 1..K; K: `tasks: all` */
    int M;                          /* samples per state */
    int n_widths;                   /* hidden layers of every network */
    int widths[NETWORK_LAYERS_MAX]; /* units of each */
    double gamma;
    double init_std;
    double policy_min_std, prior_min_std;
    enum settings_likelihood prior_likelihood;
    enum settings_prior_f prior_f;
    double temperature, max_weight;         /* of prior_f exp */
    double eps;                             /* KL bound of the E-step, and of SVG and BEAR */
    double eps_mean, eps_std;               /* trust region of MPO, per dimension */
    double entropy_cost;                    /* svg without a prior */
    int candidates;                         /* bcq, bear: of the backup's maximum */
    double perturb_scale;                   /* bcq */
    double expectile, beta, iql_max_weight; /* iql */
    double bc_alpha;                        /* td3+bc: weight of Q */
    double smoothing_std, smoothing_clip;   /* td3+bc: noise of the backup's action */
    int act_candidates;                     /* 0 until settings_check: the algorithm's own */
    double lr, dual_lr;                     /* of the networks; of eta and the alphas */
    double beta1, beta2, adam_eps;
    double clip_norm;      /* global gradient norm of each network */
    int64_t target_period; /* steps between copies to the targets */
    double rho_floor;
    double init_eta; /* 0 until settings_check: the algorithm's own */
    double init_alpha_mean, init_alpha_std;
    /* Of the hidden layers of target critics (bcq: and of perturb') that evaluate sampled
     * actions; never of what gradients pass through. settings_check makes it bf16 where
     * `precision` is. */
    enum settings_precision evaluation_precision;
    enum settings_normalize normalize; /* of observations (common/networks/normalizer.h) */
    /* Of the hidden layers of all networks, forward and backward. Parameters, moments, first
     * layers, heads and everything between products are float in any case. */
    enum settings_precision precision;
    double reward_scale;   /* multiplies every reward */
    double policy_average; /* decay of the average of weights that packages hold; 0: no average */
    uint64_t seed;         /* of the initial weights and of the noise of every step */
};

/* ---- The list ---- */

enum setting_kind {
    SETTING_INT,    /* int */
    SETTING_INT64,  /* int64_t */
    SETTING_UINT64, /* uint64_t, no limits */
    SETTING_REAL,   /* double */
    SETTING_CHOICE, /* an enum whose values index `choices` */
    SETTING_WIDTHS, /* widths and n_widths */
};

struct setting {
    const char *name; /* in metadata: the field's */
    enum setting_kind kind;
    size_t offset;            /* in struct settings */
    const char *option;       /* its name as an option; NULL: it follows from the table's signature,
                                   from `tasks` or `normalize`, or from the experiment's seed */
    const char *unit;         /* "steps", "nats", "" */
    const char *default_text; /* as it would be written in YAML */
    double min, max;          /* inclusive; of numbers */
    bool zero_is_own; /* 0, which the range need not contain, stands for the algorithm's own */
    const char *const *choices; /* up to a NULL; SETTING_CHOICE */
    const char *help;           /* of the option */
};

#define SETTINGS_COUNT 45
/* The entries in the order of the options; those that are no options come last. */
const struct setting *settings_at(size_t i);
/* NULL for an unknown name. */
const struct setting *settings_find(const char *name);

/* ---- Values ---- */

/* The defaults. O and A are 0 and must be set; K = T = 1. */
struct settings settings_default(void);

/* Checks every range and fills in what 0 stands for (zero_is_own) and what follows from another
 * setting (evaluation_precision). INVALID names setting, value and what was expected.
 * Must be called before any other use of `settings`. */
status settings_check(struct settings *settings, struct err *err) MUST_CHECK;

/* Inputs of policy and prior: O, or O + K with several tasks. */
int settings_inputs(const struct settings *settings);
/* Floats in a row: O + A + K + 1. */
int settings_row_width(const struct settings *settings);
/* "abm+mpo". */
const char *settings_algorithm_name(enum settings_algorithm algorithm);

/* ---- Text ---- */

#define SETTINGS_TEXT_SIZE 128
/* Calls `visit` with name and text of every setting, in the order of the list. Numbers are in a
 * form that reads back exactly. */
void settings_visit(const struct settings *settings,
                    void (*visit)(void *arg, const char *name, const char *text), void *arg);
/* Sets one field from its text. NOT_FOUND for an unknown name. INVALID for a text that is not a
 * number or not one of the choices; ranges are left to settings_check. */
status settings_set(struct settings *settings, const char *name, const char *text,
                    struct err *err) MUST_CHECK;

#endif
