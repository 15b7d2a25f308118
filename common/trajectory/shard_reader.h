/* Reading one shard, episode by episode, with every check that a log must pass.
 *
 * HDF5 is not thread-safe: one lock (hdf5.c) serialises these calls, so there may be any number of
 * readers on any threads, each used by one thread at a time. Shards of ours have checksums over
 * data and structure: a flipped byte spoils its episode.
 *
 * Identities. Where metadata.json lists the shard's checksum, an episode is (checksum, number of
 * the shard, number of the episode). Where it lists none, or one that the file does not have, an
 * episode is (XXH64 of its rows, 0, number of the episode): files may be renamed, copied and
 * extended, and equal metadata does not make different episodes the same. */
#ifndef HINDCAST_TRAJECTORY_SHARD_READER_H
#define HINDCAST_TRAJECTORY_SHARD_READER_H

#include "common/trajectory/dataset.h"
#include "common/trajectory/episode.h"

struct shard_reader;

/* NOT_FOUND, CORRUPT (not HDF5, truncated), INVALID (no episodes in it; the text says what there
 * is): nothing of this shard can be read. `dataset` must outlive the reader. The whole file is
 * read once to compare its checksum with the listed one. */
status shard_reader_open(struct shard_reader **reader, const struct dataset *dataset,
                         size_t shard_i, struct err *err) MUST_CHECK;
uint64_t shard_reader_episodes(const struct shard_reader *reader);
/* False: the file is not the one whose checksum metadata.json lists; it was changed since. */
bool shard_reader_is_as_listed(const struct shard_reader *reader);
/* Episode i (in order of number) into `episode` (reused; identity filled, actions made canonical,
 * checked by episode_check). INVALID or CORRUPT: this episode is bad, the others may be fine; the
 * text names file, episode, row, reason. */
status shard_reader_read(struct shard_reader *reader, uint64_t i, struct episode *episode,
                         struct err *err) MUST_CHECK;
/* Clip actions beyond their limits instead of refusing their episode? Off at first. */
void shard_reader_set_clip(struct shard_reader *reader, bool clip);
/* Leave values that are not finite in the rows, without episode_check, instead of refusing their
 * episode? For whoever cuts episodes around them (episode_pieces.h). Off at first. */
void shard_reader_set_keep_bad(struct shard_reader *reader, bool keep);
/* The attribute `name` of episode i's group, as text (hdf5_read_text). NOT_FOUND. */
status shard_reader_tag(struct shard_reader *reader, uint64_t i, const char *name, char *value,
                        size_t size) MUST_CHECK;
/* Action values that were clipped in the episodes read so far. */
uint64_t shard_reader_clipped(const struct shard_reader *reader);
void shard_reader_close(struct shard_reader *reader);

#endif
