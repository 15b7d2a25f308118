/* Writing a dataset, shard by shard.
 *
 * A shard is first written whole (aside, synced, renamed), then listed in metadata.json. After a
 * crash in between it is found and listed when the folder is next opened for writing. One writer
 * per folder at a time, in all processes; one thread. */
#ifndef HINDCAST_TRAJECTORY_DATASET_WRITER_H
#define HINDCAST_TRAJECTORY_DATASET_WRITER_H

#include "common/trajectory/episode.h"

struct dataset_writer;

#define SHARD_BYTES_MAX (2ull << 30) /* of rows in one shard: it is made in memory */

/* Makes FOLDER where absent; goes on in one that this signature wrote (MISMATCH otherwise), after
 * its last shard. `made_by` is a JSON object's text kept in metadata.json ("made_by"), or NULL.
 * EXISTS: another process writes there. */
status dataset_writer_open(struct dataset_writer **writer, const char *folder,
                           const struct signature *signature, const char *made_by,
                           struct err *err) MUST_CHECK;
/* Deflate level of shards to come, 0 (default, fastest) .. 9; 4 is a good choice for data that is
 * kept or shipped. */
void dataset_writer_set_compression(struct dataset_writer *writer, int level);
/* Writes n (>= 1) episodes as the next shard and lists it in metadata.json. Episodes must pass
 * episode_check, with discounts 0 or
 * 1. After an error the same call may be made again, with these episodes or more: it takes
 * the same number. Without that the shard is either absent or found by the next opening. FULL, IO,
 * INVALID. */
status dataset_writer_shard(struct dataset_writer *writer, const struct episode *const *episodes,
                            size_t n, struct err *err) MUST_CHECK;
/* Is an episode with this identity in the last shard written, also before a restart? What a journal
 * asks. */
bool dataset_writer_last_has(const struct dataset_writer *writer,
                             const struct episode_identity *identity);
uint64_t dataset_writer_shards(const struct dataset_writer *writer); /* shards in the folder */
void dataset_writer_close(struct dataset_writer *writer);

#endif
