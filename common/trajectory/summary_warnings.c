/* What looks like a mistake in valid logs.
 *
 * Each rule is one function with its threshold above it. A rule speaks once, in the units of the
 * user (slice and element, physical action), and says what follows for learning.
 *
 * Nothing here changes the summary or refuses anything: logs may be unusual for a good reason. A
 * new rule is a function and a line in dataset_summary_warnings. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "common/trajectory/summary_private.h"

#define TEXT_SIZE 1024

/* Of its limits' width: an action dimension that uses less is hardly visible in canonical units. */
#define NARROW_ACTIONS 0.05
/* Of all values: more of them at the limits mean that the controller was saturated. */
#define SATURATED_ACTIONS 0.5
/* Largest by smallest standard deviation of the elements that vary. */
#define SCALES_RATIO 1000.0
#define NAMES_MAX    8u /* elements that one warning names */

/* What the rules judge, and whom they tell. */
struct warner {
    const struct dataset_summary *summary;
    void (*each)(void *arg, const char *text);
    void *arg;
};

/* The standard deviation of observation element i; 0 where it is constant. The sums may cancel to a
 * small negative number, which counts as 0. */
static double deviation(const struct dataset_summary *summary, uint32_t i)
{
    if (summary->observation_min[i] == summary->observation_max[i]) {
        return 0;
    }
    const double mean = summary->observation_sum[i] / (double)summary->rows;
    const double variance = summary->observation_squares[i] / (double)summary->rows - mean * mean;
    return variance > 0 ? sqrt(variance) : 0;
}

/* Canonical to physical, for one dimension. */
static double physical(const struct signature *signature, uint32_t i, float canonical)
{
    const double min = (double)signature->action_min[i];
    const double max = (double)signature->action_max[i];
    return 0.5 * (min + max) + 0.5 * (max - min) * (double)canonical;
}

/* Limits that are too wide, or actions that are nearly always at them. */
static void warn_of_actions(const struct warner *warner)
{
    const struct dataset_summary *summary = warner->summary;
    const struct signature *signature = &summary->signature;
    for (uint32_t i = 0; i < signature->A; i++) {
        /* Of a width of 2, the canonical range. */
        const double used = 0.5 * ((double)summary->action_max[i] - (double)summary->action_min[i]);
        const double at_limit = dataset_summary_at_limit(summary, i);
        char text[TEXT_SIZE];
        if (used < NARROW_ACTIONS) {
            snprintf(
                text, sizeof text,
                "action %u: all values are within %.6g..%.6g, %.2g%% of the limits %.6g..%.6g, "
                "which are too wide: to the policy all of them are nearly the same",
                i, physical(signature, i, summary->action_min[i]),
                physical(signature, i, summary->action_max[i]), 100 * used,
                (double)signature->action_min[i], (double)signature->action_max[i]);
            warner->each(warner->arg, text);
        } else if (at_limit > SATURATED_ACTIONS) {
            snprintf(text, sizeof text,
                     "action %u: %.0f%% of the values are at the limits %.6g..%.6g", i,
                     100 * at_limit, (double)signature->action_min[i],
                     (double)signature->action_max[i]);
            warner->each(warner->arg, text);
        }
    }
}

/* Elements that never change: nothing can be learned from them. */
static void warn_of_constants(const struct warner *warner)
{
    const struct dataset_summary *summary = warner->summary;
    const uint32_t O = signature_observation(&summary->signature);
    char text[TEXT_SIZE];
    int used = snprintf(text, sizeof text, "constant observations:");
    uint32_t n = 0;
    /* The first ones are named, the others counted. */
    for (uint32_t i = 0; i < O; i++) {
        if (summary->observation_min[i] != summary->observation_max[i] || n++ >= NAMES_MAX) {
            continue;
        }
        char name[SIGNATURE_NAME_SIZE + 16];
        signature_name_observation(&summary->signature, i, name, sizeof name);
        used += snprintf(text + used, sizeof text - (size_t)used, " %s = %g", name,
                         (double)summary->observation_min[i]);
    }
    if (n > NAMES_MAX) {
        snprintf(text + used, sizeof text - (size_t)used, " and %u others", n - NAMES_MAX);
    }
    /* One warning for all of them, since they often come in groups. */
    if (n > 0) {
        warner->each(warner->arg, text);
    }
}

/* Elements of very different scales, which the learner has to normalize. */
static void warn_of_scales(const struct warner *warner)
{
    const struct dataset_summary *summary = warner->summary;
    const uint32_t O = signature_observation(&summary->signature);
    uint32_t low = O;
    uint32_t high = O;
    /* The elements with the smallest and the largest deviation; constant ones do not count. */
    for (uint32_t i = 0; i < O; i++) {
        const double d = deviation(summary, i);
        if (d > 0) {
            low = low == O || d < deviation(summary, low) ? i : low;
            high = high == O || d > deviation(summary, high) ? i : high;
        }
    }
    if (low == O || deviation(summary, high) <= SCALES_RATIO * deviation(summary, low)) {
        return;
    }
    /* The two extreme elements are named: where one of them is wrong, that is the cause. */
    char text[TEXT_SIZE];
    char small[SIGNATURE_NAME_SIZE + 16];
    char large[SIGNATURE_NAME_SIZE + 16];
    signature_name_observation(&summary->signature, low, small, sizeof small);
    signature_name_observation(&summary->signature, high, large, sizeof large);
    snprintf(
        text, sizeof text,
        "observation scales: the standard deviation is %.2g for %s and %.2g for %s; observations "
        "this far apart have to be normalized (learner.normalize does unless it is none)",
        deviation(summary, low), small, deviation(summary, high), large);
    warner->each(warner->arg, text);
}

/* Tasks that nobody was ever rewarded for. */
static void warn_of_rewards(const struct warner *warner)
{
    const struct dataset_summary *summary = warner->summary;
    for (uint32_t k = 0; k < summary->signature.K; k++) {
        if (summary->rewarded[k] == 0) {
            char text[TEXT_SIZE];
            snprintf(text, sizeof text,
                     "reward %s: is 0 in all %" PRIu64
                     " transitions; nothing can be learned from it",
                     summary->signature.rewards[k], summary->totals.transitions);
            warner->each(warner->arg, text);
        }
    }
}

/* Ends that are not marked, and episodes that are there twice. */
static void warn_of_episodes(const struct warner *warner)
{
    const struct dataset_summary *summary = warner->summary;
    const struct dataset_totals *totals = &summary->totals;
    char text[TEXT_SIZE];
    /* Flags that nobody set are more likely forgotten than true. */
    if (summary->open_ends == totals->episodes) {
        snprintf(text, sizeof text,
                 "no episode has a flag in its last row; all ends count as time limits, none as "
                 "a termination");
        warner->each(warner->arg, text);
    }
    /* Copies are no error: logs may have been merged twice. */
    if (totals->copies > 0) {
        snprintf(text, sizeof text,
                 "%" PRIu64 " of %" PRIu64
                 " episodes are copies: their rows equal those of another",
                 totals->copies, totals->episodes);
        warner->each(warner->arg, text);
    }
}

void dataset_summary_warnings(const struct dataset_summary *summary,
                              void (*each)(void *arg, const char *text), void *arg)
{
    const struct warner warner = {.summary = summary, .each = each, .arg = arg};
    /* Without episodes every rule would speak. */
    if (summary->totals.episodes == 0) {
        return;
    }
    warn_of_actions(&warner);
    warn_of_constants(&warner);
    warn_of_scales(&warner);
    warn_of_rewards(&warner);
    warn_of_episodes(&warner);
}
