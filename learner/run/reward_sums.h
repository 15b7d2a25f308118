/* How large the rewards are, measured on the first batches of a run: told when the run begins, since
 * the critic's step, the advantages' weights and what is read from a loss all depend on it.
 *
 * The size of a task's rewards is the root mean square of those that are not 0, times
 * learner.reward_scale. Rewards within REWARD_SIZE_MIN .. REWARD_SIZE_MAX are usual (ours). */
#ifndef HINDCAST_LEARNER_RUN_REWARD_SUMS_H
#define HINDCAST_LEARNER_RUN_REWARD_SUMS_H

#include "common/trajectory/signature.h"
#include "learner/step/settings.h"

#define REWARD_SIZE_MIN 0.02
#define REWARD_SIZE_MAX 50.0

struct reward_sums {
    uint64_t n; /* transitions */
    struct reward_sum {
        uint64_t nonzero;
        double mean, m2; /* Welford's: mean, sum of squared differences from it */
        double squares;
    } tasks[SIGNATURE_TASKS_MAX];
};

/* Adds the rewards (K) of one transition. Starts from all zero. */
void reward_sums_add(struct reward_sums *sums, const float *rewards, uint32_t K);

/* The size of task k's rewards, as they are logged; 0 where all are 0. */
double reward_sums_size(const struct reward_sums *sums, uint32_t k);

/* Logs mean, std and share of rewards that are not 0 for each task, and warns of a size that is
 * unusual even with settings->reward_scale. */
void reward_sums_log(const struct reward_sums *sums, const struct signature *signature,
                     const struct settings *settings);

#endif
