/* Logs on disk: a folder of HDF5 shards in Minari's layout beside a metadata.json.
 *
 *     FOLDER/metadata.json       signature, how it was made; per shard: file, counts, checksum
 *     FOLDER/shard-00000.hdf5    groups episode_0, episode_1, ..:
 *                                    observations (T+1, O), actions (T, A) physical,
 *                                    rewards (T) or (T, K), terminations (T), truncations (T);
 *                                    attributes id, total_steps
 *
 * docs/storage.md draws every dataset and attribute. A folder may also be a Minari dataset
 * (data/main_data.hdf5; the signature then comes from Minari's spaces, or from a metadata.json of
 * ours beside it), or hold plain .hdf5 files beside a metadata.json that gives the signature alone.
 * Each shard is written aside, synced and renamed: it is whole or absent. A bad episode is refused
 * with file, episode, row and reason, and left on disk untouched. Episodes are read by
 * shard_reader.h and written by dataset_writer.h. */
#ifndef HINDCAST_TRAJECTORY_DATASET_H
#define HINDCAST_TRAJECTORY_DATASET_H

#include "common/trajectory/episode.h"

#define DATASET_METADATA_MAX (64u << 20) /* bytes of a metadata.json */
#define DATASET_SHARDS_MAX   100000u

struct dataset;

struct dataset_shard {
    const char *path;  /* as opened */
    uint64_t number;   /* from its name (shard-00007.hdf5), or its place in name order */
    uint64_t episodes; /* as listed; counted where nothing is listed. Read errors may leave fewer */
    uint64_t transitions; /* as listed; where nothing is listed, the sum of total_steps */
    uint64_t bytes;       /* size as listed; 0: not listed */
    bool listed;          /* metadata.json lists a checksum: `source` */
    /* The listed checksum, from which the identities of its episodes are made (it stays when shards
     * are added). Where none is listed, a number that tells the file from others of this dataset;
     * identities are then made from the contents of each episode (shard_reader.h). */
    uint64_t source;
};

/* Opens FOLDER, reads metadata and the list of shards, not their data. NOT_FOUND, INVALID, CORRUPT
 * name file and field. A listed shard that is not there is an error only when it is read. */
status dataset_open(struct dataset **dataset, const char *folder, struct err *err) MUST_CHECK;
void dataset_close(struct dataset *dataset); /* after its readers */
const char *dataset_folder(const struct dataset *dataset);
const struct signature *dataset_signature(const struct dataset *dataset);
uint64_t dataset_digest(const struct dataset *dataset); /* of metadata.json's bytes */
size_t dataset_n_shards(const struct dataset *dataset);
const struct dataset_shard *dataset_shard(const struct dataset *dataset, size_t shard_i);
/* XXH64 of the shard's whole file. It is read once, by the first call; the result is kept. Any
 * thread. NOT_FOUND, INVALID (not a regular file), IO. */
status dataset_shard_digest(const struct dataset *dataset, size_t shard_i, uint64_t *digest,
                            struct err *err) MUST_CHECK;
/* Of all shards together, as listed. */
uint64_t dataset_episodes(const struct dataset *dataset);
uint64_t dataset_transitions(const struct dataset *dataset);

#endif
