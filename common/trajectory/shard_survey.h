/* A look at a shard file without reading its data: which episodes it contains, and what their
 * attributes say about them. */
#ifndef HINDCAST_TRAJECTORY_SHARD_SURVEY_H
#define HINDCAST_TRAJECTORY_SHARD_SURVEY_H

#include "common/trajectory/episode.h"
#include "common/trajectory/hdf5.h"

/* An episode is the group SHARD_EPISODE_PREFIX<number>. */
#define SHARD_EPISODE_PREFIX    "episode_"
#define SHARD_EPISODE_NAME_SIZE 32

/* The numbers of all episodes of an opened file, in ascending order; mem_free them. `path` is for
 * messages. hdf5_lock must be held. NO_MEMORY, CORRUPT. */
status shard_survey_list(hid_t file, const char *path, uint64_t **numbers, uint64_t *n,
                         struct err *err) MUST_CHECK;

struct shard_survey {
    uint64_t episodes;
    uint64_t transitions; /* sum of total_steps over the episodes that have this attribute */
    /* (episodes): the identity that each episode was written with, all 0 where it has none;
     * mem_free. */
    struct episode_identity *origins;
};

/* Takes hdf5_lock itself. NOT_FOUND, CORRUPT, NO_MEMORY. */
status shard_survey(struct shard_survey *survey, const char *path, struct err *err) MUST_CHECK;

#endif
