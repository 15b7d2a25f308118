/* The bytes of a shard: episodes as HDF5 groups in Minari's layout, made in memory and written to
 * disk by dataset_writer. The same episodes give the same bytes: no times are stored. */
#ifndef HINDCAST_TRAJECTORY_SHARD_WRITER_H
#define HINDCAST_TRAJECTORY_SHARD_WRITER_H

#include "common/trajectory/episode.h"

struct hdf5_writing;

/* Adds one episode as the group episode_<number> to a file being made; hdf5_lock held. With
 * reward_k < K only that reward is written, as (T); else all of them. INVALID: a discount other
 * than 1, or 0 in the last row, which the flags of a log cannot represent. */
status shard_write_episode(struct hdf5_writing *writing, const struct signature *signature,
                           const struct episode *episode, uint64_t number, uint32_t reward_k,
                           struct err *err) MUST_CHECK;

/* A whole file of n episodes, episode_0 .. episode_<n-1>; *image is mem_freed by the caller. Takes
 * hdf5_lock itself. */
status shard_image(void **image, size_t *size, const struct signature *signature,
                   const struct episode *const *episodes, size_t n, int compression,
                   struct err *err) MUST_CHECK;

#endif
