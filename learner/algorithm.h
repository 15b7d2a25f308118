/* The algorithms, as a table of operators: what a step is made of under each name. */
#ifndef HINDCAST_LEARNER_ALGORITHM_H
#define HINDCAST_LEARNER_ALGORITHM_H

#include <stdbool.h>

#include "common/base/status.h"
#include "common/networks/parameters.h"

struct settings;
struct worker;

/* One part of a step, over the states of a worker's group: adds to its sums and gradients. */
typedef void algorithm_operator(struct worker *worker);

enum algorithm_prior { PRIOR_NONE, PRIOR_BM, PRIOR_ABM };

struct algorithm {
    const char *name;
    enum algorithm_prior prior_kind;
    const char *acting;                 /* the network that acts: "policy" or "prior" */
    algorithm_operator *value_estimate; /* Eq. 1 */
    algorithm_operator *evaluation;     /* TD(0) */
    algorithm_operator *prior;          /* Eq. 3, 4; NULL: none */
    algorithm_operator *improvement;    /* Eq. 2, 5; NULL: none */
    bool has_policy;
    bool
        value_from_prior; /* whose samples V is made of: the prior's, else policy's target copy's */
    bool has_eta, has_alphas; /* duals */
    int act_candidates;
    double init_eta;
};

/* NULL for a name that is not in the table. */
const struct algorithm *algorithm_find(const char *name);
/* "mpo, bm+mpo, ..": for messages and --help. */
const char *algorithm_names(void);
size_t algorithm_count(void);
const struct algorithm *algorithm_at(size_t i);

/* Networks and duals of this algorithm at these sizes. INVALID for sizes that make no network. */
status algorithm_layout(struct parameters_layout *layout, const struct settings *settings,
                        struct err *err) MUST_CHECK;

#endif
