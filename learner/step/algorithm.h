/* The algorithms, as a table of operators: what a step is made of under each name. */
#ifndef HINDCAST_LEARNER_STEP_ALGORITHM_H
#define HINDCAST_LEARNER_STEP_ALGORITHM_H

#include <stdbool.h>

#include "common/base/status.h"
#include "common/networks/parameters.h"
#include "learner/step/settings.h"

struct gaussians;
struct states;
struct report;
struct step;
struct sums;
struct value;
struct workspace;

/* The operators of a step (operators.h). Each works on a group of states and adds to the sums and
 * gradients of its workspace. */

/* Fills in `value`: V(s), and what it was estimated from. Gradients of the value network, where
 * there is one. */
typedef void algorithm_value(struct workspace *work, const struct states *states,
                             struct value *value);
/* Gradients of the critics. */
typedef void algorithm_evaluation(struct workspace *work, const struct states *states,
                                  const struct value *value);
/* Gradients of the prior; *prior <- the prior at the states. */
typedef void algorithm_prior_fit(struct workspace *work, const struct states *states,
                                 const struct value *value, struct gaussians *prior);
/* Gradients of what is improved; may replace the samples of `value`. `prior` means nothing where
 * the algorithm has none. */
typedef void algorithm_improvement(struct workspace *work, const struct states *states,
                                   struct value *value, const struct gaussians *prior);
/* Adds its own gradients by the policy's mean and std to `gradient`, and its losses to `sums`. */
typedef void algorithm_regularizer(const struct step *step, struct sums *sums,
                                   const struct states *states, const struct gaussians *policy,
                                   const struct gaussians *prior, struct gaussians *gradient);

/* Adds what only some improvements have to a report. */
typedef void algorithm_report(struct report *report, const struct step *step,
                              const struct sums *sums);

enum algorithm_prior { PRIOR_NONE, PRIOR_BM, PRIOR_ABM };

struct algorithm {
    enum algorithm_prior prior_kind;
    const char *acting;                 /* the network that acts: "policy" or "prior" */
    const char *act;                    /* and how: `acting` of common/networks/policy.h */
    algorithm_value *value_estimate;    /* Eq. 1, the best of some candidates, or a network's */
    algorithm_evaluation *evaluation;   /* TD(0), of one critic or two */
    algorithm_prior_fit *prior_fit;     /* Eq. 3, 4; NULL: none */
    algorithm_improvement *improvement; /* Eq. 2, 5; Eq. 6; NULL: none */
    algorithm_regularizer *regularizer; /* of an improvement along action gradients; NULL: none */
    algorithm_report *report;           /* of the improvement; NULL: nothing */
    unsigned draws;                     /* bits 1 << noise_kind */
    /* Networks beside critic and prior. */
    bool has_policy, has_critic2, has_perturb, has_value;
    bool value_from_prior;    /* V is made of the prior's samples; else of policy's target copy's */
    bool improve_one;         /* the improvement takes one sample a state, not M */
    bool backup_one;          /* the backup takes one action a state, not C candidates */
    int n_action_gradients;   /* critics whose action gradients it follows */
    bool has_eta, has_alphas; /* duals */
    bool has_q_scale;         /* Q is divided by its mean size in the step before */
    bool fits_policy;         /* the policy is fitted to logged actions */
};

const struct algorithm *algorithm_of(const struct settings *settings);

/* Is the loss of this group of the layout weighted by importance weights? Those of what is fitted to
 * logged data are: critics, V, the prior, and policies that are fitted to logged actions. The others
 * improve on sampled actions at the states that are drawn, whichever these are. */
bool algorithm_weighs(const struct algorithm *algorithm, const char *group);

/* Networks and duals of this algorithm at these sizes. INVALID for sizes that make no network. */
status algorithm_layout(struct parameters_layout *layout, const struct settings *settings,
                        struct err *err) MUST_CHECK;

#endif
