/* Sharing out: by work, in order, so that the same batch is always shared alike. */
#include "learner/step/units.h"

/* Sampling at n + 1 rows and at n states is what costs. */
static int64_t work_of(const struct unit *unit)
{
    return 2 * (int64_t)unit->n + 1;
}

void units_share(struct unit *units, int *share, const uint32_t *n_valid, int B, int T,
                 int n_workers)
{
    const int n_units = B * T;
    int64_t total = 0;
    for (int u = 0; u < n_units; u++) {
        units[u] = (struct unit){.b = u / T, .tau = u % T, .n = (int)n_valid[u / T]};
        total += work_of(&units[u]);
    }
    /* A unit goes to the worker in whose part of the work its middle lies. */
    int64_t done = 0;
    int worker = 0;
    share[0] = 0;
    for (int u = 0; u < n_units; u++) {
        const int64_t work = work_of(&units[u]);
        const int owner = (int)((2 * done + work) * n_workers / (2 * total));
        while (worker < owner) {
            share[++worker] = u;
        }
        done += work;
    }
    while (worker < n_workers) {
        share[++worker] = n_units;
    }
}

int units_group(const struct unit *units, int first, int end, int R_max)
{
    int rows = 0;
    for (int u = first; u < end; u++) {
        rows += units[u].n + 1;
    }
    const int n_groups = (rows + R_max - 1) / R_max;
    const int target = (rows + n_groups - 1) / n_groups;
    int n = 0;
    int taken = 0;
    while (first + n < end && (n == 0 || taken < target)) {
        const int more = units[first + n].n + 1;
        if (n > 0 && taken + more > R_max) {
            break;
        }
        taken += more;
        n++;
    }
    return n;
}
