/* Rows whose actions are all within their limits, the usual case, are converted by loops without
 * branches; compiled like signature.c. */
#include "common/trajectory/episode_actions.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Sets the canonical values that are beyond -1..1, or refuses the first of them. */
static status limit(struct episode_actions *actions, const float *physical, float *canonical,
                    const struct signature *signature, uint64_t row, struct err *err)
{
    for (uint32_t i = 0; i < signature->A; i++) {
        if (!isfinite(physical[i]) || fabsf(canonical[i]) <= 1.0f + EPISODE_ACTION_ROUNDING) {
            continue;
        }
        if (!actions->clip) {
            return err_set(err, STATUS_INVALID,
                           "action: row %" PRIu64 ", component %u: %.9g, expected %.9g..%.9g "
                           "(restorer.actions: clip would clip it)",
                           row, i, (double)physical[i], (double)signature->action_min[i],
                           (double)signature->action_max[i]);
        }
        canonical[i] = canonical[i] > 0 ? 1.0f : -1.0f;
        actions->clipped++;
    }
    return STATUS_OK;
}

/* Are all canonical values within -1..1, but for a rounding? False for NaN. */
static bool are_within(const float *canonical, uint32_t A)
{
    int within = 1;
    for (uint32_t i = 0; i < A; i++) {
        within &= fabsf(canonical[i]) <= 1.0f + EPISODE_ACTION_ROUNDING;
    }
    return within;
}

status episode_actions_to_canonical(struct episode_actions *actions, struct episode *episode,
                                    const struct signature *signature, struct err *err)
{
    const uint32_t A = signature->A;
    struct signature_ranges ranges;
    signature_ranges_of(signature, &ranges);
    float *row = episode->rows + signature_action_at(signature);
    for (uint32_t t = 0; t < episode->T; t++, row += episode->W) {
        if (ranges.canonical && are_within(row, A)) {
            continue;
        }
        float canonical[SIGNATURE_ACTIONS_MAX];
        signature_ranges_to_canonical(&ranges, canonical, row);
        const status s = are_within(canonical, A) ? STATUS_OK
                                                  : limit(actions, row, canonical, signature,
                                                          actions->first_row + t, err);
        if (s != STATUS_OK) {
            return s;
        }
        memcpy(row, canonical, A * sizeof *row);
    }
    return STATUS_OK;
}
