/* Sums and a ring of the last episodes. */
#include "collector/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/rollout/rollout.h"

#define LOG_MODULE "tally"
#include "common/base/log.h"

static bool defines_success(const struct tally *tally)
{
    return tally->environment->success_steps > 0;
}

void tally_init(struct tally *tally, const struct environment_description *environment)
{
    memset(tally, 0, sizeof *tally);
    tally->environment = environment;
    for (uint32_t k = 0; k < environment->signature.K; k++) {
        char labels[SIGNATURE_NAME_SIZE + 16];
        (void)snprintf(labels, sizeof labels, "task=\"%s\"", environment->signature.rewards[k]);
        tally->tasks[k].last_return =
            metric_gauge("hindcast_collector_episode_return", "Return of the last episode", labels);
        if (defines_success(tally)) {
            tally->tasks[k].successes =
                metric_counter("hindcast_collector_successes_total",
                               "Episodes that succeeded in their task", labels);
        }
    }
}

void tally_add(struct tally *tally, const struct finished_episode *finished)
{
    const struct signature *signature = &tally->environment->signature;
    const struct episode *episode = finished->episode;
    double sum = 0.0;
    for (uint32_t k = 0; k < signature->K; k++) {
        const double value = episode_return(episode, signature, k);
        metric_set(tally->tasks[k].last_return, value);
        sum += value;
        tally->tasks[k].return_sum += k == finished->task ? value : 0.0;
    }
    const bool success = rollout_success(tally->environment, episode, finished->task);
    struct tally_task *task = &tally->tasks[finished->task];
    task->n++;
    task->n_successes += success;
    if (success) {
        metric_add(task->successes, 1);
    }
    /* One number per episode for the status line, whatever the number of tasks. */
    const size_t at = tally->n++ % TALLY_RECENT;
    tally->recent[at].return_mean = signature->K == 0 ? 0.0 : sum / signature->K;
    tally->recent[at].success = success;
}

void tally_recent(const struct tally *tally, char *text, size_t size)
{
    /* At first there are fewer episodes than the mean wants. */
    const uint64_t n = tally->n < TALLY_RECENT ? tally->n : TALLY_RECENT;
    double mean = 0.0;
    uint64_t n_successes = 0;
    for (uint64_t i = 0; i < n; i++) {
        mean += tally->recent[i].return_mean / (double)n;
        n_successes += tally->recent[i].success;
    }
    char success[48] = "";
    if (defines_success(tally)) {
        (void)snprintf(success, sizeof success, "  success %" PRIu64 "/%" PRIu64, n_successes, n);
    }
    (void)snprintf(text, size, "return %.1f (mean of %" PRIu64 ")%s", mean, n, success);
}

void tally_log(const struct tally *tally)
{
    for (uint32_t k = 0; k < tally->environment->signature.K; k++) {
        const struct tally_task *task = &tally->tasks[k];
        char success[48] = "";
        if (task->n == 0) {
            continue;
        }
        if (defines_success(tally)) {
            (void)snprintf(success, sizeof success, " success=%.3f",
                           (double)task->n_successes / (double)task->n);
        }
        log_info("pursued task=%s episodes=%" PRIu64 " return_mean=%.2f%s",
                 tally->environment->signature.rewards[k], task->n,
                 task->return_sum / (double)task->n, success);
    }
}
