/* The algorithms, as a table of operators: what a step is made of under each name. */
#ifndef HINDCAST_LEARNER_STEP_ALGORITHM_H
#define HINDCAST_LEARNER_STEP_ALGORITHM_H

#include <stdbool.h>

#include "common/base/status.h"
#include "common/networks/parameters.h"
#include "learner/step/settings.h"

struct report;
struct step;
struct sums;
struct worker;

/* One part of a step, over the states of a worker's group: adds to its sums and gradients. */
typedef void algorithm_operator(struct worker *worker);

/* Adds what only some improvements have to a report. */
typedef void algorithm_report(struct report *report, const struct step *step,
                              const struct sums *sums);

enum algorithm_prior { PRIOR_NONE, PRIOR_BM, PRIOR_ABM };

struct algorithm {
    enum algorithm_prior prior_kind;
    const char *acting;                        /* the network that acts: "policy" or "prior" */
    const char *act;                           /* and how: `acting` of common/networks/policy.h */
    algorithm_operator *value_estimate;        /* Eq. 1, or the best of some candidates */
    algorithm_operator *evaluation;            /* TD(0), of one critic or two */
    algorithm_operator *prior;                 /* Eq. 3, 4; NULL: none */
    algorithm_operator *improvement;           /* Eq. 2, 5; Eq. 6; NULL: none */
    algorithm_operator *restraint;             /* of an improvement along slopes; NULL: none */
    algorithm_report *report;                  /* of the improvement; NULL: nothing */
    unsigned draws;                            /* bits 1 << noise_kind */
    bool has_policy, has_critic2, has_perturb; /* networks beside critic and prior */
    bool
        value_from_prior; /* whose samples V is made of: the prior's, else policy's target copy's */
    bool improve_one;     /* the improvement takes one sample a state, not M */
    int n_slopes;         /* critics whose slopes it follows */
    bool has_eta, has_alphas; /* duals */
};

const struct algorithm *algorithm_of(const struct settings *settings);

/* Networks and duals of this algorithm at these sizes. INVALID for sizes that make no network. */
status algorithm_layout(struct parameters_layout *layout, const struct settings *settings,
                        struct err *err) MUST_CHECK;

#endif
