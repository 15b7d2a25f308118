/* Logs on disk: a folder of HDF5 shards in Minari's layout beside a metadata.json.
 *
 *     FOLDER/metadata.json            signature, how it was made, and per shard: file, episodes,
 * transitions FOLDER/shard-00000.hdf5         groups episode_0, episode_1, ..: observations (T+1,
 * O), actions (T, A) physical, rewards (T) or (T, K), terminations (T), truncations (T); attributes
 * id, total_steps
 *
 * docs/storage.md draws every dataset and attribute. A folder may also be a Minari dataset
 * (data/main_data.hdf5), or hold plain .hdf5 files beside a metadata.json that gives the signature
 * alone. Each shard is written aside, synced and renamed: it is whole or absent. A bad episode is
 * refused with file, episode, row and reason, and left on disk untouched. */
#ifndef HINDCAST_TRAJECTORY_DATASET_H
#define HINDCAST_TRAJECTORY_DATASET_H

#include "common/trajectory/episode.h"

struct dataset;

struct dataset_shard {
    const char *path;  /* as opened */
    uint64_t number;   /* from its name, or its place in name order */
    uint64_t episodes; /* as listed; read errors may leave fewer */
    uint64_t transitions;
};

/* Opens FOLDER, reads metadata and the list of shards, not their data. NOT_FOUND, INVALID, CORRUPT
 * name file and field. */
status dataset_open(struct dataset **dataset, const char *folder, struct err *err) MUST_CHECK;
void dataset_close(struct dataset *dataset);
const struct signature *dataset_signature(const struct dataset *dataset);
uint64_t
dataset_digest(const struct dataset *dataset); /* of metadata.json: the identity's source */
size_t dataset_n_shards(const struct dataset *dataset);
const struct dataset_shard *dataset_shard(const struct dataset *dataset, size_t shard_i);

/* Reads one shard. HDF5 is not thread-safe: one lock in dataset.c serialises these calls. */
struct shard_reader;
status shard_reader_open(struct shard_reader **reader, const struct dataset *dataset,
                         size_t shard_i, struct err *err) MUST_CHECK;
uint64_t shard_reader_episodes(const struct shard_reader *reader);
/* Episode i into `episode` (reused; identity filled, actions made canonical, checked by
 * episode_check). INVALID or CORRUPT: this episode is bad, the others may be fine. */
status shard_reader_read(struct shard_reader *reader, uint64_t i, struct episode *episode,
                         struct err *err) MUST_CHECK;
void shard_reader_close(struct shard_reader *reader);

/* Writes shards and metadata. One thread. */
struct dataset_writer;
/* Makes FOLDER where absent; goes on in one that this signature wrote (MISMATCH otherwise), after
 * its last shard. `made_by` is a JSON object's text kept in metadata.json ("made_by"), or NULL. */
status dataset_writer_open(struct dataset_writer **writer, const char *folder,
                           const struct signature *signature, const char *made_by,
                           struct err *err) MUST_CHECK;
/* Writes n episodes as the next shard and lists it in metadata.json. */
status dataset_writer_shard(struct dataset_writer *writer, const struct episode *const *episodes,
                            size_t n, struct err *err) MUST_CHECK;
void dataset_writer_close(struct dataset_writer *writer);

#endif
