/* The logs that a restorer reads: one dataset, or several with one signature, as a single list of
 * shards. */
#ifndef HINDCAST_RESTORER_SOURCES_H
#define HINDCAST_RESTORER_SOURCES_H

#include "common/trajectory/dataset.h"

#define SOURCES_MAX 1024

struct sources;

/* FOLDER is a dataset, or contains datasets as subfolders (taken in order of name). MISMATCH names
 * two datasets whose signatures differ; INVALID two shards that are listed with one checksum and
 * number but have other contents, so that their episodes would have the same identities. */
status sources_open(struct sources **sources, const char *folder, struct err *err) MUST_CHECK;
void sources_close(struct sources *sources);
size_t sources_n(const struct sources *sources);                     /* datasets */
const char *sources_folder(const struct sources *sources, size_t i); /* of dataset i */
const struct signature *sources_signature(const struct sources *sources);
size_t sources_n_shards(const struct sources *sources);
const struct dataset *sources_dataset(const struct sources *sources, size_t i);
uint64_t sources_episodes(const struct sources *sources);    /* as listed */
uint64_t sources_transitions(const struct sources *sources); /* as listed */
/* Shard i of all: its dataset, and its index there. */
const struct dataset *sources_shard(const struct sources *sources, size_t i, size_t *shard_i);

#endif
