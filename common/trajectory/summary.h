/* A summary of logs: sizes, returns per task, how often actions are at their limits, what is bad,
 * and what looks like a mistake.
 *
 * Made episode by episode by a caller that reads them; common/logs/source/source_summary.h reads all of a
 * source. One thread. */
#ifndef HINDCAST_TRAJECTORY_SUMMARY_H
#define HINDCAST_TRAJECTORY_SUMMARY_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "common/trajectory/episode_holdout.h"

#define DATASET_SUMMARY_REASONS_MAX 100 /* reasons that are kept; all bad episodes are counted */

struct dataset_summary;

/* Undiscounted returns of one task over the good episodes; all 0 when there are none.
 * Percentiles are interpolated linearly, as numpy does by default; std divides by n. */
struct dataset_returns {
    const char *task;
    double mean, min, median, p90, max, std;
};

struct dataset_totals {
    uint64_t episodes; /* good ones */
    uint64_t transitions;
    uint64_t terminated; /* episodes that end by termination, not by a limit */
    uint64_t
        bad; /* refused episodes; of a shard that cannot be read as many as listed, at least 1 */
    uint64_t clipped; /* action values beyond their limits that a reader has clipped */
    uint64_t copies;  /* good episodes whose rows are equal to those of an earlier one */
    uint64_t held_out, held_out_transitions; /* of the good ones, by the rule that was set */
    uint32_t T_min, T_max;
    double T_mean;
    double at_limit; /* share of action values with |a| >= 1 - 1e-6, canonical */
};

status dataset_summary_new(struct dataset_summary **summary, const struct signature *signature,
                           struct err *err) MUST_CHECK;
void dataset_summary_free(struct dataset_summary *summary); /* NULL is fine */
const struct signature *dataset_summary_signature(const struct dataset_summary *summary);
status dataset_summary_add(struct dataset_summary *summary,
                           const struct episode *episode) MUST_CHECK;
/* `n` bad episodes for one reason; 0: something is wrong that makes no episode bad. */
void dataset_summary_add_bad(struct dataset_summary *summary, uint64_t n, const char *reason);

/* Before the first episode: counts those that this rule holds out. They are in all other numbers,
 * too. */
void dataset_summary_set_holdout(struct dataset_summary *summary,
                                 const struct episode_holdout *holdout);

/* n action values were clipped by the reader. */
void dataset_summary_add_clipped(struct dataset_summary *summary, uint64_t n);

void dataset_summary_totals(const struct dataset_summary *summary, struct dataset_totals *totals);
uint64_t dataset_summary_bad(const struct dataset_summary *summary);
/* Is there at least one episode, and nothing bad? */
bool dataset_summary_is_sound(const struct dataset_summary *summary);

/* What looks like a mistake in logs whose every row is valid: action limits far wider than the
 * actions, saturated actions, constant observations, scales that differ widely, rewards that are
 * always 0, ends without a flag, copies of episodes. Calls `each` with one sentence per warning. */
void dataset_summary_warnings(const struct dataset_summary *summary,
                              void (*each)(void *arg, const char *text), void *arg);
/* Task k < K of the signature; *returns borrows the name. Sorts in place. */
void dataset_summary_returns(struct dataset_summary *summary, uint32_t k,
                             struct dataset_returns *returns);
/* The rewards of task k, step by step; all 0 without episodes. */
struct dataset_rewards {
    double mean, std;
    double nonzero; /* share of steps whose reward is not 0 */
    double size;    /* root mean square of those */
};
struct dataset_rewards dataset_summary_rewards(const struct dataset_summary *summary, uint32_t k);
/* Share of action dimension i at its limits. */
double dataset_summary_at_limit(const struct dataset_summary *summary, uint32_t i);

/* As text for people. */
void dataset_summary_print(struct dataset_summary *summary, FILE *out);
/* {"episodes": .., "transitions": .., "bad": .., "returns": {"run": {"mean": .., ..}}, ..};
 * cJSON_Delete it. NULL when out of memory. */
cJSON *dataset_summary_json(struct dataset_summary *summary);

#endif
