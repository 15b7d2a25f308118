/* The report of a step: losses and diagnostics, taken at the parameters with which it began. Means
 * are over valid states (and tasks) of the global batch; value_mean is over rows 0..n. */
#ifndef HINDCAST_LEARNER_STEP_REPORT_H
#define HINDCAST_LEARNER_STEP_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "common/trajectory/signature.h"

#define REPORT_ACTIONS_MAX SIGNATURE_ACTIONS_MAX
#define REPORT_TASKS_MAX   SIGNATURE_TASKS_MAX
#define REPORT_VECTOR_MAX  SIGNATURE_ACTIONS_MAX /* the longer of the two */
#define REPORT_VALUES_MAX  48

/* One named quantity, a scalar (size 1) or a vector. */
struct report_value {
    const char *name; /* as in the reference: "critic_loss", "kl_mean"; a constant */
    int size;         /* 1, K or A */
    double values[REPORT_VECTOR_MAX];
};

/* Plain data, copied by assignment. */
struct report {
    uint64_t step;   /* learner steps done, this one included */
    double n_states; /* valid states times tasks in the global batch */
    int n_values;    /* only quantities that the algorithm has */
    struct report_value values[REPORT_VALUES_MAX];
};

/* The quantity of that name, or NULL where this algorithm has none. */
const struct report_value *report_find(const struct report *report, const char *name);
/* A one-line description of the quantity of that name. */
const char *report_meaning(const char *name);
/* Adds a quantity; its values are copied. */
void report_add(struct report *report, const char *name, const double *values, int size);

#endif
