/* What a summary gathers, shared by summary.c and summary_warnings.c. */
#ifndef HINDCAST_TRAJECTORY_SUMMARY_PRIVATE_H
#define HINDCAST_TRAJECTORY_SUMMARY_PRIVATE_H

#include "common/trajectory/summary.h"

/* A canonical action of this size is at its limit. */
#define DATASET_SUMMARY_AT_LIMIT (1.0f - 1e-6f)

struct dataset_summary {
    struct signature signature;
    struct episode_holdout holdout;
    struct dataset_totals totals; /* means and shares are computed when asked for */
    uint64_t open_ends;           /* good episodes whose log does not say how they ended */
    uint64_t rows;                /* of all good episodes */
    double observation_sum[SIGNATURE_OBSERVATION_MAX];
    double observation_squares[SIGNATURE_OBSERVATION_MAX];
    float observation_min[SIGNATURE_OBSERVATION_MAX];
    float observation_max[SIGNATURE_OBSERVATION_MAX];
    uint64_t at_limit[SIGNATURE_ACTIONS_MAX];
    float action_min[SIGNATURE_ACTIONS_MAX]; /* canonical */
    float action_max[SIGNATURE_ACTIONS_MAX];
    uint64_t rewarded[SIGNATURE_TASKS_MAX]; /* steps whose reward is not 0 */
    double reward_sum[SIGNATURE_TASKS_MAX], reward_squares[SIGNATURE_TASKS_MAX];
    uint64_t n_digests; /* places in `digests`, a power of 2 */
    uint64_t *digests;  /* set of the episodes' digests, 0: empty place */
    uint64_t capacity;
    double *returns; /* (K, capacity), the first `episodes` of each are used; their order changes */
    size_t n_reasons;
    char *reasons[DATASET_SUMMARY_REASONS_MAX];
};

#endif
