/* Sums over the rewards of each task, and what is said of them. In double, so that many small
 * rewards beside few large ones are not lost. One thread. */
#include "learner/run/reward_sums.h"

#include <math.h>

#define LOG_MODULE "run"
#include "common/base/log.h"

void reward_sums_add(struct reward_sums *sums, const float *rewards, uint32_t K)
{
    sums->n++;
    for (uint32_t k = 0; k < K; k++) {
        struct reward_sum *sum = &sums->tasks[k];
        const double r = (double)rewards[k];
        /* The mean moves first; m2 grows by the product of the distances before and after. */
        const double before = r - sum->mean;
        sum->mean += before / (double)sums->n;
        sum->m2 += before * (r - sum->mean);
        sum->squares += r * r;
        sum->nonzero += r != 0.0;
    }
}

double reward_sums_size(const struct reward_sums *sums, uint32_t k)
{
    const struct reward_sum *sum = &sums->tasks[k];
    return sum->nonzero > 0 ? sqrt(sum->squares / (double)sum->nonzero) : 0.0;
}

void reward_sums_log(const struct reward_sums *sums, const struct signature *signature,
                     const struct settings *settings)
{
    for (uint32_t k = 0; k < signature->K && sums->n > 0; k++) {
        const struct reward_sum *sum = &sums->tasks[k];
        const double size = reward_sums_size(sums, k);
        const double scaled = size * settings->reward_scale;
        log_info("reward=%s mean=%.4g std=%.4g nonzero=%.3g%% size=%.4g reward_scale=%g",
                 signature->rewards[k], sum->mean, sqrt(sum->m2 / (double)sums->n),
                 100.0 * (double)sum->nonzero / (double)sums->n, size, settings->reward_scale);
        /* A proposal with one digit: nobody needs more of a scale. */
        if (scaled > 0.0 && (scaled < REWARD_SIZE_MIN || scaled > REWARD_SIZE_MAX)) {
            log_warn("the rewards of a task are far from 1 in size, which slows learning down "
                     "reward=%s size=%.3g; try learner.reward_scale: %.1g",
                     signature->rewards[k], scaled, 1.0 / size);
        }
    }
}
