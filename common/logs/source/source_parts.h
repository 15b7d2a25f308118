/* What a source consists of, for source.c and source_reader.c, which no one else includes. */
#ifndef HINDCAST_LOGS_SOURCE_PARTS_H
#define HINDCAST_LOGS_SOURCE_PARTS_H

#include "common/logs/episodes/logs.h"
#include "common/logs/source/source.h"
#include "common/trajectory/file_digest.h"

struct source {
    char *path, *mapping_path;
    struct dataset *dataset; /* NULL: logs of another format, which have all that follows */
    struct logs *logs;
    struct mapping mapping;
    uint64_t digest; /* of the mapping */
    size_t n_shards;
    struct dataset_shard *shards; /* (n_shards), one for each file */
    struct file_digest *digests;  /* (n_shards) */

    /* What source_take_units gave; NULL: all episodes as they were logged. */
    struct source_unit *units;
    uint64_t *firsts;               /* (n_shards + 1) */
    struct dataset_shard *selected; /* (n_shards), with the numbers of the units */
    bool split;                     /* readers keep rows with bad values */
    uint64_t rules;                 /* digest of the rules */
    bool clip;                      /* of readers that are opened */
    struct episode_history history; /* steps > 1: stacked into `stacked` */
    struct signature stacked;
};

#endif
