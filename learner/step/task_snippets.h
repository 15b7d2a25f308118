/* Task snippets: one snippet under one of its tasks each, the smallest piece of work. How a batch
 * is shared among threads, and a thread's share divided into groups that fit the cache. */
#ifndef HINDCAST_LEARNER_STEP_TASK_SNIPPETS_H
#define HINDCAST_LEARNER_STEP_TASK_SNIPPETS_H

#include <stdint.h>

struct task_snippet {
    int b, tau; /* snippet of the batch, and which of its T tasks */
    int n;      /* valid transitions */
    int first;  /* its first state within a group; set by group_load */
};

/* Writes all B T of them to `all` in the order of the batch, and to share(n_workers + 1) how they
 * are divided: worker i has share[i] .. share[i+1] - 1, contiguous and of about equal work. A
 * function of the lengths alone. */
void task_snippets_share(struct task_snippet *all, int *share, const uint32_t *n_valid, int B,
                         int T, int n_workers);

/* How many of first .. end - 1 make the next group: groups are of about equal size and of at most
 * R_max rows, but one is always taken. */
int task_snippets_group(const struct task_snippet *all, int first, int end, int R_max);

#endif
