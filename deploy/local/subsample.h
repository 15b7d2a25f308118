/* A smaller dataset out of several: every K-th episode of each, and the returns of all of them in a
 * CSV. */
#ifndef HINDCAST_LOCAL_SUBSAMPLE_H
#define HINDCAST_LOCAL_SUBSAMPLE_H

#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"

struct subsample_options {
    const char *to;          /* new folder; must not hold a dataset yet */
    uint64_t every;          /* of each run of `every` episodes of a source the first is kept */
    uint64_t shard_episodes; /* episodes in one shard */
};

/* All sources must have the same signature (MISMATCH). Bad episodes are left out, and said so on
 * `out`. returns.csv in `to`: source, episode, kept, and the return of each task, for every good
 * episode of the sources. */
status subsample_datasets(const struct subsample_options *options, const char *const *sources,
                          size_t n_sources, FILE *out, struct err *err) MUST_CHECK;

#endif
