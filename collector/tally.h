/* What the episodes of this process came to: for the status line, the metrics, and a few lines of log at
 * the end. Belongs to the thread of the episode writer. */
#ifndef HINDCAST_COLLECTOR_TALLY_H
#define HINDCAST_COLLECTOR_TALLY_H

#include "collector/finished_episode.h"
#include "common/base/metrics.h"
#include "common/environments/environment.h"

#define TALLY_RECENT 10 /* episodes that the status line tells about: single returns vary widely */

/* Of the episodes that pursued one task. */
struct tally_task {
    uint64_t n, n_successes;
    double return_sum; /* of this task's reward */
    struct metric *last_return, *successes;
};

struct tally {
    const struct environment_description *environment; /* borrowed */
    uint64_t n;
    struct {
        double return_mean; /* over tasks */
        bool success;       /* in the task pursued */
    } recent[TALLY_RECENT]; /* episode n is at n % TALLY_RECENT */
    struct tally_task tasks[SIGNATURE_TASKS_MAX];
};

/* Registers the metrics, so that a scrape before the first episode finds them. */
void tally_init(struct tally *tally, const struct environment_description *environment);
void tally_add(struct tally *tally, const struct finished_episode *finished);

/* "return 12.3 (mean of 10)", and "  success 8/10" where the environment defines it. */
void tally_recent(const struct tally *tally, char *text, size_t size);
/* One line of log for each task that was pursued. */
void tally_log(const struct tally *tally);

#endif
