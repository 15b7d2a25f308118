/* The logs that a restorer reads: one dataset, or several of one signature, seen as one list of
 * shards. */
#ifndef HINDCAST_RESTORER_SOURCES_H
#define HINDCAST_RESTORER_SOURCES_H

#include "common/trajectory/dataset.h"

#define SOURCES_MAX 1024

struct sources;

/* FOLDER is a dataset, or holds datasets as subfolders (taken in order of name). MISMATCH names the
 * two that differ. */
status sources_open(struct sources **sources, const char *folder, struct err *err) MUST_CHECK;
void sources_close(struct sources *sources);
size_t sources_n(const struct sources *sources);                     /* datasets */
const char *sources_folder(const struct sources *sources, size_t i); /* of dataset i */
const struct signature *sources_signature(const struct sources *sources);
size_t sources_n_shards(const struct sources *sources);
uint64_t sources_episodes(const struct sources *sources); /* as listed */
/* Shard i of all: its dataset, and its index there. */
const struct dataset *sources_shard(const struct sources *sources, size_t i, size_t *shard_i);

#endif
