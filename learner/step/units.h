/* Units: one snippet under one of its tasks each. How a batch is shared out among threads, and a
 * share among groups. */
#ifndef HINDCAST_LEARNER_STEP_UNITS_H
#define HINDCAST_LEARNER_STEP_UNITS_H

#include <stdint.h>

struct unit {
    int b, tau; /* snippet, and which of its T tasks */
    int n;      /* valid transitions */
    int first;  /* its first state within a group; the worker's */
};

/* units(B T) in the order of the batch, and share(n_workers + 1): worker i has units share[i] ..
 * share[i+1] - 1, contiguous and of about equal work. A function of the lengths alone. */
void units_share(struct unit *units, int *share, const uint32_t *n_valid, int B, int T,
                 int n_workers);

/* How many of the units first .. end - 1 make the next group: groups of about equal size, of at
 * most R_max rows (one unit is always taken). */
int units_group(const struct unit *units, int first, int end, int R_max);

#endif
