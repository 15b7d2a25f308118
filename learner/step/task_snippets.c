/* Sharing by work and in order, so that the same batch is always divided alike and the order of the
 * final sums does not depend on timing.
 *
 * A task snippet is one snippet as one of its tasks sees it, and is never divided: its returns run
 * from its last row to its first. So it is the unit of sharing. */
#include "learner/step/task_snippets.h"

#include "common/base/status.h"

/* Sampling at n + 1 rows and at n states is what costs. */
static int64_t work_of(const struct task_snippet *one)
{
    return 2 * (int64_t)one->n + 1;
}

void task_snippets_share(struct task_snippet *all, int *share, const uint32_t *n_valid, int B,
                         int T, int n_workers)
{
    ASSERT(B >= 1 && T >= 1);
    ASSERT(n_workers >= 1);
    /* List them, and count the work. */
    const int count = B * T;
    int64_t total = 0;
    for (int u = 0; u < count; u++) {
        all[u] = (struct task_snippet){.b = u / T, .tau = u % T, .n = (int)n_valid[u / T]};
        total += work_of(&all[u]);
    }
    /* Each goes to the worker in whose part of the work its middle lies. */
    int64_t done = 0;
    int worker = 0;
    share[0] = 0;
    for (int u = 0; u < count; u++) {
        const int64_t work = work_of(&all[u]);
        const int owner = (int)((2 * done + work) * n_workers / (2 * total));
        while (worker < owner) {
            share[++worker] = u;
        }
        done += work;
    }
    /* Workers without work get an empty share at the end. */
    while (worker < n_workers) {
        share[++worker] = count;
    }
}

int task_snippets_group(const struct task_snippet *all, int first, int end, int R_max)
{
    ASSERT(first < end);
    int rows = 0;
    for (int u = first; u < end; u++) {
        rows += all[u].n + 1;
    }
    /* As few groups as possible, all about equally large. */
    const int n_groups = (rows + R_max - 1) / R_max;
    const int target = (rows + n_groups - 1) / n_groups;
    int n = 0;
    int taken = 0;
    /* At least one, and then up to the target, as long as the group's rows fit. */
    while (first + n < end && (n == 0 || taken < target)) {
        const int more = all[first + n].n + 1;
        if (n > 0 && taken + more > R_max) {
            break;
        }
        taken += more;
        n++;
    }
    return n;
}
