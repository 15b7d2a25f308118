/* Which episodes are held out: kept apart from those that are learned from, so that what is learned
 * can be judged on data that it has not seen.
 *
 * Each episode has a number u in [0, 1), a hash of its contents' checksum and its number in its file
 * (episode_identity: source and episode). It is held out where begin <= u < end:
 *
 *     a fraction h      [0, h)
 *     fold i of k       [i / k, (i + 1) / k)
 *
 * So an episode stays on its side whatever is added to the logs, in whatever order they are read,
 * and however its rewards are computed; of k folds each episode is in exactly one. The number of
 * episodes on a side is h n only on average. Pure. Specific to Hindcast. */
#ifndef HINDCAST_TRAJECTORY_EPISODE_HOLDOUT_H
#define HINDCAST_TRAJECTORY_EPISODE_HOLDOUT_H

#include "common/base/text.h"
#include "common/trajectory/episode.h"

/* The table of held-out episodes has the name of the table that is learned from, and this. */
#define EPISODE_HOLDOUT_TABLE_SUFFIX "_holdout"
#define EPISODE_HOLDOUT_MAX          0.5 /* of all episodes */
#define EPISODE_HOLDOUT_FOLDS_MAX    100u

struct episode_holdout {
    double fraction;      /* 0: none */
    uint32_t folds, fold; /* folds 0: by `fraction`; else 2.., fold < folds */
};

bool episode_holdout_any(const struct episode_holdout *holdout);
/* The share that is held out, on average. */
double episode_holdout_share(const struct episode_holdout *holdout);
/* Is the episode of this identity held out? */
bool episode_holdout_has(const struct episode_holdout *holdout,
                         const struct episode_identity *identity);
/* Appends "0.1" or "fold 0 of 5"; nothing where no episode is held out. Equal rules have equal
 * texts. */
void episode_holdout_write(const struct episode_holdout *holdout, struct text *text);

#endif
